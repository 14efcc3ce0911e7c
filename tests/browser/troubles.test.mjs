// The chat demo where something goes wrong: answers that are lost or late, a storage that is full, another device.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startProxy } from "../clients/proxy.mjs";
import { answerTo, ask, fill, launch, openWindow } from "./browser.mjs";
import { act, banner, button, choose, close, composer, conversations, form, hold, intercept, isFocused, log } from "./demo.mjs";
import { isLedBy, message, newLine, person, PHONE, send, settled, signUp, tell, texts, two, unsent } from "./demo.mjs";

const { DUOLOGUE_OPEN: open, DUOLOGUE_ACCOUNTS: accounts } = process.env;
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const alerts = (page) => page.getByRole("alert").filter({ hasText: /./ });

const hide = (page) =>
  page.evaluate(() => {
    Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  });

/** With the newest 50 of 60 messages loaded. */
async function halfLoaded(page, from, to) {
  for (let i = 1; i <= 60; i++) await tell(from, to, `number ${i}.`);
  await message(page, "number 60.").waitFor();
  await page.reload();
  await message(page, "number 60.").waitFor();
}

test("a message that a proxy refuses does not hold up the others, and what waits can be dropped", async () => {
  const { windows, pages } = await two(browser, ["Kai", "Lea"]);
  const [kai, lea] = pages;
  await windows[0].inTrouble(async () => {
    const page = { status: 403, contentType: "text/html", body: "<h1>Forbidden</h1>" };
    await intercept(kai, "a bad word", (route) => route.fulfill(page));
    // What passes is tried again, also where the proxy says so in JSON.
    let isBusy = true;
    await intercept(kai, "a good word", (route) => {
      if (!isBusy) return route.fallback();
      isBusy = false;
      return route.fulfill({ status: 503, json: { message: "Service Unavailable" } });
    });
    await send(kai, "a bad word");
    await send(kai, "a good word");
    await message(lea, "a good word").waitFor();
    assert.equal(isBusy, false);
    await unsent(kai).getByRole("alert").filter({ hasText: "HTTP 403" }).waitFor();
    await unsent(kai).getByRole("button", { name: "Discard" }).click();
    await unsent(kai).waitFor({ state: "detached" });

    await kai.route("**/graphql", (route) => route.abort());
    await send(kai, "never mind");
    await unsent(kai).getByTitle("Waiting to be sent").waitFor();
    await unsent(kai).getByRole("button", { name: "Discard" }).click();
    await unsent(kai).waitFor({ state: "detached" });
    await kai.unroute("**/graphql");
  });
  await send(kai, "the last word");
  await message(lea, "the last word").waitFor();
  for (const page of pages) assert.deepEqual(await texts(page), ["a good word", "the last word"]);
  await close(windows);
});

test("a message that arrived long ago does not come at the end, when it is sent again after a reload", async () => {
  const { ids, windows, pages } = await two(browser, ["Malte", "Nora"]);
  const [malte, nora] = pages;
  malte.on("dialog", (dialog) => dialog.accept());
  let isAway = true;
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await malte.routeWebSocket(/graphql$/, (its) => void (isAway || its.connectToServer()));
  await malte.reload();
  await composer(malte).waitFor();
  await windows[0].inTrouble(async () => {
    await intercept(malte, "mutation Send(", async (route) => {
      if (!isAway) return released.then(() => route.fallback());
      await route.fetch();
      await route.abort();
    });
    await send(malte, "long ago");
    await message(nora, "long ago").waitFor();
    for (let i = 1; i <= 60; i++) await tell(ids[1], ids[0], `number ${i}.`);
    const address = malte.url();
    await malte.goto("about:blank");
    isAway = false;
    await malte.goto(address);
    await message(malte, "number 60.").waitFor();
  });
  await comesLate(malte, "Send", release);
  await unsent(malte).waitFor({ state: "detached" });
  assert.deepEqual(await texts(malte), Array.from({ length: 50 }, (_, i) => `number ${i + 11}.`));
  await close(windows);
});

test("the Enter that ends a composition sends nothing, in Safari either", async () => {
  const { windows, pages } = await two(browser, ["Mei", "Jun"]);
  const [mei, jun] = pages;
  await composer(mei).fill("你好");
  // There only its code tells that the key belongs to the composition.
  await composer(mei).dispatchEvent("keydown", { key: "Enter", keyCode: 229 });
  await settled(mei);
  assert.equal(await composer(mei).inputValue(), "你好");
  await composer(mei).press("Enter");
  await message(jun, "你好").waitFor();
  await close(windows);
});

