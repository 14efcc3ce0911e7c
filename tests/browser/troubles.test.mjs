// The chat demo where something goes wrong: answers that are lost or late, a storage that is full, another tab or device.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startProxy } from "../clients/proxy.mjs";
import { ask, fill, launch, openWindow } from "./browser.mjs";
import { act, banner, button, choose, close, composer, conversations, form, isFocused, log, message, newLine } from "./demo.mjs";
import { person, PHONE, send, signIn, signUp, tell, texts, two, unsent } from "./demo.mjs";

const { DUOLOGUE_OPEN: open, DUOLOGUE_ACCOUNTS: accounts } = process.env;
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const alerts = (page) => page.getByRole("alert").filter({ hasText: /./ });
const visitDemo = (options) => openWindow(browser, accounts, { path: "/demo", ...options });

/** Does something else with the page's requests that have these words in them. */
const intercept = (page, words, handle) =>
  page.route("**/graphql", (route) => (route.request().postData()?.includes(words) ? handle(route) : route.fallback()));

/** Its answers come once they are released, as they were when the page asked, or otherwise; `held` is kept once there is one. */
async function hold(page, words, answer = (route, response) => route.fulfill({ response })) {
  let release, isHeld;
  const released = new Promise((resolve) => (release = resolve));
  const held = new Promise((resolve) => (isHeld = resolve));
  await intercept(page, words, async (route) => {
    const response = await route.fetch();
    isHeld();
    await released;
    await answer(route, response);
  });
  return { held, release };
}

/** What has changed is shown in the next frame. */
const settled = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

/** The log comes to show these messages and no others. An answer may show one in another place until the feed tells of it. */
const isShowing = (page, texts) =>
  page.waitForFunction((texts) => {
    const shown = [...document.querySelectorAll("[role=log] li .text")].map((its) => its.innerText);
    return JSON.stringify(shown) === JSON.stringify(texts);
  }, texts);

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
    await send(kai, "a bad word");
    await send(kai, "a good word");
    await message(lea, "a good word").waitFor();
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
  assert.equal(await alerts(pola).count(), 0);
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

  const window = await visitDemo();
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

test("who signs out does not wait for the server, and leaves nothing in other tabs", async () => {
  const [window, friend] = await Promise.all([visitDemo(), visitDemo()]);
  const { page, context } = window;
  await signUp(friend.page, "Gunda");
  await signUp(page, "Hauke");
  const other = await context.newPage();
  await other.goto(page.url());
  await other.getByRole("searchbox", { name: "Find people" }).fill("Gunda");
  await other.getByRole("list", { name: "People found" }).getByRole("link").click();
  await composer(other).fill("half a secret");
  const kept = () => JSON.stringify(sessionStorage).includes("half a secret");
  await other.waitForFunction(kept);
  await intercept(page, "signOut", () => {});
  await choose(page, "Sign out");
  for (const its of [page, other]) await form(its).waitFor();
  await other.waitForFunction(() => !JSON.stringify(sessionStorage).includes("half a secret"));
  await other.getByText("Your session has ended.").waitFor({ state: "detached" });
  await Promise.all([window, friend].map((its) => its.close()));
});

const expire = (page, storage, at) =>
  page.evaluate(
    ([storage, expiresAt]) => {
      const session = JSON.parse(globalThis[storage]["duologue:session"]);
      globalThis[storage]["duologue:session"] = JSON.stringify({ ...session, expiresAt });
    },
    [storage, new Date(at).toISOString()],
  );

/** Another tab with the session of this one, which is kept in no other. */
async function duplicate({ page, context }) {
  const [copy] = await Promise.all([context.waitForEvent("page"), page.evaluate(() => void globalThis.open(location.href))]);
  await button(copy, "Your menu").waitFor();
  return copy;
}

/** Leaves the demo as a tab does that is discarded: what is kept in it stays. */
const sleep = (page) => page.goto("about:blank");
const wake = (page) => page.goto(new URL("/demo", accounts).href);
const refreshToken = (page) => page.evaluate(() => JSON.parse(sessionStorage["duologue:session"]).refreshToken);

