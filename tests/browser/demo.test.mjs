// The chat demo as two people use it, each in a window: on an open server, and where people sign in.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startProxy } from "../clients/proxy.mjs";
import { ask, comesBackWithForeignCursor, firstLoad, isAccessible, launch, openWindow } from "./browser.mjs";
import { act, banner, button, close, composer, conversations, field, fits, found, hold, intercept } from "./demo.mjs";
import { isFocused, isInSight, log, message, person, send, settled, tell, texts, two } from "./demo.mjs";

const { DUOLOGUE_OPEN: open, DUOLOGUE_ACCOUNTS: accounts } = process.env;
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

async function remove(page, text) {
  await act(page, text, "Delete");
  const dialog = page.getByRole("dialog");
  await isAccessible(page);
  await dialog.getByRole("button", { name: "Delete" }).click();
  await dialog.waitFor({ state: "detached" });
  await isFocused(composer(page), page);
}

test("a first visit: two people, a window for each, and a word", async () => {
  const window = await openWindow(browser, open, { path: "/demo" });
  const { page: ada, context } = window;
  await isAccessible(ada);
  await button(ada, "Make Ada and Bob").click();
  const [bob] = await Promise.all([
    context.waitForEvent("page"),
    ada.getByRole("link", { name: "Open Bob’s window" }).click(),
  ]);
  await composer(bob).waitFor();
  await send(ada, "Hello Bob!");
  await message(bob, "Hello Bob!").waitFor();
  await send(bob, "Hi Ada");
  await message(ada, "Hi Ada").waitFor();
  assert.deepEqual(await texts(ada), ["Hello Bob!", "Hi Ada"]);
  assert.deepEqual(await texts(bob), ["Hello Bob!", "Hi Ada"]);
  await window.close();
});

test("what one does, the other sees", async () => {
  const { windows, pages } = await two(browser, ["Clara", "Dora"]);
  const [clara, dora] = pages;
  // For some seconds, as people do: who does not listen yet misses the first word of it.
  const typed = composer(clara).pressSequentially("Lunch. Or is that too early for you today?", { delay: 100 });
  await banner(dora, "Clara is typing…").waitFor();
  await typed;
  await send(clara, "Lunch at noon?");
  await message(dora, "Lunch at noon?").waitFor();
  await message(clara, "Lunch at noon?").getByText("Read").waitFor();

  await act(clara, "Lunch at noon?", "Edit");
  await clara.getByRole("textbox", { name: "Edit message" }).fill("Lunch at one?");
  await button(clara, "Save").click();
  await message(dora, "Lunch at one?").getByText("edited").waitFor();

  await act(dora, "Lunch at one?", "Reply");
  await send(dora, "One is fine.");
  await message(clara, "One is fine.").filter({ hasText: "Lunch at one?" }).waitFor();

  await send(clara, "Or not");
  await remove(clara, "Or not");
  await message(dora, "Or not").waitFor({ state: "detached" });
  for (const page of pages) assert.deepEqual(await texts(page), ["Lunch at one?", "One is fine."]);
  await close(windows);
});

test("an edit that somebody was faster with is not lost, and neither is theirs", async () => {
  const { ids, windows, pages } = await two(browser, ["Emil", "Finn"]);
  const [emil] = pages;
  await send(emil, "first");
  await act(emil, "first", "Edit");
  const editor = emil.getByRole("textbox", { name: "Edit message" });
  await editor.fill("mine");
  const { user } = await ask(open, `query ($id: ID!) { user(id: $id) { sentMessages { nodes { id } } } }`, { id: ids[0] });
  const EDIT = `mutation ($id: ID!) { updateMessage(id: $id, input: { content: "theirs" }) { message { id } } }`;
  await ask(open, EDIT, { id: user.sentMessages.nodes[0].id });
  await button(emil, "Save").click();
  await emil.getByRole("alert").filter({ hasText: "“theirs”" }).waitFor();
  assert.equal(await editor.inputValue(), "mine");
  await button(emil, "Save").click();
  await message(pages[1], "mine").waitFor();
  await close(windows);
});

