// The chat demo where something goes wrong: answers that are lost or late, a storage that is full, another tab or device.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startProxy } from "../clients/proxy.mjs";
import { ask, launch, openWindow } from "./browser.mjs";
import { act, button, choose, close, composer, conversations, form, isFocused, log, message, newLine } from "./demo.mjs";
import { person, PHONE, send, signUp, tell, texts, two, unsent } from "./demo.mjs";

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
  await dag.evaluate(() => {
    Storage.prototype.setItem = () => {
      throw new DOMException("It is full.", "QuotaExceededError");
    };
  });
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

test("a tab that was duplicated goes on with the tokens of the other one", async () => {
  const window = await visitDemo();
  const { page, context } = window;
  await signUp(page, "Ilka", { keep: false });
  const [copy] = await Promise.all([context.waitForEvent("page"), page.evaluate(() => void globalThis.open(location.href))]);
  await copy.getByRole("heading", { name: "Ilka" }).waitFor();
  const token = (its) => its.evaluate(() => JSON.parse(sessionStorage["duologue:session"]).refreshToken);
  const before = await token(copy);
  assert.equal(await token(page), before);
  await expire(page, "sessionStorage", Date.now());
  await page.reload();
  await page.getByRole("heading", { name: "Ilka" }).waitFor();
  await copy.waitForFunction((before) => JSON.parse(sessionStorage["duologue:session"]).refreshToken !== before, before);
  assert.equal(await token(copy), await token(page));
  await window.close();
});

test("new tokens whose answer was lost are asked for again in time, and none long before they end", async () => {
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
  await window.close();
});