test("a tab that was duplicated goes on with the tokens of the other one", async () => {
  const window = await visitDemo();
  const { page } = window;
  await signUp(page, "Ilka", { keep: false });
  const copy = await duplicate(window);
  const before = await refreshToken(copy);
  assert.equal(await refreshToken(page), before);
  await expire(page, "sessionStorage", Date.now());
  await page.reload();
  await page.getByRole("heading", { name: "Ilka" }).waitFor();
  await copy.waitForFunction((before) => JSON.parse(sessionStorage["duologue:session"]).refreshToken !== before, before);
  assert.equal(await refreshToken(copy), await refreshToken(page));
  await window.close();
});

test("a tab that was duplicated and has slept takes the tokens that came meanwhile, and trades no old ones", async () => {
  const window = await visitDemo();
  const { page } = window;
  await signUp(page, "Ilvy", { keep: false });
  const copy = await duplicate(window);
  const before = await refreshToken(page);
  await expire(copy, "sessionStorage", Date.now());
  await sleep(copy);
  await expire(page, "sessionStorage", Date.now());
  await page.reload();
  await page.waitForFunction((before) => JSON.parse(sessionStorage["duologue:session"]).refreshToken !== before, before);
  let trades = 0;
  await intercept(copy, "refreshSession(", (route) => {
    trades++;
    return route.fallback();
  });
  await wake(copy);
  for (const its of [page, copy]) await its.getByRole("heading", { name: "Ilvy" }).waitFor();
  assert.equal(trades, 0);
  assert.equal(await refreshToken(copy), await refreshToken(page));
  await window.close();
});

/** Its session is ended elsewhere, and the page notices it. */
async function end(page, storage) {
  const { accessToken } = await page.evaluate((storage) => JSON.parse(globalThis[storage]["duologue:session"]), storage);
  await ask(accounts, "mutation { signOut { sessionId } }", {}, accessToken);
  await page.getByRole("searchbox", { name: "Find people" }).fill("anybody");
  await page.getByText("Your session has ended.").waitFor();
}

test("a tab whose session has ended is nobody else when another one signs in", async () => {
  const window = await visitDemo();
  const { page, context } = window;
  await signUp(page, "Ivar", { keep: false });
  const other = await context.newPage();
  await other.goto(page.url());
  await window.inTrouble(() => end(page, "sessionStorage"));
  const isHeard = page.evaluate(
    () => new Promise((done) => addEventListener("storage", ({ key }) => key === "duologue:session" && done())),
  );
  await signUp(other, "Jette");
  await isHeard;
  await settled(page);
  await page.getByText("Your session has ended.").waitFor();
  await window.close();
});

/** Makes an account, beside the browser. */
const account = (name) => ask(accounts, SIGN_UP, { name, email: `${name.toLowerCase()}@example.com` });
const SIGN_UP = `mutation ($name: String!, $email: String!) {
  signUp(input: { name: $name, email: $email, password: "correct horse battery" }) { userErrors { code } }
}`;

/** Opens the conversation with somebody who has an account. */
async function talkTo(page, name) {
  await page.getByRole("searchbox", { name: "Find people" }).fill(name);
  await page.getByRole("list", { name: "People found" }).getByRole("link", { name }).click();
  await composer(page).waitFor();
}

test("who signs out is asked about what waits in another tab", async () => {
  const [window, friend] = await Promise.all([visitDemo(), visitDemo()]);
  const { page } = window;
  await signUp(friend.page, "Karin");
  await signUp(page, "Lasse", { keep: false });
  const copy = await duplicate(window);
  await talkTo(copy, "Karin");
  await talkTo(friend.page, "Lasse");
  await window.inTrouble(async () => {
    await copy.route("**/graphql", (route) => route.abort());
    await send(copy, "waits");
    await unsent(copy).getByTitle("Waiting to be sent").waitFor();
    const [asked] = await Promise.all([page.waitForEvent("dialog"), choose(page, "Sign out")]);
    await asked.dismiss();
    await copy.unroute("**/graphql");
    await message(friend.page, "waits").waitFor();
    await message(copy, "waits").waitFor();
    await page.getByRole("heading", { name: "Lasse" }).waitFor();

    await copy.route("**/graphql", (route) => route.abort());
    await send(copy, "dropped");
    await unsent(copy).getByTitle("Waiting to be sent").waitFor();
    // In GraphiQL, too.
    await page.goto(accounts);
    await button(page, "Sign out").waitFor();
    await page.evaluate(fill);
    const [askedAgain] = await Promise.all([page.waitForEvent("dialog"), button(page, "Sign out").click()]);
    await askedAgain.accept();
    await button(page, "Sign in").waitFor();
    await form(copy).waitFor();
    assert.equal(await copy.evaluate(() => JSON.stringify(sessionStorage).includes("dropped")), false);
    await copy.unroute("**/graphql");
  });
  assert.deepEqual(await texts(friend.page), ["waits"]);
  await Promise.all([window, friend].map((its) => its.close()));
});