test("what is written while an edit is saved is kept", async () => {
  const { windows, pages } = await two(browser, ["Zoe", "Yuri"]);
  const [zoe, yuri] = pages;
  await send(zoe, "first");
  await message(zoe, "first").waitFor();
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await zoe.route("**/graphql", async (route) => {
    if (route.request().postData()?.includes("updateMessage")) await released;
    await route.continue();
  });
  await zoe.keyboard.press("ArrowUp");
  const editor = zoe.getByRole("textbox", { name: "Edit message" });
  await editor.fill("second");
  await editor.press("Enter");
  await editor.fill("second and more");
  release();
  await message(yuri, "second").waitFor();
  await message(zoe, "second").waitFor();
  assert.equal(await editor.inputValue(), "second and more");
  await editor.press("Enter");
  await message(yuri, "second and more").waitFor();
  await close(windows);
});

for (const [names, text] of [[["Ylva", "Zeno"], "third"], [["Yasmin", "Zack"], "first"]]) {
  test(`what is to be saved while an edit is saved is saved after it: first, second, ${text}`, async () => {
    const { windows, pages } = await two(browser, names);
    const [writer, reader] = pages;
    await send(writer, "first");
    await message(writer, "first").waitFor();
    const { held, release } = await hold(writer, "updateMessage");
    await writer.keyboard.press("ArrowUp");
    const editor = writer.getByRole("textbox", { name: "Edit message" });
    await editor.fill("second");
    await editor.press("Enter");
    await held;
    await editor.fill(text);
    await editor.press("Enter");
    release();
    await editor.waitFor({ state: "detached" });
    // After it the reader has both edits.
    await send(writer, "last");
    await message(reader, "last").waitFor();
    assert.deepEqual(await texts(reader), [text, "last"]);
    await close(windows);
  });
}

test("nothing is lost and nothing comes twice when the network is cut", async (context) => {
  const proxy = await startProxy(new URL(open));
  context.after(() => proxy.stop());
  const { windows, pages } = await two(browser, ["Gerd", "Hanna"], [{ address: `http://127.0.0.1:${proxy.port}` }, {}]);
  const [gerd, hanna] = pages;
  await send(gerd, "before");
  await message(hanna, "before").waitFor();
  await windows[0].inTrouble(async () => {
    const refused = proxy.cut();
    await banner(gerd, "Offline. What you write is sent when the connection is back.").waitFor();
    await isAccessible(gerd);
    for (const text of ["mine 1", "mine 2", "mine 2"]) await send(gerd, text);
    for (const text of ["hers 1", "hers 2"]) await send(hanna, text);
    await message(hanna, "hers 2").waitFor();
    await refused;
    proxy.comeBack();
    await banner(gerd, "Offline").waitFor({ state: "detached" });
    await message(gerd, "hers 2").waitFor();
    await message(hanna, "mine 2").nth(1).waitFor();
  });
  await send(hanna, "after");
  await message(gerd, "after").waitFor();
  const all = ["before", "hers 1", "hers 2", "mine 1", "mine 2", "mine 2", "after"];
  for (const page of pages) assert.deepEqual(await texts(page), all);
  await gerd.reload();
  await message(gerd, "after").waitFor();
  assert.deepEqual(await texts(gerd), all);
  await close(windows);
});

test("a reload loses neither what waits nor what is being written", async () => {
  const { windows, pages } = await two(browser, ["Ida", "Jan"]);
  const [ida, jan] = pages;
  ida.on("dialog", (dialog) => dialog.accept());
  await windows[0].inTrouble(async () => {
    await ida.route("**/graphql", (route) => route.abort());
    await send(ida, "waits");
    await ida.getByRole("list", { name: "Not sent yet" }).getByText("waits").waitFor();
    await composer(ida).fill("half a th");
    await ida.unroute("**/graphql");
    await ida.reload();
  });
  await message(jan, "waits").waitFor();
  await message(ida, "waits").waitFor();
  assert.equal(await composer(ida).inputValue(), "half a th");
  assert.deepEqual(await texts(ida), ["waits"]);
  await close(windows);
});

