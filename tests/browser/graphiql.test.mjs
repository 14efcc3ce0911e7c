// GraphiQL as somebody uses it who has never seen the server: on an open one, and on one where people sign in.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startProxy } from "../clients/proxy.mjs";
import { answerTo, ask, firstLoad, isAccessible, launch, openWindow } from "./browser.mjs";

const { DUOLOGUE_OPEN: open, DUOLOGUE_ACCOUNTS: accounts } = process.env;
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

const ready = (page) => editor(page).locator(".view-line").first().waitFor();

/** GraphiQL, once it can be used. */
async function visit(address, options) {
  const window = await openWindow(browser, address, options);
  await ready(window.page);
  return window;
}

/** The same on a network that can be cut. The editors start workers whenever they need them, which it does not concern. */
async function visitOnNetwork(context) {
  const proxy = await startProxy(new URL(open));
  context.after(() => proxy.stop());
  return { proxy, window: await visit(`http://127.0.0.1:${proxy.port}`, { filesFrom: open }) };
}

const tab = (page, name) => page.getByRole("button", { name, exact: true });
const panel = (page) => page.getByRole("region", { name: "Live feed" });
const editor = (page) => page.getByRole("region", { name: "Operation Editor" });

/** Goes to a tab, presses play, and gives the answer as the page shows it. */
async function run(page, name) {
  await tab(page, name).click();
  // The editor takes a moment to change.
  const operation = new RegExp(`(query|mutation|subscription)\\s${name}\\b`);
  await editor(page).locator(".view-lines").filter({ hasText: operation }).first().waitFor();
  const answered = answerTo(page, name);
  await page.getByRole("button", { name: /^Execute query/ }).click();
  const answer = await (await answered).json();
  const [field] = Object.keys(answer.data);
  await page.locator(".graphiql-response").getByText(`"${field}"`).first().waitFor();
  return answer.data;
}

/** The same, as fast as can be: GraphiQL finds out which operation a tab has a tenth of a second after it was opened. */
async function runAtOnce(page, name) {
  const answered = answerTo(page, name);
  await tab(page, name).evaluate(async (button) => {
    button.click();
    await null;
    document.querySelector(".graphiql-execute-button").click();
  });
  return (await (await answered).json()).data;
}

/** Where GraphiQL keeps its tabs, on an open server. */
const TABS_KEY = "duologue:graphiql:tabState";

/**
 * Replaces the variables, as soon as the editor takes what is typed. GraphiQL keeps them a moment later, and not at all if another tab is
 * opened before.
 */
async function writeVariables(page, variables) {
  const text = JSON.stringify(variables);
  const lines = page.getByRole("region", { name: "Variables" }).locator(".view-lines").first();
  do {
    await lines.click();
    await page.keyboard.press("ControlOrMeta+A");
    await page.keyboard.insertText(text);
    // The editor has closed brackets by itself.
    await page.keyboard.press("ControlOrMeta+Shift+End");
    await page.keyboard.press("Delete");
  } while ((await lines.innerText()).replace(/\s/g, "") !== text);
  const isKept = ([key, text]) => JSON.parse(localStorage[key]).tabs.some(({ variables }) => variables === text);
  await page.waitForFunction(isKept, [TABS_KEY, text]);
}

/** Waits for an event in the panel. */
const event = (page, text) => panel(page).locator("summary", { hasText: text }).first().waitFor();
const events = (page) => panel(page).locator("summary").allInnerTexts();

const SEND = `mutation ($from: ID!, $to: ID!, $content: String!) {
  sendMessage(input: { senderId: $from, receiverId: $to, content: $content }) { message { id } userErrors { message } }
}`;

const TABS = ["Create", "Send", "Reply", "Page", "Inbox", "Read", "Type", "Edit", "Find", "Delete", "Schema", "Watch"];

