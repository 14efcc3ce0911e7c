// Who is signed in to the chat demo, in several tabs: signing out, messages that wait, and tokens that are traded.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ask, fill, launch, openWindow } from "./browser.mjs";
import { button, choose, composer, conversations, form, hold, intercept, isShowing, message, send, settled } from "./demo.mjs";
import { signIn, signUp, texts, unsent } from "./demo.mjs";

const { DUOLOGUE_ACCOUNTS: accounts } = process.env;
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const visitDemo = () => openWindow(browser, accounts, { path: "/demo" });

/** A second tab of somebody who stays signed in. */
async function anotherTab({ page, context }) {
  const other = await context.newPage();
  await other.goto(page.url());
  await button(other, "Your menu").waitFor();
  return other;
}

test("who signs out does not wait for the server, and leaves nothing in other tabs", async () => {
  const [window, friend] = await Promise.all([visitDemo(), visitDemo()]);
  const { page, context } = window;
  await signUp(friend.page, "Gunda");
  await signUp(page, "Hauke");
  const other = await anotherTab(window);
  await other.getByRole("searchbox", { name: "Find people" }).fill("Gunda");
  await other.getByRole("list", { name: "People found" }).getByRole("link").click();
  await composer(other).fill("half a secret");
  assert.match(await other.title(), /Gunda/);
  const kept = () => JSON.stringify(sessionStorage).includes("half a secret");
  await other.waitForFunction(kept);
  await intercept(page, "signOut", () => {});
  await choose(page, "Sign out");
  for (const its of [page, other]) await form(its).waitFor();
  assert.equal(await other.title(), "Duologue");
  assert.equal(new URL(other.url()).search, "");
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
    // In both before one of them sends: each would send what waits in the other.
    for (const its of tabs) await its.route("**/graphql", (route) => route.abort());
    for (const [i, its] of tabs.entries()) await send(its, `of tab ${i}`);
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
  const { page } = window;
  await signUp(page, "Oda");
  const other = await anotherTab(window);
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

test("a new database gives ids of sessions again that were left before", async () => {
  const window = await visitDemo();
  const { page } = window;
  // Those of the former one.
  const left = JSON.stringify(Array.from({ length: 1000 }, (_, number) => `ses_${number + 1}`));
  await page.evaluate((left) => localStorage.setItem("duologue:left", left), left);
  await signUp(page, "Nele");
  await page.reload();
  await page.getByRole("heading", { name: "Nele" }).waitFor();
  await window.close();
});

test("tokens that come after somebody else has signed in are dropped", async () => {
  const window = await visitDemo();
  const { page } = window;
  await signUp(page, "Pirmin");
  const other = await anotherTab(window);
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
  const { page } = window;
  await signUp(page, "Ragna");
  const other = await anotherTab(window);
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
  await page.clock.install();
  await page.reload();
  await page.getByRole("heading", { name: "Jorin" }).waitFor();
  await page.clock.runFor(1_000);
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