test("where the server cannot go on, all is loaded again", async () => {
  const { ids, windows, pages } = await two(browser, ["Wim", "Xenia"]);
  const [wim, xenia] = pages;
  const server = await comesBackWithForeignCursor(wim, ids[0]);
  await wim.reload();
  for (const text of ["one", "two"]) await send(xenia, text);
  await message(wim, "two").waitFor();
  await windows[0].inTrouble(async () => {
    await server.close();
    await remove(xenia, "one");
    await send(xenia, "three");
    await message(wim, "three").waitFor();
    await message(wim, "one").waitFor({ state: "detached" });
  });
  await send(xenia, "four");
  await message(wim, "four").waitFor();
  assert.equal(server.resets(), 1);
  assert.deepEqual(await texts(wim), ["two", "three", "four"]);
  await close(windows);
});

test("who reads further up when all is loaded again stays there, and has not read what is new", async () => {
  const { ids, windows, pages } = await two(browser, ["Wolf", "Xeno"]);
  const [wolf, xeno] = pages;
  for (let i = 1; i <= 60; i++) await tell(ids[1], ids[0], `number ${i}.`);
  await message(xeno, "number 60.").getByText("Read").waitFor();
  const server = await comesBackWithForeignCursor(wolf, ids[0]);
  await wolf.reload();
  await message(wolf, "number 35.").evaluate((its) => (its.closest("[role=log]").scrollTop = its.offsetTop));
  await button(wolf, "To the newest").waitFor();
  const place = () => message(wolf, "number 35.").evaluate((its) => its.getBoundingClientRect().top);
  const before = await place();
  await windows[0].inTrouble(async () => {
    await server.close();
    await tell(ids[1], ids[0], "missed");
    await button(wolf, "1 new").waitFor();
    while (!server.resets()) await settled(wolf);
    await banner(wolf, "Catching up…").waitFor({ state: "detached" });
  });
  const after = await place();
  assert.ok(Math.abs(after - before) <= 2, `${before} ${after}`);
  assert.equal(await unreadOf(ids), 1);
  await close(windows);
});

test("what is refused stays, with the reason", async () => {
  const { ids, windows, pages } = await two(browser, ["Karl", "Lisa"]);
  const [karl, lisa] = pages;
  const block = (mutation) => ask(open, `mutation ($by: ID!, $whom: ID!) { ${mutation}(userId: $by, id: $whom) { user { id } } }`, {
    by: ids[1],
    whom: ids[0],
  });
  await block("blockUser");
  await send(karl, "Are you angry?");
  const unsent = karl.getByRole("list", { name: "Not sent yet" });
  await unsent.getByRole("alert").waitFor();
  await isAccessible(karl);
  // It is found in the list, and can be written anew.
  await karl.goto(new URL(`/demo?as=${ids[0]}`, open).href);
  await karl.getByRole("list", { name: "Conversations" }).getByRole("link", { name: /Are you angry\?/ }).click();
  await unsent.getByRole("button", { name: "Edit" }).click();
  await unsent.waitFor({ state: "detached" });
  assert.equal(await composer(karl).inputValue(), "Are you angry?");
  await composer(karl).press("Enter");
  await unsent.getByRole("alert").waitFor();
  await block("unblockUser");
  await unsent.getByRole("button", { name: "Retry" }).click();
  await message(lisa, "Are you angry?").waitFor();
  await close(windows);
});

test("people sign up, find each other and talk; a session ends when they say so", async () => {
  const names = ["Mona", "Nils"];
  const windows = await Promise.all(names.map(() => openWindow(browser, accounts, { path: "/demo" })));
  for (const [i, name] of names.entries()) {
    const { page } = windows[i];
    await isAccessible(page);
    await button(page, "Create account").click();
    await isAccessible(page);
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Email").fill(`${name.toLowerCase()}@example.com`);
    await page.getByLabel("Password").fill("correct horse battery");
    await button(page, "Create account").click();
    await button(page, "Your menu").waitFor();
  }
  const [mona, nils] = windows.map(({ page }) => page);
  await mona.getByRole("searchbox", { name: "Find people" }).fill("Nil");
  await mona.getByRole("list", { name: "People found" }).getByRole("link", { name: /Nils/ }).click();
  await send(mona, "Found you");
  const row = nils.getByRole("list", { name: "Conversations" }).getByRole("link", { name: /Mona.*1 unread/ });
  await row.waitFor();
  assert.match(await nils.title(), /^\(1\)/);
  await row.click();
  await message(nils, "Found you").waitFor();
  await message(mona, "Found you").getByText("Read").waitFor();
  await field(mona).fill("found");
  await found(mona).filter({ hasText: "You: Found you" }).waitFor();
  await button(mona, "Your menu").click();
  await button(mona, "Sign out").click();
  await mona.getByRole("heading", { name: "Sign in" }).waitFor();
  await mona.getByLabel("Email").fill("mona@example.com");
  await mona.getByLabel("Password").fill("not that one at all");
  await button(mona, "Sign in").click();
  const problem = mona.getByRole("alert").filter({ hasText: /./ });
  await problem.waitFor();
  // It is none of who wants to do something else.
  await button(mona, "Create account").click();
  await problem.waitFor({ state: "detached" });
  await button(mona, "Sign in instead").click();
  await mona.getByLabel("Password").fill("correct horse battery");
  await button(mona, "Sign in").click();
  await mona.getByRole("list", { name: "Conversations" }).getByRole("link", { name: /Nils/ }).click();
  await message(mona, "Found you").waitFor();
  await close(windows);
});