test("an edit whose answer was lost is done, and why one failed is not said at another", async () => {
  const { windows, pages } = await two(browser, ["Pola", "Rune"]);
  const [pola, rune] = pages;
  // The feed does not tell of it either.
  await pola.routeWebSocket(/graphql$/, (its) => {
    const server = its.connectToServer();
    server.onMessage((text) => text.includes('"MESSAGE_UPDATED"') || its.send(text));
  });
  await pola.reload();
  for (const text of ["first", "second"]) await send(pola, text);
  await message(pola, "second").waitFor();
  await act(pola, "first", "Edit");
  const editor = pola.getByRole("textbox", { name: "Edit message" });
  await editor.fill("changed");
  await windows[0].inTrouble(async () => {
    await intercept(pola, "mutation Edit(", async (route) => {
      await route.fetch();
      await route.abort();
    });
    await button(pola, "Save").click();
    await alerts(pola).filter({ hasText: "The server cannot be reached." }).waitFor();
  });
  await message(rune, "changed").waitFor();
  await pola.unroute("**/graphql");
  await button(pola, "Save").click();
  await composer(pola).waitFor();
  await message(pola, "changed").waitFor();

  const json = { data: { updateMessage: { message: null, userErrors: [{ code: "NO", message: "Not this." }] } } };
  const { held, release } = await hold(pola, "mutation Edit(", (route) => route.fulfill({ json }));
  await act(pola, "changed", "Edit");
  await editor.fill("changed again");
  await button(pola, "Save").click();
  await held;
  await act(pola, "second", "Edit");
  const answered = pola.waitForResponse((response) => response.request().postData()?.includes("mutation Edit("));
  release();
  await (await answered).finished();
  await settled(pola);
  assert.equal(await editor.inputValue(), "second");
  await alerts(pola).filter({ hasText: "“changed again” was not saved: Not this." }).waitFor();
  assert.equal(await alerts(pola).count(), 1);
  await close(windows);
});

test("earlier messages that could not be loaded are no trouble of another conversation", async () => {
  const { ids, windows, pages } = await two(browser, ["Nele", "Olaf"]);
  const [nele] = pages;
  await tell(await person("Pit"), ids[0], "from Pit");
  await halfLoaded(nele, ids[1], ids[0]);
  await windows[0].inTrouble(async () => {
    const { held, release } = await hold(nele, "query Earlier(", (route) => route.abort());
    await log(nele).evaluate((its) => (its.scrollTop = 0));
    await held;
    await conversations(nele).filter({ hasText: "Pit" }).click();
    await message(nele, "from Pit").waitFor();
    const failed = nele.waitForEvent("requestfailed");
    release();
    await failed;
    await settled(nele);
    assert.equal(await alerts(nele).count(), 0);
  });
  await close(windows);
});

test("who loads earlier messages with the keyboard goes on there", async () => {
  const { ids, windows, pages } = await two(browser, ["Rieke", "Sven"]);
  const [rieke] = pages;
  await halfLoaded(rieke, ids[1], ids[0]);
  const { release } = await hold(rieke, "query Earlier(");
  await button(rieke, "Load earlier messages").focus();
  await rieke.keyboard.press("Enter");
  await isFocused(button(rieke, "Loading…"), rieke);
  release();
  await log(rieke).getByText("This is where").waitFor();
  await isFocused(log(rieke), rieke);
  await close(windows);
});

test("what is changed while a conversation is on its way is shown as it is", async () => {
  const ids = [await person("Thea"), await person("Ulrik")];
  const { id } = (await tell(ids[1], ids[0], "as it was")).sendMessage.message;
  // So many that it is not in the list.
  for (let i = 1; i <= 30; i++) await tell(await person(`Other ${i}`), ids[0], "Hello");
  const window = await openWindow(browser, open, { path: `/demo?as=${ids[0]}` });
  const { page } = window;
  await conversations(page).nth(29).waitFor();
  const { held, release } = await hold(page, "query Conversation(");
  await page.getByRole("searchbox", { name: "Find people" }).fill("Ulrik");
  await page.getByRole("list", { name: "People found" }).getByRole("link").click();
  await held;
  await ask(open, `mutation ($id: ID!) { updateMessage(id: $id, input: { content: "as it is" }) { message { id } } }`, { id });
  await conversations(page).filter({ hasText: "as it is" }).waitFor();
  release();
  await message(page, "as it is").waitFor();
  assert.deepEqual(await texts(page), ["as it is"]);
  await window.close();
});

