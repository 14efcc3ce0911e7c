// The example with React as the tests handle it. Its files are served as they were built, by another server than the one that they
// talk to.
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import path from "node:path";
import { after, before } from "node:test";
import { ask, launch, openWindow } from "./browser.mjs";
import { button, composer, log, person } from "./demo.mjs";

export const { DUOLOGUE_OPEN: open, DUOLOGUE_ACCOUNTS: accounts } = process.env;
/** Where Vite shows the page, as the server with accounts is told. */
export const PAGE = "http://localhost:5173";
const BUILT = path.resolve(import.meta.dirname, "../../examples/react/dist");
const TYPES = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" };
export const PASSWORD = "correct horse battery";

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
export function visit(address, options = {}) {
  const server = new URL(address).origin;
  return openWindow(browser, PAGE, { path: `/?server=${server}`, servers: [server], ...options });
}

export const texts = (page) => log(page).locator("ol > li > p").allInnerTexts();
export const message = (page, text) => log(page).locator("ol > li").filter({ hasText: text });
export const row = (page, name) => page.getByRole("list", { name: "Conversations" }).getByRole("link", { name });
export const unsent = (page) => page.getByRole("list", { name: "Not sent yet" });
export const isCurrent = (page) => page.getByText("Connecting…").waitFor({ state: "detached" });

/** A socket of the page is shown the next token. */
export async function isRenewed(page) {
  const socket = await page.waitForEvent("websocket");
  await socket.waitForEvent("framereceived", ({ payload }) => payload.includes('"renewConnection":{"expiresAt":"'));
}

export async function find(page, label, name) {
  await page.getByRole("searchbox", { name: label }).fill(name);
  const people = page.getByRole("list", { name: "People" });
  // Those who were listed before are gone: nothing moves under the pointer any more.
  await people.getByRole("listitem").nth(1).waitFor({ state: "detached" });
  await people.getByRole("button", { name, exact: true }).click();
}

/** Windows of two new people on the open server, who have each other's conversation open. */
export async function two(names, addresses = [open, open]) {
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
export async function tell([from, to], count) {
  for (let sent = 0; sent < count; sent += 20) {
    const input = (i) => `{ senderId: $from, receiverId: $to, content: "number ${sent + i + 1}." }`;
    const sends = Array.from({ length: 20 }, (_, i) => `send${i}: sendMessage(input: ${input(i)}) { message { id } }`);
    await ask(open, `mutation ($from: ID!, $to: ID!) { ${sends.join(" ")} }`, { from, to });
  }
}

export async function signUp(page, name) {
  await button(page, "I have no account yet").click();
  await page.getByLabel("Name").fill(name);
  await page.getByLabel("Email").fill(`${name.toLowerCase()}@example.com`);
  await page.getByLabel("Password").fill(PASSWORD);
  await button(page, "Create account").click();
  await page.getByRole("heading", { name }).waitFor();
}