test("the address names people by their numbers too, and opens nobody else's conversation", async () => {
  const { ids, windows, pages } = await two(browser, ["Abel", "Abel2"]);
  const [abel] = pages;
  const { conversation } = await ask(open, `{ conversation(user1: "${ids[0]}", user2: "${ids[1]}") { id } }`);
  const number = (id) => id.replace("usr_", "");
  await abel.goto(new URL(`/demo?as=${number(ids[0])}&with=${number(ids[1])}`, open).href);
  await send(abel, "by number");
  await message(pages[1], "by number").waitFor();
  const NAMESAKE = `mutation { createUser(input: { name: "Abel", email: "namesake@example.com" }) { user { id } } }`;
  const { id } = (await ask(open, NAMESAKE)).createUser.user;
  await abel.goto(new URL(`/demo?as=${id}&with=${conversation.id}`, open).href);
  await abel.getByRole("alert").filter({ hasText: "There is no such person here" }).waitFor();
  assert.equal(await composer(abel).count(), 0);
  await abel.goto(new URL("/demo", open).href);
  await abel.getByRole("searchbox", { name: "Find a person" }).fill("Abel");
  const list = abel.getByRole("list", { name: "People" });
  for (const its of [ids[0], id]) await list.getByText(its, { exact: true }).waitFor();
  await close(windows);
});

test("a keyboard is enough", async () => {
  const { windows, pages } = await two(browser, ["Olga", "Paul"]);
  const [olga, paul] = pages;
  await composer(olga).focus();
  await olga.keyboard.type("one");
  await olga.keyboard.press("Shift+Enter");
  await olga.keyboard.type("two");
  await olga.keyboard.press("Enter");
  await message(paul, "one\ntwo").waitFor();
  await olga.keyboard.press("ArrowUp");
  const editor = olga.getByRole("textbox", { name: "Edit message" });
  assert.equal(await editor.inputValue(), "one\ntwo");
  await olga.keyboard.press("Escape");
  await composer(olga).waitFor();
  await olga.keyboard.type("three");
  await olga.keyboard.press("Enter");
  await message(paul, "three").waitFor();
  // All messages are one stop on the way from the log to the composer.
  await message(olga, "three").waitFor();
  const dots = (text) => message(olga, text).getByRole("button", { name: /^Actions for / });
  await log(olga).focus();
  await olga.keyboard.press("Tab");
  await isFocused(dots("three"), olga);
  await olga.keyboard.press("ArrowUp");
  await isFocused(dots("one"), olga);
  await olga.keyboard.press("Tab");
  await isFocused(composer(olga), olga);
  await olga.keyboard.press("Shift+Tab");
  await isFocused(dots("one"), olga);
  await close(windows);
});