test("a message that comes while its conversation is on its way is read once it is shown", async () => {
  const { ids, windows, pages } = await two(browser, ["Ruta", "Silas"]);
  const [ruta, silas] = pages;
  await send(silas, "before");
  await message(silas, "before").getByText("Read").waitFor();
  await ruta.goto(new URL(`/demo?as=${ids[0]}`, open).href);
  const { held, release } = await hold(ruta, "query Conversation(");
  await conversations(ruta).click();
  await held;
  const [marked] = await Promise.all([answerTo(ruta, "MarkDelivered"), send(silas, "meanwhile")]);
  await marked.finished();
  await conversations(ruta).filter({ hasText: "meanwhile" }).waitFor();
  release();
  await message(ruta, "meanwhile").waitFor();
  await message(silas, "meanwhile").getByText("Read").waitFor();
  await close(windows);
});

/** The answer to an operation of this name comes, and is shown. */
async function comesLate(page, name, release) {
  const answered = answerTo(page, name);
  release();
  await (await answered).finished();
  await settled(page);
}

test("a mark that is answered late brings back nothing that was deleted", async () => {
  const ids = [await person("Tilda"), await person("Urs")];
  const window = await openWindow(browser, open, { path: `/demo?as=${ids[0]}` });
  const { page } = window;
  await page.getByRole("heading", { name: "Tilda" }).waitFor();
  await Promise.all([answerTo(page, "MarkDelivered"), tell(ids[1], ids[0], "stays")]);
  const { held, release } = await hold(page, "mutation MarkDelivered(");
  const { id } = (await tell(ids[1], ids[0], "taken back")).sendMessage.message;
  await held;
  await ask(open, "mutation ($id: ID!) { deleteMessage(id: $id) { deletedId } }", { id });
  await conversations(page).filter({ hasText: "stays" }).waitFor();
  await comesLate(page, "MarkDelivered", release);
  assert.match(await conversations(page).innerText(), /stays/);
  await window.close();
});

test("a conversation that comes to the top while its page of the list is on its way stays there", async () => {
  const [reader, far] = [await person("Vicco"), await person("Far away")];
  await tell(far, reader, "Hello");
  for (let i = 1; i <= 30; i++) await tell(await person(`Near ${i}`), reader, "Hello");
  const window = await openWindow(browser, open, { path: `/demo?as=${reader}` });
  const { page } = window;
  await conversations(page).nth(29).waitFor();
  const { held, release } = await hold(page, "query MoreConversations(");
  await button(page, "Show more conversations").click();
  await held;
  await tell(far, reader, "Hello again");
  await isLedBy(page, ["Far away", "Near 30"]);
  await comesLate(page, "MoreConversations", release);
  await isLedBy(page, ["Far away", "Near 30"]);
  assert.match(await conversations(page).first().innerText(), /Hello again/);
  await window.close();
});

for (const isLate of [false, true]) {
  const when = isLate ? ", and comes after that," : "";
  test(`a conversation that is opened while the feed catches up${when} is in order and read`, async () => {
    const ids = [await person("Wanja"), await person("Xavi")];
    await tell(ids[1], ids[0], "before");
    const window = await openWindow(browser, open, { path: `/demo?as=${ids[0]}` });
    const { page } = window;
    let socket, release, isHeld;
    let isAway = false;
    const released = new Promise((resolve) => (release = resolve));
    const held = new Promise((resolve) => (isHeld = resolve));
    await page.routeWebSocket(/graphql$/, (its) => {
      if (isAway) return its.close({ code: 1012 });
      const isBack = socket !== undefined;
      socket = its;
      const server = its.connectToServer();
      server.onMessage(async (text) => {
        if (isBack && text.includes('"CAUGHT_UP"')) isHeld();
        if (isBack && text.includes('"next"')) await released;
        its.send(text);
      });
    });
    await page.reload();
    await conversations(page).filter({ hasText: "before" }).waitFor();
    // Now it follows.
    await tell(ids[1], ids[0], "heard");
    await conversations(page).filter({ hasText: "heard" }).waitFor();
    await window.inTrouble(async () => {
      isAway = true;
      await socket.close({ code: 1012 });
      for (let i = 1; i <= 120; i++) await tell(ids[1], ids[0], `number ${i}.`);
      isAway = false;
      await held;
      await banner(page, "Catching up").waitFor();
    });
    const first = await hold(page, "query Conversation(");
    await conversations(page).click();
    await first.held;
    if (isLate) release();
    else first.release();
    if (isLate) await banner(page, "Catching up").waitFor({ state: "detached" });
    else await message(page, "number 120.").waitFor();
    release();
    first.release();
    await message(page, "number 120.").waitFor();
    await banner(page, "Catching up").waitFor({ state: "detached" });
    await conversations(page).filter({ hasText: "unread" }).waitFor({ state: "detached" });
    assert.deepEqual(await texts(page), Array.from({ length: 50 }, (_, i) => `number ${i + 71}.`));
    await window.close();
  });
}

