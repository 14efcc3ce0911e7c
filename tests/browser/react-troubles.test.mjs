// The example with React where something goes wrong.
import assert from "node:assert/strict";
import { EventEmitter, once } from "node:events";
import { test } from "node:test";
import { startProxy } from "../clients/proxy.mjs";
import { ask, comesBackWithForeignCursor, fill } from "./browser.mjs";
import { button, close, composer, hold, intercept, person, send, tell as write } from "./demo.mjs";
import { PAGE, accounts, find, isCurrent, isRenewed, message, open, row, signUp, texts, two, unsent, visit } from "./react.mjs";

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

test("a refresh that fails while the socket comes back does not end the feed", async () => {
  const windows = [await visit(accounts), await visit(accounts)];
  const [kuno, lotte] = windows.map(({ page }) => page);
  // What the page closes is closed when the next attempt has begun, as by a slow network.
  const attempts = new EventEmitter();
  let socket;
  await kuno.routeWebSocket(/graphql$/, (next) => {
    next.connectToServer();
    next.onClose((code, reason) => (next.finish = () => next.close({ code, reason })));
    socket?.finish?.();
    socket = next;
    attempts.emit("begun");
  });
  await kuno.reload();
  await signUp(kuno, "React-Kuno");
  await signUp(lotte, "React-Lotte");
  await isCurrent(kuno);
  // The browser reports what was aborted.
  await windows[0].inTrouble(async () => {
    let refused = 0;
    await intercept(kuno, "refreshSession", (route) => route.abort().then(() => refused++));
    await kuno.evaluate(() => {
      const kept = JSON.parse(localStorage.getItem("duologue-session"));
      localStorage.setItem("duologue-session", JSON.stringify({ ...kept, accessToken: "not.a.token", ends: 0 }));
    });
    socket.close({ code: 1012 });
    for (let begun = 0; begun < 2; begun++) await once(attempts, "begun");
    assert.ok(refused > 0);
    await kuno.unrouteAll({ behavior: "wait" });
    await isCurrent(kuno);
  });
  await find(lotte, "Find people", "React-Kuno");
  await send(lotte, "still there?");
  await row(kuno, /React-Lotte.*still there/).waitFor();
  assert.equal(await kuno.getByRole("alert").count(), 0);
  await close(windows);
});

test("what takes long is told, and what was sent meanwhile stays in sight", async () => {
  const { ids, windows, pages } = await two(["React-Nora", "React-Otto"]);
  const [nora, otto] = pages;
  await send(nora, "one");
  await message(otto, "one").waitFor();
  const inbox = await hold(otto, "query Load");
  await otto.goto(`${otto.url().split("#")[0]}#`);
  await inbox.held;
  await otto.getByText("Connecting…").waitFor();
  await otto.unrouteAll({ behavior: "ignoreErrors" });
  const opened = await hold(otto, "query Load");
  await row(otto, /React-Nora/).click();
  await opened.held;
  await otto.getByText("Loading…").waitFor();
  opened.release();
  await message(otto, "one").waitFor();
  await isCurrent(otto);

  // Everything is loaded again, and the answer is from before the message was sent.
  const server = await comesBackWithForeignCursor(otto, ids[1]);
  await otto.reload();
  await message(otto, "one").waitFor();
  await isCurrent(otto);
  await windows[1].inTrouble(async () => {
    const again = await hold(otto, "query Load");
    await server.close();
    await again.held;
    await send(otto, "two");
    await message(nora, "two").waitFor();
    await unsent(otto).locator("li:not(.unsent)").getByText("two").waitFor();
    await otto.evaluate(() => {
      const look = () => (globalThis.isGone ||= !document.querySelector("[role=log]")?.innerText.includes("two"));
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true });
    });
    again.release();
    await isCurrent(otto);
  });
  await message(otto, "two").waitFor();
  assert.ok(!(await otto.evaluate(() => globalThis.isGone)));
  assert.deepEqual(await texts(otto), ["one", "two"]);
  await close(windows);
});

test("what is heard of a conversation while its page of the inbox is on its way is shown", async () => {
  const [reader, far] = [await person("React-Rolf"), await person("React-Far")];
  const { id } = (await write(far, reader, "long ago")).sendMessage.message;
  let near;
  for (let i = 1; i <= 30; i++) await write((near = await person(`React-Near ${i}`)), reader, "Hello");
  const window = await visit(open);
  const { page } = window;
  await find(page, "Find yourself", "React-Rolf");
  await isCurrent(page);
  const { held, release } = await hold(page, "query More");
  await button(page, "Show more conversations").click();
  await held;
  const READ = "mutation ($me: ID!, $id: ID!) { markRead(userId: $me, messageId: $id) { userErrors { code } } }";
  await ask(open, READ, { me: reader, id });
  // The feed tells of this one after that.
  await write(near, reader, "Hello again");
  await row(page, /Hello again/).waitFor();
  release();
  await row(page, /React-Far/).waitFor();
  assert.equal(await row(page, /React-Far.*unread/).count(), 0);
  await window.close();
});

test("two tabs lose no message that waits, and the network is looked for when it is back", async () => {
  const { ids, windows, pages } = await two(["React-Pit", "React-Quinn"]);
  const [pit, quinn] = pages;
  const { context } = windows[0];
  const tab = await context.newPage();
  await tab.addInitScript((id) => sessionStorage.setItem("duologue-person", id), ids[0]);
  await tab.goto(pit.url());
  await composer(tab).waitFor();
  await isCurrent(tab);
  await windows[0].inTrouble(async () => {
    await context.setOffline(true);
    for (const page of [pit, tab]) await page.getByText("Connecting…").waitFor();
    await Promise.all([send(pit, "from the one"), send(tab, "from the other")]);
    for (const page of [pit, tab]) await unsent(page).getByRole("listitem").nth(1).waitFor();
    await context.setOffline(false);
    for (const page of [pit, tab]) await isCurrent(page);
  });
  for (const page of [quinn, pit, tab]) await message(page, "from the").nth(1).waitFor();
  for (const page of [pit, tab]) await unsent(page).waitFor({ state: "detached" });
  assert.equal((await texts(quinn)).length, 2);
  await close(windows);
});

test("a tab that sleeps does not keep the others from new tokens", async () => {
  const window = await visit(accounts);
  const { page, context } = window;
  await signUp(page, "React-Ruth");
  const url = page.url();
  await page.goto(`${PAGE}/blank`);
  await page.evaluate(() => {
    const kept = { ...JSON.parse(localStorage.getItem("duologue-session")), ends: 0 };
    localStorage.setItem("duologue-session", JSON.stringify(kept));
  });
  const sleeper = await context.newPage();
  await sleeper.goto(`${PAGE}/blank`);
  await sleeper.evaluate(() => {
    return new Promise((isHeld) => {
      navigator.locks.request("duologue-session", () => {
        isHeld();
        return new Promise(() => {});
      });
    });
  });
  await page.goto(url);
  await page.getByRole("heading", { name: "React-Ruth" }).waitFor();
  await isCurrent(page);
  await window.close();
});