test("the arrow keys go through a long conversation, and what has the focus is in sight", async () => {
  const { ids, windows, pages } = await two(browser, ["Orla", "Piet"]);
  const [orla] = pages;
  for (let i = 1; i <= 40; i++) await tell(ids[i % 2], ids[(i + 1) % 2], `number ${i}.`);
  await message(orla, "number 40.").waitFor();
  const focused = log(orla).locator(".dots:focus");
  await composer(orla).focus();
  await orla.keyboard.press("Shift+Tab");
  const walk = async (key, from, to) => {
    const step = Math.sign(to - from);
    for (let i = from; i !== to; i += step) {
      await orla.keyboard.press(key);
      await isFocused(message(orla, `number ${i + step}.`).locator(".dots"), orla);
      await settled(orla);
      assert.ok(await isInSight(focused), `${key} to ${i + step}`);
    }
  };
  await walk("ArrowUp", 40, 1);
  await walk("ArrowDown", 1, 40);
  await close(windows);
});

test("a message is a text, whatever is in it", async () => {
  const { windows, pages } = await two(browser, ["Quinn", "Rosa"]);
  const odd = [
    `<img src="https://example.com/x.png" onerror="alert(1)"><script>alert(1)</script>`,
    "שלום 👋🏽 and a word of 200 letters: " + "x".repeat(200),
    "line 1\nline 2",
  ];
  for (const text of odd) await send(pages[0], text);
  await message(pages[1], "line 2").waitFor();
  for (const page of pages) {
    assert.deepEqual(await texts(page), odd);
    await fits(page);
  }
  await close(windows);
});

const unreadOf = async ([reader, other]) => {
  const UNREAD = "query ($a: ID!, $b: ID!) { conversation(user1: $a, user2: $b) { unreadCount(userId: $a) } }";
  return (await ask(open, UNREAD, { a: reader, b: other })).conversation.unreadCount;
};

test("who comes to a message that was found has not read what lies far below it, and is left where they are", async () => {
  const { ids, windows, pages } = await two(browser, ["Svea", "Thor"]);
  const [svea, thor] = pages;
  for (let i = 1; i <= 45; i++) await tell(ids[1], ids[0], i === 3 ? "a gnu" : `number ${i}.`);
  await message(thor, "number 45.").getByText("Read").waitFor();
  await svea.goto(new URL(`/demo?as=${ids[0]}`, open).href);
  for (const text of ["news 1", "news 2"]) await tell(ids[1], ids[0], text);
  await conversations(svea).filter({ hasText: "2 unread" }).waitFor();
  let marks = 0;
  await intercept(svea, "mutation MarkRead(", (route) => {
    marks++;
    return route.fallback();
  });
  await field(svea).fill("gnu");
  await found(svea).click();
  await isFocused(message(svea, "a gnu"), svea);
  await button(svea, "2 new").waitFor();
  // Nor once more what is there already. What comes then moves nothing.
  await tell(ids[1], ids[0], "news 3");
  await button(svea, "3 new").waitFor();
  await found(svea).click();
  await isFocused(message(svea, "a gnu"), svea);
  await tell(ids[1], ids[0], "news 4");
  await button(svea, "4 new").waitFor();
  await settled(svea);
  assert.ok(await isInSight(message(svea, "a gnu")));
  assert.equal(marks, 0);
  assert.equal(await unreadOf(ids), 4);
  await button(svea, "4 new").click();
  await message(thor, "news 4").getByText("Read").waitFor();
  await close(windows);
});

/** Has the page's searches answered by what `answer` makes of the search, and of what the server said. */
const answerSearches = (page, answer) =>
  page.route("**/graphql", async (route) => {
    const { query, variables } = route.request().postDataJSON();
    if (!query.startsWith("query Search(")) return route.continue();
    const response = await route.fetch();
    await route.fulfill({ response, json: await answer(variables, await response.json()) });
  });