test("a message that is discarded on its way is taken back, although that does not work at once", async () => {
  const { windows, pages } = await two(browser, ["Kim", "Lio"]);
  const [kim, lio] = pages;
  let isHeld, release;
  const held = new Promise((resolve) => (isHeld = resolve));
  const released = new Promise((resolve) => (release = resolve));
  let tries = 0;
  await intercept(kim, "mutation Send(", async (route) => {
    if (tries++ === 0) return route.abort();
    isHeld();
    await released;
    await route.continue();
  });
  await windows[0].inTrouble(async () => {
    await send(kim, "too soon");
    await held;
    await unsent(kim).getByRole("button", { name: "Discard" }).click();
    let isBad = true;
    await intercept(kim, "mutation Delete(", (route) => (isBad ? route.abort() : route.fallback()));
    release();
    await message(kim, "too soon").getByTitle("Read").waitFor();
    await settled(kim);
    isBad = false;
    await message(lio, "too soon").waitFor({ state: "detached" });
  });
  await send(kim, "after");
  for (const page of [kim, lio]) {
    await message(page, "after").waitFor();
    await message(page, "too soon").waitFor({ state: "detached" });
  }
  await close(windows);
});

test("a page that could not be loaded comes by itself once it can, and until then leaves the focus where it is", async () => {
  const id = await person("Uma");
  const window = await openWindow(browser, open);
  const { page } = window;
  const failed = (words) => page.waitForEvent("requestfailed", (request) => request.postData()?.includes(words) ?? false);
  const tryAgain = () => page.evaluate(() => dispatchEvent(new Event("online")));
  async function keepsFocus(words) {
    await alerts(page).filter({ hasText: "The server cannot be reached." }).waitFor();
    await button(page, "Retry").focus();
    await Promise.all([failed(words), tryAgain()]);
    await settled(page);
    await isFocused(button(page, "Retry"), page);
  }
  await window.inTrouble(async () => {
    await page.route("**/graphql", (route) => route.abort());
    await page.goto(new URL(`/demo?as=${id}`, open).href);
    await keepsFocus("server");
    await page.unroute("**/graphql");
    await intercept(page, "query Snapshot(", (route) => route.abort());
    await Promise.all([failed("query Snapshot("), tryAgain()]);
    await keepsFocus("query Snapshot(");
    await page.unroute("**/graphql");
    await page.getByRole("heading", { name: "Uma" }).waitFor();
  });
  await window.close();
});