test("what waits of somebody whose session has ended stays when another one signs out", async () => {
  const [window, friend] = await Promise.all([visitDemo(), visitDemo()]);
  const { page } = window;
  await signUp(friend.page, "Mats");
  await signUp(page, "Nelly");
  await talkTo(page, "Mats");
  await window.inTrouble(async () => {
    await intercept(page, "mutation Send(", (route) => route.abort());
    await send(page, "waits for Nelly");
    await unsent(page).getByTitle("Waiting to be sent").waitFor();
    await end(page, "localStorage");
    await signUp(page, "Nuria");
    await choose(page, "Sign out");
    await form(page).waitFor();
    await page.unroute("**/graphql");
  });
  await signIn(page, "Nelly");
  await conversations(friend.page).filter({ hasText: "waits for Nelly" }).waitFor();
  await Promise.all([window, friend].map((its) => its.close()));
});

test("a tab with a session of its own takes nothing from tabs in which somebody stays signed in", async () => {
  const window = await visitDemo();
  const { page, context } = window;
  await account("Olaf");
  await signUp(page, "Orla", { keep: false });
  const other = await context.newPage();
  await wake(other);
  await signIn(other, "Orla");
  await talkTo(other, "Olaf");
  await window.inTrouble(async () => {
    await intercept(other, "mutation Send(", (route) => route.abort());
    await send(other, "waits for all tabs");
    await unsent(other).getByTitle("Waiting to be sent").waitFor();
    await page.reload();
    await button(page, "Your menu").waitFor();
    assert.ok(await page.evaluate(() => JSON.stringify(localStorage).includes("waits for all tabs")));
    await other.unroute("**/graphql");
    await message(other, "waits for all tabs").waitFor();
  });
  await window.close();
});

test("who stays signed in loses nothing when the browser is closed, and sends once what waits in two tabs", async () => {
  const [window, friend] = await Promise.all([visitDemo(), visitDemo()]);
  const { page, context } = window;
  await signUp(friend.page, "Maja");
  await signUp(page, "Nico");
  await talkTo(page, "Maja");
  await talkTo(friend.page, "Nico");
  await window.inTrouble(async () => {
    await page.route("**/graphql", (route) => route.abort());
    await send(page, "kept");
    await unsent(page).getByTitle("Waiting to be sent").waitFor();
    await page.close();
  });
  const tabs = [await context.newPage(), await context.newPage()];
  for (const its of tabs) {
    await wake(its);
    await conversations(its).filter({ hasText: "Maja" }).click();
    await message(its, "kept").waitFor();
  }
  await message(friend.page, "kept").waitFor();
  await window.inTrouble(async () => {
    for (const [i, its] of tabs.entries()) {
      await its.route("**/graphql", (route) => route.abort());
      await send(its, `of tab ${i}`);
    }
    for (const its of tabs) await unsent(its).nth(1).waitFor();
    for (const its of tabs) await its.unroute("**/graphql");
    for (const its of [...tabs, friend.page]) await message(its, "of tab 1").waitFor();
  });
  for (const its of [...tabs, friend.page]) await isShowing(its, ["kept", "of tab 0", "of tab 1"]);
  assert.equal(await tabs[0].evaluate(() => JSON.stringify(localStorage).includes("of tab")), false);
  await Promise.all([window, friend].map((its) => its.close()));
});

test("a tab that slept while somebody signed out keeps nothing of theirs", async () => {
  const window = await visitDemo();
  const { page, context } = window;
  await signUp(page, "Oda");
  const other = await context.newPage();
  await other.goto(page.url());
  await account("Olga");
  await talkTo(other, "Olga");
  await composer(other).fill("half a secret");
  const kept = () => JSON.stringify(sessionStorage).includes("half a secret");
  await other.waitForFunction(kept);
  await sleep(other);
  await choose(page, "Sign out");
  await form(page).waitFor();
  await signUp(page, "Petra");
  await wake(other);
  await other.getByRole("heading", { name: "Petra" }).waitFor();
  assert.equal(await other.evaluate(kept), false);
  await window.close();
});