test("a message is found by its word a moment after it was sent, and opened in its place however far back it lies", async () => {
  const { ids, windows, pages } = await two(browser, ["Selma", "Theo"]);
  const [selma, theo] = pages;
  await send(theo, "Shall we take the **zeppelin**?");
  await message(theo, "zeppelin").waitFor();
  await selma.goto(new URL(`/demo?as=${ids[0]}`, open).href);
  await field(selma).fill("zeppelin");
  await found(selma).filter({ hasText: "Theo" }).waitFor();
  assert.equal(await found(selma).first().locator("mark").innerText(), "zeppelin");
  await isAccessible(selma);
  await found(selma).first().click();
  await message(selma, "zeppelin").waitFor();

  for (let i = 1; i <= 160; i++) await tell(ids[0], ids[1], `number ${i}.`);
  await message(theo, "number 160.").waitFor();
  await theo.reload();
  await message(theo, "number 160.").waitFor();
  assert.equal(await message(theo, "zeppelin").count(), 0);
  await field(theo).fill("zeppelin");
  assert.match(await found(theo).first().innerText(), /You: Shall we take the/);
  await found(theo).first().click();
  await message(theo, "zeppelin").and(theo.locator(":focus")).waitFor();
  // Messages around it may still be laid out.
  const comesIntoSight = async () => {
    for (let frames = 0; !(await isInSight(message(theo, "zeppelin"))); frames++) {
      assert.ok(frames < 600, "it stays out of sight");
      await settled(theo);
    }
  };
  await comesIntoSight();
  // What is said now does not move it away.
  await send(selma, "number 161.");
  await button(theo, "1 new").click();
  await message(theo, "number 161.").waitFor();
  await found(theo).first().click();
  await message(theo, "zeppelin").and(theo.locator(":focus")).waitFor();
  await comesIntoSight();
  await close(windows);
});

