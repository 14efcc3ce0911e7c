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
import { ask, comesBackWithForeignCursor, fill, isAccessible, launch, openWindow } from "./browser.mjs";
import { button, close, composer, isLedBy, log, person, send, threeMessages } from "./demo.mjs";

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

/** A socket of the page is shown the next token. */
async function isRenewed(page) {
  const socket = await page.waitForEvent("websocket");
  await socket.waitForEvent("framereceived", ({ payload }) => payload.includes('"renewConnection":{"expiresAt":"'));
}

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

test("a long conversation is read back to its beginning", async () => {
  const { ids, windows, pages } = await two(["React-Sara", "React-Tom"]);
  const [, tom] = pages;
  await tell(ids, 120);
  await message(tom, "number 120.").waitFor();
  await tom.reload();
  await message(tom, "number 120.").waitFor();
  assert.equal((await texts(tom)).length, 50);
  await windows[1].inTrouble(async () => {
    const forbidden = { status: 403, body: "<h1>Forbidden</h1>", headers: { "access-control-allow-origin": "*" } };
    await tom.route("**/graphql", (route) => route.fulfill(forbidden));
    await button(tom, "Show earlier messages").click();
    await tom.getByRole("alert").filter({ hasText: "403" }).waitFor();
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

test("a socket that is closed with what may pass comes back", async () => {
  const { windows, pages } = await two(["React-Ivo", "React-Judit"]);
  const [ivo, judit] = pages;
  const codes = [1008, 1011];
  await ivo.routeWebSocket(/graphql$/, (socket) => {
    const code = codes.shift();
    if (code) socket.close({ code });
    else socket.connectToServer();
  });
  await ivo.reload();
  await send(judit, "still there?");
  await message(ivo, "still there?").waitFor();
  await isCurrent(ivo);
  assert.deepEqual(codes, []);
  assert.equal(await ivo.getByRole("alert").count(), 0);
  await close(windows);
});

test("what is written from right to left is shown so, beside what is not", async () => {
  const { windows, pages } = await two(["React-משה", "React-Naomi"]);
  const [moshe, naomi] = pages;
  await composer(moshe).fill("שלום!");
  const isRightToLeft = (locator) => locator.evaluate((element) => getComputedStyle(element).direction === "rtl");
  assert.ok(await isRightToLeft(composer(moshe)));
  await composer(moshe).press("Enter");
  await message(naomi, "שלום!").waitFor();
  for (const page of pages) {
    assert.ok(await isRightToLeft(message(page, "שלום!").getByRole("paragraph")));
    assert.ok(await isRightToLeft(row(page, /React/).getByText("שלום!")));
  }
  await close(windows);
});

test("a storage that is full or forbidden loses nothing while the page is there", async () => {
  const { windows, pages } = await two(["React-Dag", "React-Elin"]);
  const [dag, elin] = pages;
  await dag.evaluate(fill);
  for (const text of ["one", "two"]) await send(dag, text);
  await message(elin, "two").waitFor();
  assert.deepEqual(await texts(elin), ["one", "two"]);
  await close(windows);

  const window = await visit(accounts);
  const { page, context } = window;
  await context.addInitScript(() => {
    const get = () => {
      throw new DOMException("It is forbidden.", "SecurityError");
    };
    for (const name of ["localStorage", "sessionStorage"]) Object.defineProperty(globalThis, name, { get });
    navigator.locks.request = async () => get();
  });
  await page.reload();
  const renewed = isRenewed(page);
  await signUp(page, "React-Frida");
  await renewed;
  // With the token that was traded.
  await page.getByRole("searchbox", { name: "Find people" }).fill("React-Frida");
  await button(page, "React-Frida").waitFor();
  await isCurrent(page);
  await button(page, "Sign out").click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await window.close();
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
