// The example with React as people use it, on an open server and where they sign in. Its files are served as they were
// built, by another server than the one that they talk to.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { after, before, test } from "node:test";
import { startProxy } from "../clients/proxy.mjs";
import { ask, comesBackWithForeignCursor, isAccessible, launch, openWindow } from "./browser.mjs";
import { button, close, composer, log, person, send } from "./demo.mjs";

const { DUOLOGUE_OPEN: open, DUOLOGUE_ACCOUNTS: accounts } = process.env;
/** Where Vite shows the page, as the server with accounts is told. */
const PAGE = "http://localhost:5173";
const BUILT = path.resolve(import.meta.dirname, "../../examples/react/dist");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
const PASSWORD = "correct horse battery";

let browser;
let files;
before(async () => {
  assert.ok(existsSync(BUILT), "run `make test`, which builds examples/react");
  files = createServer(serve);
  await once(files.listen(0, "127.0.0.1"), "listening");
  // The port of the page may be taken on this machine: the browser goes to another one.
  browser = await launch([`--host-resolver-rules=MAP localhost:5173 127.0.0.1:${files.address().port}`]);
});
after(async () => {
  await browser?.close();
  files?.close();
});

/** The built files; `?server=` is what somebody would have written into index.html. */
async function serve(request, response) {
  const { pathname, searchParams } = new URL(request.url, PAGE);
  // A page of the same origin that does nothing.
  if (pathname === "/blank") return response.writeHead(200, { "content-type": "text/html" }).end('<link rel="icon" href="data:,">');
  const name = pathname === "/" ? "/index.html" : pathname;
  let content = await readFile(path.join(BUILT, name)).catch(() => "");
  if (name === "/index.html") {
    content = String(content).replace("http://127.0.0.1:8000/graphql", new URL("/graphql", searchParams.get("server")).href);
  }
  response.writeHead(content ? 200 : 404, { "content-type": TYPES[path.extname(name)] ?? "text/plain" }).end(content);
}

/** A window whose page talks to this server. */
function visit(address, options = {}) {
  const server = new URL(address).origin;
  return openWindow(browser, PAGE, { path: `/?server=${server}`, servers: [server], ...options });
}

const texts = (page) => log(page).locator("ol > li > p").allInnerTexts();
const message = (page, text) => log(page).locator("ol > li").filter({ hasText: text });
const row = (page, name) => page.getByRole("list", { name: "Conversations" }).getByRole("link", { name });
const unsent = (page) => page.getByRole("list", { name: "Not sent yet" });
const isCurrent = (page) => page.getByText("Connecting…").waitFor({ state: "detached" });

async function find(page, label, name) {
  await page.getByRole("searchbox", { name: label }).fill(name);
  const people = page.getByRole("list", { name: "People" });
  // Those who were listed before are gone: nothing moves under the pointer any more.
  await people.getByRole("listitem").nth(1).waitFor({ state: "detached" });
  await people.getByRole("button", { name, exact: true }).click();
}

/** Windows of two new people on the open server, who have each other's conversation open. */
async function two(names, addresses = [open, open]) {
  const ids = [];
  for (const name of names) ids.push(await person(name));
  const windows = await Promise.all(addresses.map((address) => visit(address)));
  const pages = windows.map(({ page }) => page);
  const begin = async (page, i) => {
    await find(page, "Find yourself", names[i]);
    await find(page, "Find people", names[1 - i]);
    await composer(page).waitFor();
    await isCurrent(page);
  };
  await Promise.all(pages.map(begin));
  return { ids, windows, pages };
}

/** The one writes to the other so many times, as often as a document may in each request. */
async function tell([from, to], count) {
  for (let sent = 0; sent < count; sent += 20) {
    const send = (_, i) => `send${i}: sendMessage(input: { senderId: $from, receiverId: $to, content: "number ${sent + i + 1}." }) { message { id } }`;
    await ask(open, `mutation ($from: ID!, $to: ID!) { ${Array.from({ length: 20 }, send).join(" ")} }`, { from, to });
  }
}

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
  await isAccessible(bob);
  await row(bob, /React-Ada/).press("Enter");
  await message(bob, "there?").waitFor();
  await ada.getByText("read", { exact: true }).waitFor();
  await send(bob, "Here I am");
  await message(ada, "Here I am").waitFor();
  for (const page of [ada, bob]) {
    assert.deepEqual(await texts(page), ["Hello Bob!", "Are you\nthere?", "Here I am"]);
    await isAccessible(page);
  }
  assert.ok(await bob.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
  await bob.getByRole("link", { name: "Back to the inbox" }).click();
  await row(bob, /React-Ada.*You: Here I am/).waitFor();
  assert.equal(await row(bob, /unread/).count(), 0);
  await close(windows);
});