test("a search is done with the keyboard, page by page, on a phone and in the dark too", async () => {
  const phone = { viewport: { width: 320, height: 640 }, colorScheme: "dark" };
  const { ids, windows, pages } = await two(browser, ["Ulla", "Vito"], [phone, {}]);
  const [ulla] = pages;
  for (let i = 1; i <= 25; i++) await tell(ids[1], ids[0], `lemon ${i}`);
  await ulla.getByRole("link", { name: "Back to conversations" }).click();
  await field(ulla).focus();
  await ulla.keyboard.type("lemon");
  await ulla.keyboard.press("Enter");
  await found(ulla).nth(19).waitFor();
  assert.equal(await found(ulla).count(), 20);
  await isAccessible(ulla);
  assert.ok(await ulla.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await button(ulla, "Show more messages").click();
  await found(ulla).nth(24).waitFor();
  await button(ulla, "Show more messages").waitFor({ state: "detached" });
  await field(ulla).focus();
  await ulla.keyboard.press("ArrowDown");
  await ulla.keyboard.press("ArrowDown");
  const second = found(ulla).nth(1);
  await second.and(ulla.locator(":focus")).waitFor();
  const text = (await second.innerText()).match(/lemon \d+/)[0];
  await ulla.keyboard.press("Enter");
  await log(ulla).locator("li:focus").getByText(text, { exact: true }).waitFor();
  // The page itself has not moved.
  assert.equal(await ulla.getByRole("heading", { name: "Vito" }).evaluate((its) => its.closest("header").getBoundingClientRect().top), 0);
  await ulla.getByRole("link", { name: "Back to conversations" }).click();
  await second.and(ulla.locator(":focus")).waitFor();
  await ulla.keyboard.press("Escape");
  await field(ulla).and(ulla.locator(":focus")).waitFor();
  assert.equal(await field(ulla).inputValue(), "");
  await ulla.getByRole("list", { name: "Conversations" }).getByRole("link", { name: /Vito/ }).waitFor();
  await close(windows);
});

test("a late answer of a search does not take the place of a newer one", async () => {
  const { windows, pages } = await two(browser, ["Wilma", "Xaver"]);
  const [wilma, xaver] = pages;
  for (const text of ["apples", "pears"]) await send(xaver, text);
  await message(wilma, "pears").waitFor();
  let release;
  const released = new Promise((resolve) => (release = resolve));
  let isLate = false;
  await answerSearches(wilma, async ({ text }, answer) => {
    if (text === "apples") await released;
    isLate ||= text === "apples";
    return answer;
  });
  const asked = wilma.waitForRequest((request) => request.postData()?.includes("apples") ?? false);
  await field(wilma).fill("apples");
  await asked;
  await field(wilma).fill("pears");
  await found(wilma).filter({ hasText: "pears" }).waitFor();
  const late = wilma.waitForResponse((response) => response.request().postData()?.includes("apples") ?? false);
  release();
  await (await late).finished();
  assert.ok(isLate);
  await wilma.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  assert.match(await found(wilma).first().innerText(), /pears/);
  await close(windows);
});

test("more is not offered of a search that is not asked for any more", async () => {
  const window = await openWindow(browser, open, { path: `/demo?as=${await person("Wibke")}` });
  const { page } = window;
  let release;
  const released = new Promise((resolve) => (release = resolve));
  await answerSearches(page, async ({ text }, answer) => {
    if (text === "pears") await released;
    answer.data.searchMessages.pageInfo = { hasNextPage: true, endCursor: text };
    return answer;
  });
  const more = button(page, "Show more messages");
  await field(page).fill("apples");
  await more.waitFor();
  await field(page).fill("pears");
  await more.waitFor({ state: "detached" });
  release();
  await more.waitFor();
  await window.close();
});

test("a search says when it finds nothing, what is not indexed yet, and why it failed", async () => {
  const { windows, pages } = await two(browser, ["Yvo", "Zita"]);
  const [yvo] = pages;
  let failures = 1;
  await answerSearches(yvo, (_, answer) => {
    if (failures-- > 0) return { data: null, errors: [{ message: "Too many searches.", extensions: { code: "RATE_LIMITED" } }] };
    answer.data.searchMessages.pending = 3;
    return answer;
  });
  await field(yvo).fill("nobody ever said this");
  await yvo.getByRole("alert").filter({ hasText: "Too many searches." }).waitFor();
  await isAccessible(yvo);
  await button(yvo, "Retry").click();
  await banner(yvo, /^Nothing found by words.*\. 3 not yet indexed\.$/).waitFor();
  assert.equal(await yvo.getByRole("alert").filter({ hasText: "Too many searches." }).count(), 0);
  await send(yvo, "gone soon");
  await message(yvo, "gone soon").waitFor();
  await field(yvo).fill("gone soon");
  await found(yvo).first().waitFor();
  await remove(yvo, "gone soon");
  await found(yvo).first().click();
  await banner(yvo, "This message is not there any more.").waitFor();
  await close(windows);
});

test("a long conversation is read back to its beginning", async () => {
  const { ids, windows, pages } = await two(browser, ["Sara", "Tom"]);
  for (let i = 1; i <= 120; i++) await tell(ids[0], ids[1], `number ${i}.`);
  const [, tom] = pages;
  await message(tom, "number 120.").waitFor();
  // The order is that of the server, whatever its clock said: here it went backwards.
  let clock = Date.now();
  const backwards = () => `"createdAt":"${new Date((clock -= 60_000)).toISOString()}"`;
  await tom.route("**/graphql", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.text()).replace(/"createdAt":"[^"]+"/g, backwards) });
  });
  await tom.reload();
  await message(tom, "number 120.").waitFor();
  assert.equal(await message(tom, "number 70.").count(), 0);
  // Whoever is at the top gets what lies before it.
  await tom.waitForFunction(() => {
    const element = document.querySelector("[role=log]");
    element.scrollTop = 0;
    return element.textContent.includes("This is where your conversation with Sara begins.");
  });
  const heard = (await texts(tom)).map((text) => Number(text.match(/\d+/)[0]));
  assert.deepEqual(heard, Array.from({ length: 120 }, (_, i) => i + 1));
  await close(windows);
});

for (const colorScheme of ["light", "dark"]) {
  test(`everybody can use it, on a phone too, in ${colorScheme} colours`, async () => {
    const phone = { viewport: { width: 360, height: 640 }, colorScheme };
    const { windows, pages } = await two(browser, [`Ute${colorScheme}`, `Vera${colorScheme}`], [phone, { colorScheme }]);
    const [ute, vera] = pages;
    await send(ute, "Can you read this?");
    await message(vera, "Can you read this?").waitFor();
    await act(vera, "Can you read this?", "Reply");
    for (const page of pages) {
      await isAccessible(page);
      await fits(page);
    }
    await ute.getByRole("link", { name: "Back to conversations" }).click();
    await ute.getByRole("list", { name: "Conversations" }).getByRole("link", { name: /Vera/ }).waitFor();
    await isAccessible(ute);
    await close(windows);
  });
}

test("a first visit takes less than 40 KB", async () => {
  const bytes = await firstLoad(browser, open, "/demo", (page) => page.getByRole("heading").waitFor());
  assert.ok(bytes > 10_000 && bytes < 40_000, `${bytes} bytes`);
});