test("the examples tell their story on any database, and the panel hears it", async () => {
  // Others were here before: the ids are not those that the examples begin with.
  const others = await ask(open, `mutation {
    a: createUser(input: { name: "A", email: "a@example.com" }) { user { id } }
    b: createUser(input: { name: "B", email: "b@example.com" }) { user { id } }
  }`);
  await ask(open, SEND, { from: others.a.user.id, to: others.b.user.id, content: "Theirs" });
  const window = await visit(open);
  const { page } = window;
  for (const name of TABS) await tab(page, name).waitFor();
  const { ada, bob } = await run(page, "Create");
  assert.deepEqual([ada.user, bob.user], [{ id: "usr_3", name: "Ada" }, { id: "usr_4", name: "Bob" }]);

  await panel(page).getByLabel("Whose feed").and(page.locator('[value="usr_4"]')).waitFor();
  await tab(page, "Watch").click();
  await panel(page).getByRole("button", { name: "Run this tab’s subscription here" }).click();
  await event(page, "CAUGHT_UP");

  const { sendMessage } = await run(page, "Send");
  const { id, sender, conversation } = sendMessage.message;
  assert.deepEqual([sender.name, conversation.id], ["Ada", "cnv_3_4"]);
  await event(page, "Hello Bob, shall we start at ten?");
  assert.equal((await run(page, "Send")).sendMessage.duplicate, true);
  const reply = (await runAtOnce(page, "Reply")).sendMessage.message;
  assert.equal(reply.replyTo.id, id);
  await event(page, "Ten is fine, Ada.");
  assert.equal((await run(page, "Page")).conversation.messages.nodes.length, 2);
  const [row] = (await run(page, "Inbox")).user.conversations.nodes;
  assert.deepEqual([row.peer.name, row.lastMessage.content, row.unreadCount], ["Ada", "Ten is fine, Ada.", 1]);
  assert.equal((await run(page, "Read")).markRead.conversation.unreadCount, 0);
  await event(page, "RECEIPT");
  assert.deepEqual((await run(page, "Type")).setTyping, { ok: true, userErrors: [] });
  assert.equal((await run(page, "Edit")).updateMessage.message.version, 2);
  await event(page, "MESSAGE_UPDATED Hello Bob, shall we start at eleven?");
  const [hit] = (await run(page, "Find")).searchMessages.edges;
  assert.equal(hit.snippet, "Hello Bob, shall we start at **eleven**?");
  assert.equal((await run(page, "Delete")).deleteMessage.deletedId, reply.id);
  await event(page, "MESSAGE_DELETED");
  assert.ok((await run(page, "Schema")).__schema.mutationType.fields.some(({ name }) => name === "sendMessage"));

  const kinds = (await events(page)).map((text) => text.match(/RECEIPT|[A-Z]+_[A-Z]+/)[0]);
  const expected = ["CAUGHT_UP", "MESSAGE_SENT", "MESSAGE_SENT", "RECEIPT", "MESSAGE_UPDATED", "MESSAGE_DELETED"];
  assert.deepEqual(kinds, expected.reverse());
  await window.close();

  // Somebody else comes after them, who makes nobody; and what they write into a tab stays there.
  const second = await visit(open);
  assert.equal((await run(second.page, "Create")).ada.user, null);
  assert.equal((await run(second.page, "Send")).sendMessage.message.id, id);
  assert.equal((await run(second.page, "Inbox")).user.conversations.nodes.length, 1);
  await writeVariables(second.page, { user: others.b.user.id, first: 1 });
  await tab(second.page, "Page").click();
  assert.equal((await run(second.page, "Inbox")).user.conversations.nodes[0].peer.name, "A");
  await second.close();
});

