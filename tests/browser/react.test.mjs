// The example with React as people use it, on an open server and where they sign in.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ask, fill, isAccessible } from "./browser.mjs";
import { button, close, composer, hold, intercept, isFocused, isLedBy, log } from "./demo.mjs";
import { manyConversations, person, send, settled, takeBack, threeMessages } from "./demo.mjs";
import {
  PAGE, PASSWORD, accounts, find, isCurrent, isRenewed, message, open, row, signUp, tell, texts, two, unsent, visit,
} from "./react.mjs";

test("people of an open server are made and picked, see what is unread, and read it", async () => {
  await person("React-Bob");
  const windows = [await visit(open), await visit(open, { viewport: { width: 360, height: 640 } })];
  const [ada, bob] = windows.map(({ page }) => page);
  await ada.getByRole("heading", { name: "Who are you?" }).waitFor();
  await isAccessible(ada);
  await ada.getByLabel("Name").fill("React-Ada");
  await ada.getByLabel("Email").fill(`react-ada-${process.pid}@example.com`);
  await button(ada, "Create").click();
  await find(bob, "Find yourself", "React-Bob");
  await isCurrent(bob);
  await find(ada, "Find people", "React-Bob");
  await send(ada, "Hello Bob!");
  await send(ada, "Are you\nthere?");
  await row(bob, /React-Ada.*2 unread.*Are you/).waitFor();
  await bob.waitForFunction(() => document.title === "(2) Chat");
  await ada.getByText("delivered", { exact: true }).waitFor();
  await isAccessible(bob);
  await row(bob, /React-Ada/).press("Enter");
  await message(bob, "there?").waitFor();
  // On a phone the focus goes where the page goes.
  await isFocused(bob.getByRole("heading", { name: "React-Ada" }), bob);
  await ada.getByText("read", { exact: true }).waitFor();
  await send(bob, "Here I am");
  await message(ada, "Here I am").waitFor();
  for (const page of [ada, bob]) {
    assert.deepEqual(await texts(page), ["Hello Bob!", "Are you\nthere?", "Here I am"]);
    await isAccessible(page);
  }
  assert.ok(await bob.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await bob.getByRole("link", { name: "Back to the inbox" }).click();
  await isFocused(row(bob, /React-Ada.*You: Here I am/), bob);
  assert.equal(await row(bob, /unread/).count(), 0);
  await close(windows);
});

test("a conversation goes down the list when its last message is deleted", async () => {
  const { takeBack } = await threeMessages(["React-Anton", "React-Berta", "React-Pia"]);
  const window = await visit(open);
  await find(window.page, "Find yourself", "React-Pia");
  await isLedBy(window.page, ["React-Anton", "React-Berta"]);
  await isCurrent(window.page);
  await takeBack();
  await isLedBy(window.page, ["React-Berta", "React-Anton"]);
  await window.close();
});

test("a conversation whose place is beyond the pages of the list comes with its page, and the focus stays in the list", async () => {
  const { names, say } = await manyConversations("React-Quint");
  const window = await visit(open);
  const { page } = window;
  await find(page, "Find yourself", "React-Quint");
  await isCurrent(page);
  const oldest = row(page, names.at(-1));
  const id = await say("and more");
  await isLedBy(page, [names.at(-1)]);
  await takeBack(id);
  await oldest.waitFor({ state: "detached" });
  await button(page, "Show more conversations").press("Enter");
  await oldest.waitFor();
  await isLedBy(page, names);
  await button(page, "Show more conversations").waitFor({ state: "detached" });
  await isFocused(page.getByRole("list", { name: "Conversations" }), page);
  await window.close();
});

test("a long conversation is read back to its beginning", async () => {
  const { ids, windows, pages } = await two(["React-Sara", "React-Tom"]);
  const [, tom] = pages;
  await tell(ids, 120);
  await message(tom, "number 120.").waitFor();
  await tom.reload();
  await message(tom, "number 120.").waitFor();
  assert.equal((await texts(tom)).length, 50);
  await windows[1].inTrouble(async () => {
    const statuses = [408, 429];
    const refusal = { body: "<h1>No</h1>", headers: { "access-control-allow-origin": "*" } };
    await tom.route("**/graphql", (route) => route.fulfill({ ...refusal, status: statuses.shift() ?? 403 }));
    await button(tom, "Show earlier messages").click();
    // The first two may pass.
    await tom.getByRole("alert").filter({ hasText: "403" }).waitFor();
    assert.deepEqual(statuses, []);
    await tom.unroute("**/graphql");
  });
  for (const first of ["number 21.", "number 1."]) {
    const top = log(tom).locator("ol > li").first();
    const before = await top.innerText();
    await button(tom, "Show earlier messages").click();
    await message(tom, first).waitFor();
    // Who read on does not lose the place.
    const its = await message(tom, before.match(/number \d+\./)[0]).boundingBox();
    assert.ok(its.y >= 0 && its.y < 800, `${its.y}`);
    // A screen reader does not read out what was said before.
    assert.equal(await log(tom).getAttribute("aria-live"), "off");
    assert.equal(await tom.getByRole("alert").count(), 0);
  }
  await button(tom, "Show earlier messages").waitFor({ state: "detached" });
  await isFocused(log(tom), tom);
  assert.deepEqual(await texts(tom), Array.from({ length: 120 }, (_, i) => `number ${i + 1}.`));
  await close(windows);
});

test("what is written from right to left is shown so, beside what is not", async () => {
  const { windows, pages } = await two(["React-משה", `React-${"Naomi".repeat(12)}`]);
  const [moshe, naomi] = pages;
  // Nor does a long name run out of its place.
  const fits = (locator) => locator.evaluate((element) => element.scrollWidth <= element.clientWidth);
  await composer(moshe).fill("שלום!");
  const isRightToLeft = (locator) => locator.evaluate((element) => getComputedStyle(element).direction === "rtl");
  assert.ok(await isRightToLeft(composer(moshe)));
  await composer(moshe).press("Enter");
  await message(naomi, "שלום!").waitFor();
  for (const page of pages) {
    assert.ok(await isRightToLeft(message(page, "שלום!").getByRole("paragraph")));
    assert.ok(await isRightToLeft(row(page, /React/).getByText("שלום!")));
    for (const place of [page.getByRole("navigation"), page.getByRole("main")]) assert.ok(await fits(place));
  }
  await close(windows);
});

test("people sign up and talk, and a session ends when they say so", async () => {
  const windows = [await visit(accounts), await visit(accounts)];
  const [mona, nils] = windows.map(({ page }) => page);
  await mona.getByRole("heading", { name: "Sign in" }).waitFor();
  await isAccessible(mona);
  await signUp(mona, "React-Mona");
  await signUp(nils, "React-Nils");
  await isCurrent(nils);
  await find(mona, "Find people", "React-Nils");
  await send(mona, "Found you");
  await row(nils, /React-Mona.*1 unread/).click();
  await message(nils, "Found you").waitFor();
  await mona.getByText("read", { exact: true }).waitFor();
  await button(mona, "Sign out").click();
  await mona.getByLabel("Email").fill("react-mona@example.com");
  await mona.getByLabel("Password").fill("not that one at all");
  await button(mona, "Sign in").click();
  await mona.getByRole("alert").waitFor();
  await mona.getByLabel("Password").fill(PASSWORD);
  await button(mona, "Sign in").click();
  await row(mona, /React-Nils/).click();
  await message(mona, "Found you").waitFor();
  await close(windows);
});

test("who signs out when the token has ended leaves no session behind", async () => {
  const window = await visit(accounts);
  const { page } = window;
  await signUp(page, "React-Olga");
  // The browser reports the answer: it is a 401.
  await window.inTrouble(async () => {
    await page.evaluate(() => {
      const kept = JSON.parse(localStorage.getItem("duologue-session"));
      localStorage.setItem("duologue-session", JSON.stringify({ ...kept, accessToken: "not.a.token" }));
    });
    const ended = page.waitForResponse((response) => response.request().postData()?.includes("signOut") && response.ok());
    await button(page, "Sign out").click();
    await ended;
  });
  const input = { email: "react-olga@example.com", password: PASSWORD };
  const SIGN_IN = "mutation ($input: SignInInput!) { signIn(input: $input) { accessToken } }";
  const { signIn } = await ask(accounts, SIGN_IN, { input });
  const { me } = await ask(accounts, "{ me { sessions { id } } }", {}, signIn.accessToken);
  assert.equal(me.sessions.length, 1);
  await window.close();
});

test("tokens are renewed in time on the open socket, and once for all tabs", async () => {
  const window = await visit(accounts);
  const { page, context } = window;
  // The clock of the device is slow.
  await context.addInitScript(() => {
    const { now } = Date;
    Date.now = () => now() - 3_600_000;
  });
  await page.reload();
  let renewals = [];
  const closes = [];
  const watch = (tab) => tab.on("websocket", (socket) => socket.on("close", () => closes.push(tab)));
  watch(page);
  context.on("request", (request) => {
    if (request.postData()?.includes("refreshSession")) renewals.push(request);
  });
  const first = isRenewed(page);
  await signUp(page, "React-Rita");
  const tab = await context.newPage();
  watch(tab);
  const second = isRenewed(tab);
  await tab.goto(page.url());
  // The server's tokens hold little longer than the minute before whose end they are traded.
  await Promise.all([first, second]);
  assert.deepEqual(closes, []);

  // Two tabs that find an ended token at the same time.
  const url = page.url();
  await tab.close();
  const change = async (value) => {
    await page.goto(`${PAGE}/blank`);
    await page.evaluate((value) => {
      const kept = { ...JSON.parse(localStorage.getItem("duologue-session")), ...value };
      localStorage.setItem("duologue-session", JSON.stringify(kept));
    }, value);
  };
  await change({ ends: 0 });
  // The page that was left may have asked and not waited for the answer.
  renewals = [];
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await context.route("**/graphql", async (route) => {
    if (route.request().postData()?.includes("refreshSession")) await released;
    await route.continue();
  });
  const frames = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  const another = await context.newPage();
  const asked = context.waitForEvent("request", (request) => request.postData()?.includes("refreshSession"));
  for (const its of [page, another]) await its.goto(url).then(() => its.evaluate(frames));
  await asked;
  assert.equal(renewals.length, 1);
  release();
  for (const its of [page, another]) await its.getByRole("heading", { name: "React-Rita" }).waitFor();
  await context.unroute("**/graphql");
  await another.close();

  // A token that the server does not take is traded as well, and not left where there is no room for the next one. The browser
  // reports the answer: it is a 401.
  await window.inTrouble(async () => {
    await change({ accessToken: "not.a.token", ends: Date.now() + 600_000 });
    const refreshed = page.waitForResponse((response) => response.request().postData()?.includes("refreshSession"));
    await page.addInitScript(fill);
    await page.goto(url);
    await refreshed;
    await page.getByRole("heading", { name: "React-Rita" }).waitFor();
    await isCurrent(page);
    assert.equal(await page.evaluate(() => localStorage.getItem("duologue-session")), null);
  });
  await window.close();
});

test("what is being written is there when somebody comes back, and a late answer takes nobody away", async () => {
  const { windows, pages } = await two(["React-Uli", "React-Vera"]);
  const [uli] = pages;
  await send(uli, "Hello");
  await message(uli, "Hello").waitFor();
  await composer(uli).fill("not yet");
  await person("React-Wolf");
  const answer = await hold(uli, "query Between");
  await find(uli, "Find people", "React-Wolf");
  await answer.held;
  await uli.goto(`${uli.url().split("#")[0]}#`);
  await composer(uli).waitFor({ state: "detached" });
  const answered = uli.waitForResponse((response) => response.request().postData()?.includes("query Between"));
  answer.release();
  await answered;
  await settled(uli);
  assert.equal(new URL(uli.url()).hash, "");
  await row(uli, /React-Vera/).click();
  await composer(uli).waitFor();
  assert.equal(await composer(uli).inputValue(), "not yet");
  await uli.reload();
  await composer(uli).waitFor();
  assert.equal(await composer(uli).inputValue(), "not yet");
  await composer(uli).press("Enter");
  await message(uli, "not yet").waitFor();
  await uli.reload();
  await composer(uli).waitFor();
  assert.equal(await composer(uli).inputValue(), "");
  await close(windows);
});

test("who signs out leaves nothing that was written on the device, and is asked before", async () => {
  const window = await visit(accounts);
  const { page } = window;
  await signUp(page, "React-Zoe");
  const other = await visit(accounts);
  await signUp(other.page, "React-Yann");
  await find(page, "Find people", "React-Yann");
  await composer(page).waitFor();
  const tab = await window.context.newPage();
  await tab.goto(page.url());
  await composer(tab).waitFor();
  await window.inTrouble(async () => {
    for (const its of [page, tab]) await intercept(its, "mutation Send", (route) => route.abort());
    await composer(tab).fill("one more");
    await send(page, "secret");
    await composer(page).fill("another one");
    await unsent(page).getByText("secret").waitFor();
    const asked = [];
    page.on("dialog", async (dialog) => {
      asked.push(dialog.message());
      await (asked.length === 1 ? dialog.dismiss() : dialog.accept());
    });
    await button(page, "Sign out").click();
    await unsent(page).getByText("secret").waitFor();
    await button(page, "Sign out").click();
    for (const its of [page, tab]) await its.getByRole("heading", { name: "Sign in" }).waitFor();
    assert.equal(asked.length, 2);
  });
  for (const its of [page, tab]) {
    const kept = await its.evaluate(() => [...Object.keys(localStorage), ...Object.keys(sessionStorage)]);
    assert.deepEqual(kept, []);
  }
  await close([window, other]);
});