test("a long conversation is read back to its beginning", async () => {
  const { ids, windows, pages } = await two(["React-Sara", "React-Tom"]);
  const [, tom] = pages;
  await tell(ids, 120);
  await message(tom, "number 120.").waitFor();
  await tom.reload();
  await message(tom, "number 120.").waitFor();
  assert.equal((await texts(tom)).length, 50);
  for (const first of ["number 21.", "number 1."]) {
    const top = log(tom).locator("ol > li").first();
    const before = await top.innerText();
    await button(tom, "Show earlier messages").click();
    await message(tom, first).waitFor();
    // Who read on does not lose the place.
    const its = await message(tom, before.match(/number \d+\./)[0]).boundingBox();
    assert.ok(its.y >= 0 && its.y < 800, `${its.y}`);
  }
  await button(tom, "Show earlier messages").waitFor({ state: "detached" });
  assert.deepEqual(await texts(tom), Array.from({ length: 120 }, (_, i) => `number ${i + 1}.`));
  await close(windows);
});

test("nothing is lost and nothing comes twice when the network is cut, and a reload keeps what waits", async (context) => {
  const proxy = await startProxy(new URL(open));
  context.after(() => proxy.stop());
  const { windows, pages } = await two(["React-Gerd", "React-Hanna"], [`http://127.0.0.1:${proxy.port}`, open]);
  const [gerd, hanna] = pages;
  await send(gerd, "before");
  await message(hanna, "before").waitFor();
  await windows[0].inTrouble(async () => {
    const refused = proxy.cut();
    await gerd.getByText("Connecting…").waitFor();
    for (const text of ["mine 1", "mine 2", "mine 2"]) await send(gerd, text);
    await unsent(gerd).getByText("mine 2").nth(1).waitFor();
    for (const text of ["hers 1", "hers 2"]) await send(hanna, text);
    await message(hanna, "hers 2").waitFor();
    await refused;
    proxy.comeBack();
    await isCurrent(gerd);
    await message(hanna, "mine 2").nth(1).waitFor();

    // It arrives, but its answer does not.
    await gerd.route("**/graphql", async (route) => {
      if (route.request().postData()?.includes("sendMessage")) await route.fetch();
      await route.abort();
    });
    await send(gerd, "answer lost");
    await message(hanna, "answer lost").waitFor();
    await gerd.unrouteAll({ behavior: "wait" });
    await gerd.route("**/graphql", (route) => route.abort());
    await send(gerd, "waits");
    await unsent(gerd).getByText("waits").waitFor();
    await gerd.unrouteAll({ behavior: "wait" });
    await gerd.reload();
    await message(gerd, "waits").waitFor();
  });
  await message(hanna, "waits").waitFor();
  await unsent(gerd).waitFor({ state: "detached" });
  const all = ["before", "hers 1", "hers 2", "mine 1", "mine 2", "mine 2", "answer lost", "waits"];
  for (const page of pages) assert.deepEqual(await texts(page), all);
  await close(windows);
});

test("where the server cannot go on, all is loaded again", async () => {
  const { ids, windows, pages } = await two(["React-Wim", "React-Xenia"]);
  const [wim, xenia] = pages;
  const server = await comesBackWithForeignCursor(wim, ids[0]);
  await wim.reload();
  for (const text of ["one", "two"]) await send(xenia, text);
  await message(wim, "two").waitFor();
  await windows[0].inTrouble(async () => {
    await server.close();
    await send(xenia, "three");
    await message(wim, "three").waitFor();
  });
  await isCurrent(wim);
  await send(xenia, "four");
  await message(wim, "four").waitFor();
  assert.equal(server.resets(), 1);
  assert.deepEqual(await texts(wim), ["one", "two", "three", "four"]);
  await close(windows);
});

async function signUp(page, name) {
  await button(page, "I have no account yet").click();
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Email").fill(`${name.toLowerCase()}@example.com`);
  await page.getByLabel("Password").fill(PASSWORD);
  await button(page, "Create account").click();
  await page.getByRole("heading", { name }).waitFor();
}

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

test("tokens are renewed in time on the open socket, and once for all tabs", async () => {
  const window = await visit(accounts);
  const { page, context } = window;
  let renewals = [];
  const closes = [];
  const isRenewed = (tab) =>
    tab.waitForEvent("websocket").then((socket) => {
      socket.on("close", () => closes.push(tab));
      return socket.waitForEvent("framereceived", ({ payload }) => payload.includes('"renewConnection":{"expiresAt":"'));
    });
  context.on("request", (request) => {
    if (request.postData()?.includes("refreshSession")) renewals.push(request);
  });
  const first = isRenewed(page);
  await signUp(page, "React-Rita");
  const tab = await context.newPage();
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
  await change({ accessTokenExpiresAt: new Date(0).toISOString() });
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

  // A token that the server does not take is traded as well. The browser reports the answer: it is a 401.
  await window.inTrouble(async () => {
    await change({ accessToken: "not.a.token", accessTokenExpiresAt: new Date(Date.now() + 600_000).toISOString() });
    const refreshed = page.waitForResponse((response) => response.request().postData()?.includes("refreshSession"));
    await page.goto(url);
    await refreshed;
    await page.getByRole("heading", { name: "React-Rita" }).waitFor();
    await isCurrent(page);
  });
  await window.close();
});