test("the comments of the examples are lines of their own, which the editor wraps", async () => {
  for (const address of [open, accounts]) {
    const window = await visit(address);
    const { page } = window;
    const key = address === open ? TABS_KEY : "duologue-accounts:graphiql:tabState";
    await page.waitForFunction((key) => localStorage[key], key);
    const { tabs } = await page.evaluate((key) => JSON.parse(localStorage[key]), key);
    assert.equal(tabs.length, 12);
    for (const { query } of tabs) assert.deepEqual(query.match(/^#.*/gm).map((line) => line.slice(0, 2)), ["# "]);
    await window.close();
  }
});

test("a server that is away is one sentence", async (context) => {
  const { proxy, window } = await visitOnNetwork(context);
  const { page } = window;
  await run(page, "Schema");
  await window.inTrouble(async () => {
    proxy.cut();
    await page.getByRole("button", { name: /^Execute query/ }).click();
    const response = page.locator(".graphiql-response");
    await response.getByText("The server cannot be reached.").first().waitFor();
    assert.equal(await response.getByText(/stack|TypeError|\bat /).count(), 0);
    proxy.comeBack();
  });
  await run(page, "Schema");
  await window.close();
});

test("the panel misses nothing when the network is cut", async (context) => {
  const data = await ask(
    open,
    `mutation {
      a: createUser(input: { name: "Cut", email: "cut@example.com" }) { user { id } }
      b: createUser(input: { name: "Off", email: "off@example.com" }) { user { id } }
    }`,
  );
  const [from, to] = [data.a.user.id, data.b.user.id];
  const { proxy, window } = await visitOnNetwork(context);
  const { page } = window;
  await panel(page).getByLabel("Whose feed").fill(to);
  await panel(page).getByRole("button", { name: "Watch feed" }).click();
  await event(page, "CAUGHT_UP");
  await ask(open, SEND, { from, to, content: "before" });
  await event(page, "before");
  await window.inTrouble(async () => {
    const refused = proxy.cut();
    await panel(page).getByText("reconnecting").waitFor();
    await ask(open, SEND, { from, to, content: "meanwhile" });
    await refused;
    proxy.comeBack();
    await panel(page).getByText("live", { exact: true }).waitFor();
  });
  await event(page, "meanwhile");
  await ask(open, SEND, { from, to, content: "after" });
  await event(page, "after");
  const heard = (await events(page)).map((text) => text.replace(/^.*?([A-Z]+_[A-Z]+ ?\w*)$/s, "$1").trim());
  const sent = (content) => `MESSAGE_SENT ${content}`;
  assert.deepEqual(heard, [sent("after"), "CAUGHT_UP", sent("meanwhile"), sent("before"), "CAUGHT_UP"]);
  await panel(page).getByRole("button", { name: "Stop" }).click();
  await panel(page).getByText("ended").waitFor();
  await panel(page).getByRole("button", { name: "Remove" }).click();
  assert.equal(await panel(page).getByRole("log").count(), 0);
  await window.close();
});

test("the panel says why a socket does not come back", async () => {
  const window = await visit(open);
  const { page } = window;
  const refuse = (socket) => socket.onMessage(() => socket.close({ code: 4400, reason: "Not like this" }));
  await page.routeWebSocket(/graphql$/, refuse);
  await panel(page).getByRole("button", { name: "Watch feed" }).click();
  await event(page, "The socket was closed: 4400 Not like this");
  await window.close();
});

test("tabs are kept, and the examples come back when asked for", async () => {
  const window = await visit(open);
  const { page } = window;
  await editor(page).getByText("Make two people").waitFor();
  await page.getByRole("button", { name: "Hide Live feed" }).click();
  await tab(page, "Send").click();
  await page.getByRole("button", { name: "Close Tab" }).click();
  // The page keeps them a moment later.
  await page.waitForFunction((key) => localStorage[key]?.includes("mutation Send(") === false, TABS_KEY);
  await page.reload();
  await tab(page, "Reply").waitFor();
  assert.equal(await tab(page, "Send").count(), 0);
  assert.equal(await panel(page).count(), 0);
  page.on("dialog", (dialog) => dialog.accept());
  await page.getByRole("button", { name: "Reset examples" }).click();
  await tab(page, "Send").waitFor();
  await editor(page).getByText("Make two people").waitFor();
  await window.close();
});

test("the docs are searched, without a network beyond the server", async () => {
  const window = await visit(open);
  const { page } = window;
  await page.getByRole("button", { name: "Show Documentation Explorer" }).click();
  await page.getByRole("combobox").fill("markRead");
  await page.getByRole("option", { name: /markRead/ }).first().click();
  await page.getByText("Mark all messages up to this one as read.").waitFor();
  await isAccessible(page);
  await window.close();
});

test("people sign in, and are known in every tab", async () => {
  const people = ["Ada", "Bob"].map((name) => ({ name, email: `${name.toLowerCase()}@example.com` }));
  const windows = await Promise.all(people.map(() => visit(accounts)));
  for (const [i, { name, email }] of people.entries()) {
    const { page } = windows[i];
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    const dialog = page.getByRole("dialog");
    await dialog.getByLabel("Email").fill(email);
    await dialog.getByLabel("Password").fill("a wrong password");
    await dialog.getByRole("button", { name: "Sign in" }).click();
    await dialog.getByRole("alert").waitFor();
    await dialog.getByRole("button", { name: "Create account" }).click();
    await dialog.getByRole("button", { name: "Sign in instead" }).waitFor();
    await isAccessible(page);
    await dialog.getByLabel("Name").fill(name);
    await dialog.getByLabel("Password").fill("correct horse battery");
    await dialog.getByRole("button", { name: "Create account" }).click();
    await page.getByText(`Signed in as ${name}`).waitFor();
  }
  const [{ page: ada }, { page: bob }] = windows;
  await panel(bob).getByRole("button", { name: "Watch your feed" }).click();
  await event(bob, "CAUGHT_UP");
  assert.equal((await run(ada, "People")).me.user.name, "Ada");
  assert.equal((await run(ada, "Write")).sendMessage.message.receiver.name, "Bob");
  await event(bob, "Shall we start at ten?");
  const { me } = await run(bob, "Inbox");
  assert.deepEqual([me.unreadCount, me.user.conversations.nodes[0].peer.name], [1, "Ada"]);
  assert.equal((await run(bob, "Read")).markRead.conversation.unreadCount, 0);
  assert.equal((await run(bob, "Type")).setTyping.ok, true);
  assert.equal((await run(ada, "Edit")).updateMessage.message.version, 2);
  await event(bob, "MESSAGE_UPDATED Shall we start at eleven?");
  assert.equal((await run(ada, "Find")).searchMessages.edges[0].node.sender.name, "Ada");
  assert.ok((await run(ada, "Delete")).deleteMessage.deletedId);
  await event(bob, "MESSAGE_DELETED");
  await ada.getByRole("button", { name: "Sign out" }).click();
  await ada.getByRole("button", { name: "Sign in", exact: true }).waitFor();
  await tab(ada, "People").click();
  await ada.getByRole("button", { name: /^Execute query/ }).click();
  await ada.locator(".graphiql-response").getByText("UNAUTHENTICATED").first().waitFor();
  await Promise.all(windows.map((window) => window.close()));
});

for (const colorScheme of ["light", "dark"]) {
  test(`everybody can use it, in ${colorScheme} colours`, async () => {
    const window = await visit(open, { colorScheme });
    const { page } = window;
    await run(page, "Schema");
    await isAccessible(page);
    await panel(page).getByRole("button", { name: "Watch feed" }).click();
    await event(page, "CAUGHT_UP");
    await panel(page).locator("summary").first().click();
    await isAccessible(page);
    await page.getByRole("button", { name: "Show History" }).click();
    await isAccessible(page);
    await window.close();
  });
}

test("a first visit takes less than 2.2 MB", async () => {
  const bytes = await firstLoad(browser, open, "/", ready);
  assert.ok(bytes > 500_000 && bytes < 2_200_000, `${bytes} bytes`);
});