test("an answer that comes late does not take the place of a newer one", async () => {
  const window = await openWindow(browser, accounts, { path: "/demo" });
  const { page } = window;
  await signUp(page, "Nele");
  await window.inTrouble(async () => {
    let release, isTold;
    const released = new Promise((resolve) => (release = resolve));
    const told = new Promise((resolve) => (isTold = resolve));
    let tries = 0;
    await intercept(page, "query Account", async (route) => {
      const number = ++tries;
      if (number === 1) return route.abort();
      const response = await route.fetch();
      if (number > 2) return route.fulfill({ response });
      await released;
      await route.fulfill({ response, body: (await response.text()).replace(/"device":(null|"[^"]*")/, '"device":"Late"') });
      isTold();
    });
    await choose(page, "Devices");
    const dialog = page.getByRole("dialog");
    const again = dialog.getByRole("button", { name: "Retry" });
    await again.click();
    await again.click();
    await dialog.getByRole("listitem").waitFor();
    release();
    await told;
    await settled(page);
    assert.equal(await dialog.getByRole("listitem").filter({ hasText: "Late" }).count(), 0);
  });
  await window.close();
});

test("what was read on another device is no news", async (context) => {
  const proxy = await startProxy(new URL(open));
  context.after(() => proxy.stop());
  const { ids, windows, pages } = await two(browser, ["Vea", "Wolf"], [{ address: `http://127.0.0.1:${proxy.port}` }, {}]);
  const [vea, wolf] = pages;
  await vea.addInitScript(() => {
    globalThis.shown = [];
    document.hasFocus = () => false;
    globalThis.Notification = class {
      static permission = "granted";
      constructor(_, { body }) {
        globalThis.shown.push(body);
      }
    };
    localStorage["duologue:notifications"] = "on";
  });
  await vea.reload();
  await composer(vea).waitFor();
  await send(wolf, "before");
  await message(wolf, "before").getByText("Read").waitFor();
  await hide(vea);
  await windows[0].inTrouble(async () => {
    const refused = proxy.cut();
    const { id } = (await tell(ids[1], ids[0], "read elsewhere")).sendMessage.message;
    await ask(open, `mutation ($me: ID!, $id: ID!) { markRead(userId: $me, messageId: $id) { userErrors { code } } }`, { me: ids[0], id });
    await refused;
    proxy.comeBack();
    await message(vea, "read elsewhere").waitFor();
  });
  assert.equal(await newLine(vea).count(), 0);
  await send(wolf, "after");
  await message(vea, "after").filter({ has: newLine(vea) }).waitFor();
  assert.deepEqual(await vea.evaluate(() => globalThis.shown), ["before", "after"]);
  await close(windows);
});

test("what was delivered is told, although it could not be told yet what was read before", async () => {
  const { windows, pages } = await two(browser, ["Xenos", "Yara"]);
  const [xenos, yara] = pages;
  const { held, release } = await hold(yara, "mutation MarkRead(");
  await send(xenos, "read");
  await held;
  await hide(yara);
  await send(xenos, "delivered");
  await message(yara, "delivered").waitFor();
  release();
  await message(xenos, "delivered").getByTitle("Delivered").waitFor();
  await close(windows);
});

test("at midnight today becomes yesterday", async () => {
  const { windows, pages } = await two(browser, ["Zelda", "Arvid"]);
  const [zelda] = pages;
  await zelda.clock.install();
  await zelda.reload();
  await send(zelda, "late");
  await log(zelda).getByRole("heading", { name: "Today" }).waitFor();
  // Whatever waited for an answer has waited for a day.
  await windows[0].inTrouble(async () => {
    await zelda.clock.fastForward(24 * 60 * 60 * 1000);
    await log(zelda).getByRole("heading", { name: "Yesterday" }).waitFor();
  });
  await close(windows);
});

test("on a phone nothing lies over what is to be touched, and no field is enlarged", async () => {
  const { ids, windows, pages } = await two(browser, ["Bela", "Cleo"], [PHONE, {}]);
  const [bela] = pages;
  for (let i = 1; i <= 30; i++) await tell(ids[1], ids[0], `number ${i}.`);
  await message(bela, "number 30.").waitFor();
  await log(bela).evaluate((its) => (its.scrollTop = 0));
  await act(bela, "number 3.", "Reply");
  const above = await bela.getByRole("button", { name: /^(To the newest|\d+ new)/ }).boundingBox();
  const below = await button(bela, "Cancel").boundingBox();
  assert.ok(above.y + above.height <= below.y, JSON.stringify([above, below]));
  await bela.goto(new URL("/demo", open).href);
  await bela.getByRole("searchbox", { name: "Find a person" }).waitFor();
  const sizes = await bela.locator("input").evaluateAll((all) => all.map((its) => parseFloat(getComputedStyle(its).fontSize)));
  assert.ok(Math.min(...sizes) >= 16, `${sizes}`);
  await close(windows);
});

test("a storage that is full or forbidden loses nothing while the page is there", async () => {
  const { windows, pages } = await two(browser, ["Dag", "Elin"]);
  const [dag, elin] = pages;
  await dag.evaluate(fill);
  for (const text of ["one", "two"]) await send(dag, text);
  await message(elin, "two").waitFor();
  assert.equal(await composer(dag).inputValue(), "");
  assert.deepEqual(await texts(elin), ["one", "two"]);
  await close(windows);

  const window = await openWindow(browser, accounts, { path: "/demo" });
  await window.context.addInitScript(() => {
    const get = () => {
      throw new DOMException("It is forbidden.", "SecurityError");
    };
    for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(globalThis, name, { get });
  });
  await window.page.reload();
  await signUp(window.page, "Frida");
  await choose(window.page, "Sign out");
  await form(window.page).waitFor();
  await window.close();
});
