// A browser for the tests: what each of its windows asks of other servers, or complains about, fails the test.
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { readFile } from "node:fs/promises";
import { chromium } from "playwright-core";

const PROGRAMS = [process.env.CHROMIUM, "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];
/** What is expected happens within this time, or not at all. */
const DEADLINE = 60_000;

export async function launch(more = []) {
  // A browser that asks its maker for updates and the like would not be alone with the server.
  const quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic"];
  return chromium.launch({
    executablePath: PROGRAMS.find((program) => program && existsSync(program)),
    args: [...quiet, "--no-first-run", "--disable-gpu", ...more],
    chromiumSandbox: process.getuid() !== 0,
  });
}

/**
 * A window with a memory of its own, as a person has one. Its page may ask `servers` too: those of other origins. With `filesFrom`
 * scripts and fonts are read there, so that a network that is cut at `address` does not also cut what the page loads on demand.
 */
export async function openWindow(browser, address, { path = "/", servers = [], filesFrom, ...options } = {}) {
  const { origin } = new URL(address);
  const allowed = [origin, ...servers].map((its) => `${its}/`);
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  context.setDefaultTimeout(DEADLINE);
  const troubles = [];
  let isExpected = false;
  context.on("request", (request) => {
    const url = request.url();
    if (!allowed.some((its) => url.startsWith(its)) && !/^(data|blob):/.test(url)) troubles.push(`asked ${url}`);
  });
  const trouble = (text) => isExpected || troubles.push(text);
  context.on("console", (message) => message.type() === "error" && trouble(`console: ${message.text()}`));
  context.on("weberror", (error) => trouble(`script: ${error.error().message}`));
  const page = await context.newPage();
  if (filesFrom) {
    await context.route(`${origin}/assets/**`, async (route) => {
      const { pathname } = new URL(route.request().url());
      await route.fulfill({ response: await route.fetch({ url: new URL(pathname, filesFrom).href }) });
    });
  }
  await page.goto(new URL(path, origin).href);
  return {
    page,
    context,
    /** While the network is cut a browser may say so. */
    async inTrouble(what) {
      isExpected = true;
      try {
        return await what();
      } finally {
        isExpected = false;
      }
    },
    /** Closes it, and tells what it did that it should not. */
    async close() {
      // What the page still asks for then has nobody to answer.
      await context.unrouteAll({ behavior: "ignoreErrors" });
      await context.close();
      assert.deepEqual(troubles, []);
    },
  };
}

/** In the page: its storage takes nothing more. */
export function fill() {
  Storage.prototype.setItem = () => {
    throw new DOMException("It is full.", "QuotaExceededError");
  };
}

/** The answer to an operation of this name. */
export function answerTo(page, name) {
  const isNamed = (document) => new RegExp(`^(query|mutation) ${name}\\b`, "m").test(document);
  return page.waitForResponse((response) => isNamed(response.request().postDataJSON()?.query ?? ""));
}

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Whoever cannot see, hear or point well can use what is on the page now. */
export async function isAccessible(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const found = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const told = found.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html.slice(0, 200)).join("\n  ")}`);
  assert.deepEqual(told, []);
}

/** What a first visit takes from the network until the page is `ready`, in bytes. */
export async function firstLoad(browser, address, path, ready) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const requests = [];
  page.on("requestfinished", (request) => requests.push(request));
  await page.goto(new URL(path, address).href);
  await ready(page);
  const sizes = await Promise.all(requests.map((request) => request.sizes()));
  await context.close();
  return sizes.reduce((sum, { responseBodySize }) => sum + responseBodySize, 0);
}

/** Asks the server itself, beside the browser. */
export async function ask(address, query, variables = {}, token = undefined) {
  const response = await fetch(new URL("/graphql", address), {
    method: "POST",
    signal: AbortSignal.timeout(DEADLINE),
    headers: { "content-type": "application/json", ...(token && { authorization: `Bearer ${token}` }) },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  assert.equal(errors, undefined);
  return data;
}

/**
 * From the next load on, the page of a user comes back with the cursor of another database, until it is told to begin anew: as if the
 * server had been restored from a backup. Gives what closes its socket, once the page follows the feed on it.
 */
export async function comesBackWithForeignCursor(page, user) {
  // Cursors are opaque; this one is made as a server with another database makes them.
  const foreign = Buffer.from(`f:0123456789abcdef:${user.replace("usr_", "")}:1`).toString("base64url");
  let socket;
  let resets = 0;
  let isFollowing;
  const following = new Promise((resolve) => (isFollowing = resolve));
  await page.routeWebSocket(/graphql$/, (its) => {
    const server = its.connectToServer();
    const isBack = socket !== undefined;
    socket = its;
    its.onMessage((text) => server.send(isBack && !resets ? text.replace(/"after":"[^"]+"/, `"after":"${foreign}"`) : text));
    server.onMessage((text) => {
      if (text.includes('"RESET"')) resets++;
      if (text.includes('"CAUGHT_UP"')) isFollowing();
      its.send(text);
    });
  });
  return { resets: () => resets, close: () => following.then(() => socket.close({ code: 1012 })) };
}