test("tokens that come after somebody else has signed in are dropped", async () => {
  const window = await visitDemo();
  const { page, context } = window;
  await signUp(page, "Pirmin");
  const other = await context.newPage();
  await other.goto(page.url());
  await button(other, "Your menu").waitFor();
  await expire(page, "localStorage", Date.now() + 30_000);
  // The browser tells too late of what other tabs do.
  await page.addInitScript(() => {
    addEventListener("storage", (event) => event.stopImmediatePropagation());
    BroadcastChannel.prototype.addEventListener = () => {};
  });
  const { held, release } = await hold(page, "refreshSession(");
  await page.reload();
  await held;
  await choose(other, "Sign out");
  await signUp(other, "Priska");
  release();
  for (const its of [page, other]) await its.getByRole("heading", { name: "Priska" }).waitFor();
  await window.close();
});

test("a clock that is fast makes no tokens end early, and one that is set back hides nobody who types", async () => {
  const window = await visitDemo();
  const { page } = window;
  await page.clock.install({ time: Date.now() + 60 * 60 * 1000 });
  await page.reload();
  let trades = 0;
  await intercept(page, "refreshSession(", (route) => {
    trades++;
    return route.fallback();
  });
  await signUp(page, "Quentin");
  await page.reload();
  await page.getByRole("heading", { name: "Quentin" }).waitFor();
  assert.equal(trades, 0);
  await account("Quiri");
  await talkTo(page, "Quiri");
  const said = () => page.waitForRequest((request) => request.postData()?.includes("mutation SetTyping(") ?? false);
  await Promise.all([said(), composer(page).press("a")]);
  await page.clock.setSystemTime(Date.now());
  await Promise.all([said(), composer(page).press("b")]);
  await window.close();
});

test("a storage that is full keeps no old tokens, and a tab that sleeps keeps no others from theirs", async () => {
  const window = await visitDemo();
  const { page, context } = window;
  await signUp(page, "Ragna");
  const other = await context.newPage();
  await other.goto(page.url());
  await button(other, "Your menu").waitFor();
  await other.evaluate(() => void navigator.locks.request("duologue:session", () => new Promise(() => {})));
  await expire(page, "localStorage", Date.now());
  await page.addInitScript(fill);
  await page.reload();
  await page.getByRole("heading", { name: "Ragna" }).waitFor();
  assert.equal(await page.evaluate(() => localStorage["duologue:session"]), undefined);
  await window.close();
});

test("tokens are traded again where the answer was lost, but not long before they end, nor twice for what comes late", async () => {
  const window = await visitDemo();
  const { page } = window;
  await signUp(page, "Jorin");
  let tries = 0;
  await intercept(page, "refreshSession(", async (route) => {
    tries++;
    if (tries > 1) await route.fallback();
    else await route.fetch();
  });
  await expire(page, "localStorage", Date.now());
  await page.reload();
  await page.waitForFunction(() => Date.parse(JSON.parse(localStorage["duologue:session"]).expiresAt) > Date.now() + 60_000);
  await page.getByRole("heading", { name: "Jorin" }).waitFor();
  assert.equal(tries, 2);
  await expire(page, "localStorage", Date.now() + 60 * 24 * 60 * 60 * 1000);
  await page.reload();
  await page.getByRole("heading", { name: "Jorin" }).waitFor();
  await page.waitForTimeout(500);
  assert.equal(tries, 2);

  // Two requests are refused, and one of the answers comes when the token has been traded for the other.
  await window.inTrouble(async () => {
    const about = (name) => (its) => its.postData()?.includes(`${name} of the refused`) ?? false;
    const answered = (name) => page.waitForResponse((response) => response.ok() && about(name)(response.request()));
    let release;
    const released = new Promise((resolve) => (release = resolve));
    let refused = 0;
    await intercept(page, "of the refused", async (route) => {
      if (++refused > 2) return route.fallback();
      if (refused === 1) await released;
      await route.fulfill({ status: 401, json: { errors: [{ message: "No.", extensions: { code: "UNAUTHENTICATED" } }] } });
    });
    const search = page.getByRole("searchbox", { name: "Find people" });
    await Promise.all([page.waitForRequest(about("first")), search.fill("first of the refused")]);
    await Promise.all([answered("second"), search.fill("second of the refused")]);
    await Promise.all([answered("first"), release()]);
  });
  assert.equal(tries, 3);
  await window.close();
});
