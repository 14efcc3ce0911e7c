// What people expect of any chat, in the demo: on a phone, with a keyboard, in their language, and with their account.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startProxy } from "../clients/proxy.mjs";
import { ask, isAccessible, launch, openWindow } from "./browser.mjs";
import { act, banner, button, close, composer, field, found, hold, log, message, person, send, tell, two } from "./demo.mjs";
import { choose, conversations, form, isFocused, isInSight, isLedBy, manyConversations, newLine, PHONE } from "./demo.mjs";
import { settled, signUp, takeBack, threeMessages } from "./demo.mjs";

const { DUOLOGUE_OPEN: open, DUOLOGUE_ACCOUNTS: accounts } = process.env;
let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

test("links can be clicked, and nothing else can", async () => {
  const { windows, pages } = await two(browser, ["Lina", "Marek"]);
  const [lina] = pages;
  const address = `${open}demo?x=(1)&y=%22`;
  await send(lina, `See ${address}, (or ${address}). HTTP://EXAMPLE.COM/a。javascript:alert(1) data:text/html,x https://a:b@example.com/ https:// ftp://x.example`);
  await message(lina, "See").waitFor();
  const links = message(lina, "See").getByRole("link");
  assert.deepEqual(await links.allInnerTexts(), [address, address, "HTTP://EXAMPLE.COM/a"]);
  for (const link of await links.all()) {
    assert.equal(await link.getAttribute("rel"), "noopener noreferrer nofollow");
    assert.equal(await link.getAttribute("target"), "_blank");
    assert.match(await link.getAttribute("href"), /^http:\/\//);
  }
  const [other] = await Promise.all([windows[0].context.waitForEvent("page"), links.first().click()]);
  await other.waitForURL(address);
  assert.equal(await other.evaluate(() => opener), null);
  await isAccessible(lina);
  // However it is made, what stands in a message is no element of the page.
  const odd = `https://example.com/"><img/src=x/onerror=alert(1)> https://example.com/${")".repeat(5_000)} <b>x</b>`;
  await send(lina, odd);
  await message(lina, "<b>x</b>").waitFor();
  assert.equal(await message(lina, "<b>x</b>").locator("img, b").count(), 0);
  assert.deepEqual(await message(lina, "<b>x</b>").getByRole("link").allInnerTexts(), ["https://example.com/", "https://example.com/"]);
  await close(windows);
});

test("a line is drawn above what is new, and a reader begins there", async () => {
  const { ids, windows, pages } = await two(browser, ["Nora", "Otto"]);
  const [nora, otto] = pages;
  await send(nora, "seen");
  await message(otto, "seen").waitFor();
  await message(nora, "seen").getByText("Read").waitFor();
  assert.equal(await newLine(otto).count(), 0);

  // It comes with more than fits while Otto is in the list.
  await otto.goto(new URL(`/demo?as=${ids[1]}`, open).href);
  for (let i = 1; i <= 30; i++) await tell(ids[0], ids[1], `number ${i}.`);
  await conversations(otto).filter({ hasText: "30 unread" }).click();
  await message(otto, "number 1.").filter({ has: newLine(otto) }).waitFor();
  await message(otto, "number 1.").filter({ visible: true }).waitFor();
  const inSight = await newLine(otto).evaluate((its) => its.getBoundingClientRect().top >= its.closest("[role=log]").getBoundingClientRect().top);
  assert.ok(inSight);
  await button(otto, "30 new").click();
  await conversations(otto).filter({ hasText: "unread" }).waitFor({ state: "detached" });
  assert.equal(await newLine(otto).count(), 1);
  // Who reads along sees no other line, and who writes has seen all.
  await send(nora, "along");
  await message(otto, "along").waitFor();
  assert.equal(await message(otto, "along").filter({ has: newLine(otto) }).count(), 0);
  await send(otto, "yes");
  await newLine(otto).waitFor({ state: "detached" });

  // It comes while Otto reads further up. Whatever is drawn before the browser tells of the scrolling does not take it back.
  await log(otto).evaluate((its) => {
    its.scrollTop = 0;
    its.querySelector(".dots").click();
  });
  await button(otto, "To the newest").waitFor();
  for (const text of ["missed 1", "missed 2"]) await send(nora, text);
  await button(otto, "2 new").click();
  await message(otto, "missed 1").filter({ has: newLine(otto) }).waitFor();
  await message(nora, "missed 2").getByText("Read").waitFor();

  // There is more that is new than is loaded at first.
  await otto.goto(new URL(`/demo?as=${ids[1]}`, open).href);
  for (let i = 1; i <= 70; i++) await tell(ids[0], ids[1], `later ${i}.`);
  await conversations(otto).filter({ hasText: "70 unread" }).click();
  await message(otto, "later 70.").waitFor();
  await otto.waitForFunction(() => {
    document.querySelector("[role=log]").scrollTop = 0;
    return document.querySelector(".new");
  });
  await message(otto, "later 1.").filter({ has: newLine(otto) }).waitFor();
  await isAccessible(otto);
  await close(windows);
});

test("who is offline sees nobody online, and a clock at what waits", async (context) => {
  const proxy = await startProxy(new URL(open));
  context.after(() => proxy.stop());
  const { windows, pages } = await two(browser, ["Pia", "Rolf"], [{ address: `http://127.0.0.1:${proxy.port}` }, {}]);
  const [pia, rolf] = pages;
  await send(pia, "before");
  await message(rolf, "before").waitFor();
  // Nobody wants to hear of these, whenever they change.
  assert.equal(await pia.getByRole("status").filter({ hasText: "online" }).count(), 0);
  assert.equal(await message(pia, "before").locator(".foot").getAttribute("aria-live"), "off");
  const online = [pia.getByRole("main").getByText("online", { exact: true }), pia.getByText("Online", { exact: true }).first()];
  for (const its of online) await its.waitFor({ state: "attached" });
  await windows[0].inTrouble(async () => {
    const refused = proxy.cut();
    await banner(pia, "Offline.").waitFor();
    for (const its of online) await its.waitFor({ state: "detached" });
    await send(pia, "waits");
    const unsent = pia.getByRole("list", { name: "Not sent yet" });
    assert.equal(await unsent.getAttribute("aria-live"), "off");
    await unsent.getByTitle("Waiting to be sent").locator("svg").waitFor();
    await conversations(pia).getByTitle("Waiting to be sent").locator("svg").waitFor();
    await refused;
    proxy.comeBack();
    await message(pia, "waits").waitFor();
    for (const its of online) await its.waitFor({ state: "attached" });
  });
  await message(pia, "waits").getByText("Read").waitFor();
  await conversations(pia).getByTitle("Read").locator("svg").waitFor();
  await close(windows);
});

test("who comes online while the page is on its way is shown so", async () => {
  const [quirin, rosa] = [await person("Quirin"), await person("Rosa")];
  await tell(rosa, quirin, "Hello");
  const window = await openWindow(browser, open, { path: "/demo" });
  const { page } = window;
  const { held, release } = await hold(page, "query Snapshot(");
  await page.goto(new URL(`/demo?as=${quirin}`, open).href);
  await held;
  const other = await openWindow(browser, open, { path: `/demo?as=${rosa}` });
  const PRESENCE = "query ($id: ID!) { user(id: $id) { presence { online } } }";
  while (!(await ask(open, PRESENCE, { id: rosa })).user.presence.online);
  release();
  await conversations(page).getByText("Online", { exact: true }).waitFor({ state: "attached" });
  await close([window, other]);
});

test("an answer that comes late takes nothing back that the feed has told", async () => {
  const { windows, pages } = await two(browser, ["Sina", "Timo"]);
  const [sina, timo] = pages;
  let release;
  const told = new Promise((resolve) => (release = resolve));
  await sina.route("**/graphql", async (route) => {
    const response = await route.fetch();
    if (route.request().postData()?.includes("mutation Send(")) await told;
    await route.fulfill({ response });
  });
  await send(sina, "late");
  await message(timo, "late").waitFor();
  const read = conversations(sina).getByTitle("Read").locator("svg");
  await read.waitFor();
  const answered = sina.waitForResponse((response) => response.request().postData()?.includes("mutation Send("));
  release();
  await (await answered).finished();
  await settled(sina);
  assert.ok(await read.isVisible());
  await sina.unrouteAll({ behavior: "wait" });

  // Nor does it bring back the last message before the answer of somebody else.
  const late = await hold(sina, "mutation Send(");
  await send(sina, "and again");
  await late.held;
  await message(timo, "and again").waitFor();
  await send(timo, "sooner");
  await conversations(sina).getByText("sooner").waitFor();
  await conversations(sina).evaluate((row) => {
    const look = () => (globalThis.isBack ||= row.innerText.includes("and again"));
    new MutationObserver(look).observe(row, { subtree: true, childList: true, characterData: true });
  });
  const cameLate = sina.waitForResponse((response) => response.request().postData()?.includes("mutation Send("));
  late.release();
  await (await cameLate).finished();
  await settled(sina);
  assert.ok(!(await sina.evaluate(() => globalThis.isBack)));
  await close(windows);
});

test("a conversation goes down the list when its last message is deleted", async () => {
  const { reader, takeBack } = await threeMessages(["Anton", "Berta", "Pia"]);
  const window = await openWindow(browser, open, { path: `/demo?as=${reader}` });
  await isLedBy(window.page, ["Anton", "Berta"]);
  await takeBack();
  await isLedBy(window.page, ["Berta", "Anton"]);
  await window.page.reload();
  await isLedBy(window.page, ["Berta", "Anton"]);
  await window.close();
});

test("a conversation whose place is beyond the pages of the list comes with its page, and the focus stays in the list", async () => {
  const { reader, names, say } = await manyConversations("Pim");
  const last = names.at(-1);
  const window = await openWindow(browser, open, { path: `/demo?as=${reader}` });
  const { page } = window;
  const oldest = conversations(page).filter({ hasText: last });
  await conversations(page).nth(29).waitFor();
  assert.equal(await oldest.count(), 0);
  const id = await say("and more");
  await isLedBy(page, [last]);
  await takeBack(id);
  await oldest.waitFor({ state: "detached" });
  await button(page, "Show more conversations").press("Enter");
  await oldest.waitFor();
  await isLedBy(page, names);
  await button(page, "Show more conversations").waitFor({ state: "detached" });
  await isFocused(page.locator(".sidebar .scroll"), page);
  await window.close();
});

test("who goes on writing elsewhere is seen to do so there, and no more where they were", async () => {
  const { ids, windows, pages } = await two(browser, ["Wanda", "Xerxes"]);
  const [wanda, xerxes] = pages;
  const yves = await person("Yves");
  await tell(yves, ids[0], "Hello");
  const other = await openWindow(browser, open, { path: `/demo?as=${yves}&with=${ids[0]}` });
  await message(other.page, "Hello").waitFor();
  const told = [];
  wanda.on("request", (request) => {
    const { query = "", variables } = request.postDataJSON() ?? {};
    if (query.startsWith("mutation SetTyping(")) told.push(variables.typing);
  });
  await composer(wanda).pressSequentially("for some seconds, as people do", { delay: 100 });
  await banner(xerxes, "Wanda is typing…").waitFor();
  await conversations(wanda).filter({ hasText: "Yves" }).click();
  await isFocused(composer(wanda), wanda);
  const before = told.lastIndexOf(true) + 1;
  await composer(wanda).pressSequentially("and for some seconds here", { delay: 100 });
  await banner(other.page, "Wanda is typing…").waitFor();
  assert.deepEqual(told.slice(before, before + 2), [false, true]);
  await close([...windows, other]);
});

for (const locale of ["en-US", "de-DE", "ar-EG"]) {
  test(`times are written as people write them in ${locale}`, async () => {
    // Where it is past three at night.
    const hours = (new Date().getUTCHours() - 3 + 24) % 24;
    const timezoneId = `Etc/GMT${hours < 13 ? `+${hours}` : hours - 24}`.replace("+0", "");
    const { windows, pages } = await two(browser, ["Stine", "Tore"], [{ locale, timezoneId }, {}]);
    const [stine] = pages;
    await send(stine, "now");
    await message(stine, "now").waitFor();
    const time = message(stine, "now").locator("time");
    const at = new Date(await time.getAttribute("datetime"));
    const expected = at.toLocaleTimeString(locale, { timeStyle: "short", timeZone: timezoneId });
    assert.equal(await time.innerText(), expected);
    assert.equal(await conversations(stine).locator("time").innerText(), expected);
    await close(windows);
  });
}

test("a picture shows whole characters, and a name stays at it whatever its direction is", async () => {
  const { ids, windows, pages } = await two(browser, ["Uwe", "  שרה   כהן"]);
  const [uwe, sara] = pages;
  await send(sara, "Hi");
  const initials = { "👩‍👩‍👧‍👦 de Vries": "👩‍👩‍👧‍👦V", "e\u0301mile": "E\u0301", "🇳🇴 Nor Way": "🇳🇴W", 李小龍: "李" };
  for (const name of Object.keys(initials)) await tell(await person(name), ids[0], "Hi");
  for (const [name, expected] of Object.entries({ ...initials, שרה: "שכ" })) {
    const picture = conversations(uwe).filter({ hasText: name }).locator(".avatar > :first-child");
    assert.equal(await picture.innerText(), expected);
  }
  const row = conversations(uwe).filter({ hasText: "שרה" });
  for (const its of [row.locator(".name"), uwe.getByRole("main").getByRole("heading", { level: 1 })]) {
    const gap = await its.evaluate((element) => {
      const range = new Range();
      range.selectNodeContents(element);
      return range.getBoundingClientRect().left - element.getBoundingClientRect().left;
    });
    assert.ok(Math.abs(gap) < 2, `${gap}`);
  }
  // Isolated: else the words around it would change their places.
  await log(uwe).getByText("This is where").locator("bdi").getByText("שרה").waitFor();
  const typed = composer(sara).pressSequentially("for some seconds, as people do", { delay: 100 });
  await banner(uwe, "is typing…").locator("bdi").getByText("שרה").waitFor();
  await typed;
  await close(windows);
});

const WORD = "x".repeat(90);

/** Nothing is beyond the edges of the screen, and a finger meets what it points at. */
async function fitsFingers(page) {
  const faults = await page.evaluate(() => {
    const isSeen = (its) => its.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !its.closest(".hidden");
    // What is cut off with an ellipsis is seen to be.
    const isCut = (its) => its.parentElement && (getComputedStyle(its.parentElement).textOverflow === "ellipsis" || isCut(its.parentElement));
    const isOver = (its) => {
      const { left, right, width } = its.getBoundingClientRect();
      return width > 0 && (left < 0 || right > innerWidth + 0.5) && !isCut(its);
    };
    const isSmall = (its) => {
      const { width, height } = (its.closest("label.check") ?? its).getBoundingClientRect();
      return Math.round(width) < 44 || Math.round(height) < 44;
    };
    const all = [...document.body.querySelectorAll("*")].filter(isSeen);
    const targets = all.filter((its) => its.matches("button, a, input, textarea") && !its.closest(".text"));
    const name = (its) => `${its.tagName} ${its.className} ${its.textContent.slice(0, 40)}`;
    return [
      ...(document.documentElement.scrollWidth > innerWidth ? ["The page scrolls sideways."] : []),
      ...all.filter((its) => isOver(its) && !its.closest("svg")).map((its) => `over: ${name(its)}`),
      ...targets.filter(isSmall).map((its) => `small: ${name(its)}`),
    ];
  });
  assert.deepEqual(faults, []);
}

test("nothing runs out of a phone's screen, and all can be touched", async () => {
  const { windows, pages } = await two(browser, [`Vroni ${WORD}`, WORD], [PHONE, {}]);
  const [phone, other] = pages;
  await send(other, `${WORD}${WORD}`);
  await send(other, `https://example.com/${"path-".repeat(60)}`);
  await act(other, WORD + WORD, "Reply");
  await send(other, "an answer");
  await message(phone, "an answer").waitFor();
  await fitsFingers(phone);
  await act(phone, "an answer", "Reply");
  await send(phone, `mine ${WORD}${WORD}`);
  await message(phone, "mine").getByRole("button", { name: /^Actions for / }).click();
  await fitsFingers(phone);
  await button(phone, "Delete").click();
  await fitsFingers(phone);
  await button(phone, "Cancel").click();
  await phone.getByRole("link", { name: "Back to conversations" }).click();
  await conversations(phone).waitFor();
  await fitsFingers(phone);
  await field(phone).fill(WORD + WORD);
  await found(phone).first().waitFor();
  await fitsFingers(phone);
  await button(phone, "Your menu").click();
  await fitsFingers(phone);
  await isAccessible(phone);
  await phone.getByRole("link", { name: "Change person" }).click();
  await phone.getByRole("searchbox", { name: "Find a person" }).fill(WORD);
  await phone.getByRole("list", { name: "People" }).getByRole("link").first().waitFor();
  await fitsFingers(phone);
  await close(windows);
});

test("what can be done with a long message comes into sight", async () => {
  const { ids, windows, pages } = await two(browser, ["Yann", "Zoltan"], [PHONE, {}]);
  const [yann] = pages;
  for (const text of ["y".repeat(4000), "short"]) await tell(ids[1], ids[0], text);
  await message(yann, "short").waitFor();
  await message(yann, "yyy").getByRole("button", { name: /^Actions for / }).click();
  await yann.getByRole("group", { name: "Message actions" }).waitFor();
  await settled(yann);
  assert.ok(await isInSight(yann.getByRole("group", { name: "Message actions" })));
  await close(windows);
});

test("the arrow keys and Enter lead from a search into what it found", async () => {
  const { ids, windows, pages } = await two(browser, ["Quirin One", "Quirin Two"]);
  const [one, two_] = pages;
  await send(two_, "a marmot");
  await message(one, "a marmot").waitFor();
  await one.goto(new URL("/demo", open).href);
  const pick = one.getByRole("searchbox", { name: "Find a person" });
  const people = one.getByRole("list", { name: "People" }).getByRole("link");
  await pick.fill("Quirin");
  // Those who were listed before are gone.
  await people.filter({ hasNotText: "Quirin" }).first().waitFor({ state: "detached" });
  await people.filter({ hasText: "Quirin Two" }).waitFor();
  await pick.press("ArrowDown");
  await isFocused(people.first(), one);
  await one.keyboard.press("ArrowUp");
  await isFocused(pick, one);
  await pick.fill("Quirin O");
  await people.filter({ hasText: "Quirin Two" }).waitFor({ state: "detached" });
  await pick.press("Enter");
  await one.waitForURL((url) => url.searchParams.get("as") === ids[0]);

  const find = one.getByRole("searchbox", { name: "Find people" });
  const results = one.getByRole("list", { name: "People found" }).getByRole("link");
  await find.fill("Quirin T");
  await results.filter({ hasText: "Quirin Two" }).waitFor();
  await find.press("ArrowDown");
  await isFocused(results.first(), one);
  await one.keyboard.press("Enter");
  await isFocused(composer(one), one);
  await find.fill("Quirin T");
  await results.filter({ hasText: "Quirin Two" }).waitFor();
  await find.press("Enter");
  await one.getByRole("list", { name: "People found" }).waitFor({ state: "detached" });

  await field(one).fill("marmot");
  await found(one).first().waitFor();
  await field(one).press("Enter");
  await isFocused(message(one, "a marmot"), one);
  await close(windows);
});

test("a reload leaves the reader where they were, however far back", async () => {
  const { ids, windows, pages } = await two(browser, ["Xandra", "Yorick"]);
  const [xandra] = pages;
  for (let i = 1; i <= 150; i++) await tell(ids[1], ids[0], `number ${i}.`);
  await message(xandra, "number 150.").waitFor();
  await xandra.waitForFunction(() => {
    const element = document.querySelector("[role=log]");
    element.scrollTop = 0;
    return element.textContent.includes("begins.");
  });
  await message(xandra, "number 20.").evaluate((its) => (its.closest("[role=log]").scrollTop = its.offsetTop));
  const placeOf = (text) => message(xandra, text).evaluate((its) => Math.round(its.getBoundingClientRect().top));
  const before = await placeOf("number 20.");
  await xandra.reload();
  await message(xandra, "number 20.").waitFor();
  await xandra.waitForFunction(() => !document.querySelector(".seeking")?.textContent);
  assert.ok(Math.abs((await placeOf("number 20.")) - before) <= 2, `${before} ${await placeOf("number 20.")}`);
  // And who was at the end is there again.
  await button(xandra, "To the newest").click();
  await xandra.reload();
  await message(xandra, "number 150.").waitFor();
  assert.equal(await button(xandra, "To the newest").count(), 0);
  await close(windows);
});

const visitDemo = (options) => openWindow(browser, accounts, { path: "/demo", ...options });

test("where nobody may sign up, nothing offers it", async () => {
  const window = await openWindow(browser, accounts, { path: "/demo" });
  const { page } = window;
  await button(page, "Create account").waitFor();
  await page.route("**/graphql", async (route) => {
    const response = await route.fetch();
    await route.fulfill({ response, body: (await response.text()).replace('"sign-up",', "") });
  });
  await page.reload();
  await button(page, "Sign in").waitFor();
  assert.equal(await button(page, "Create account").count(), 0);
  await window.close();
});

test("who stays signed in is so in every tab, until they sign out in one; who does not, in one tab", async () => {
  const window = await visitDemo();
  const { page, context } = window;
  await signUp(page, "Agathe");
  const demo = page.url();
  const other = await context.newPage();
  await other.goto(demo);
  await other.getByRole("heading", { name: "Agathe" }).waitFor();
  // Both are to renew at the same time, and both go on, with the same tokens.
  await page.evaluate(() => {
    const session = JSON.parse(localStorage["duologue:session"]);
    localStorage["duologue:session"] = JSON.stringify({ ...session, expiresAt: new Date().toISOString() });
  });
  await Promise.all([page.reload(), other.reload()]);
  for (const its of [page, other]) await its.getByRole("heading", { name: "Agathe" }).waitFor();
  await page.waitForFunction(() => Date.parse(JSON.parse(localStorage["duologue:session"]).expiresAt) > Date.now() + 60_000);
  for (const its of [page, other]) {
    await its.reload();
    await its.getByRole("heading", { name: "Agathe" }).waitFor();
  }
  await choose(other, "Sign out");
  for (const its of [page, other]) await form(its).waitFor();
  await window.close();

  const second = await visitDemo();
  await signUp(second.page, "Balduin", { keep: false });
  await second.page.reload();
  await second.page.getByRole("heading", { name: "Balduin" }).waitFor();
  const next = await second.context.newPage();
  await next.goto(demo);
  await form(next).waitFor();
  await second.close();
});

test("people change their password, sign out other devices, and block and unblock", async () => {
  const [first, phone, friend] = await Promise.all([visitDemo(), visitDemo(PHONE), visitDemo()]);
  const { page: cora } = first;
  await signUp(cora, "Cora");
  const signIn = async (password) => {
    await phone.page.getByLabel("Email").fill("cora@example.com");
    await phone.page.getByLabel("Password").fill(password);
    await button(phone.page, "Sign in").click();
  };
  await fitsFingers(phone.page);
  await signIn("correct horse battery");
  await button(phone.page, "Your menu").waitFor();

  await choose(cora, "Devices");
  const devices = cora.getByRole("dialog").getByRole("listitem");
  await devices.nth(1).waitFor();
  assert.equal(await devices.filter({ hasText: "This device" }).count(), 1);
  await isAccessible(cora);
  await phone.inTrouble(async () => {
    await devices.getByRole("button", { name: "Sign out" }).click();
    await devices.nth(1).waitFor({ state: "detached" });
    await phone.page.getByText("Your session has ended.").waitFor();
  });
  await button(cora, "Close").click();

  await choose(cora, "Change password");
  await cora.getByLabel("New password").fill("staple staple staple");
  await isAccessible(cora);
  await cora.getByRole("dialog").getByRole("button", { name: "Change password" }).click();
  await cora.getByText("Your password is changed.").waitFor();
  await button(cora, "Close").click();
  await signIn("correct horse battery");
  await phone.page.getByRole("alert").filter({ hasText: /./ }).waitFor();
  await signIn("staple staple staple");
  for (const item of ["Change password", "Devices", "Blocked people"]) {
    await choose(phone.page, item);
    await phone.page.getByRole("dialog").waitFor();
    await fitsFingers(phone.page);
    await phone.page.keyboard.press("Escape");
    await phone.page.getByRole("dialog").waitFor({ state: "detached" });
  }

  const { page: dirk } = friend;
  await signUp(dirk, "Dirk");
  await cora.getByRole("searchbox", { name: "Find people" }).fill("Dirk");
  await cora.getByRole("list", { name: "People found" }).getByRole("link").click();
  await send(cora, "Hello");
  const online = cora.getByRole("main").getByText("online", { exact: true });
  await online.waitFor();
  await button(cora, "About this person").click();
  await cora.getByRole("button", { name: "Block Dirk" }).click();
  await isAccessible(cora);
  await cora.getByRole("dialog").getByRole("button", { name: "Block" }).click();
  await cora.getByRole("dialog").waitFor({ state: "detached" });
  await isFocused(button(cora, "About this person"), cora);
  await online.waitFor({ state: "detached" });
  await conversations(dirk).click();
  await send(dirk, "Why?");
  const unsent = dirk.getByRole("list", { name: "Not sent yet" });
  await unsent.getByRole("alert").waitFor();
  await choose(cora, "Blocked people");
  await cora.getByRole("dialog").getByRole("listitem").filter({ hasText: "Dirk" }).getByRole("button", { name: "Unblock" }).click();
  await cora.getByText("You have blocked nobody.").waitFor();
  await isFocused(cora.getByRole("dialog"), cora);
  await button(cora, "Close").click();
  await online.waitFor();
  await unsent.getByRole("button", { name: "Retry" }).click();
  await message(cora, "Why?").waitFor();
  await Promise.all([first, phone, friend].map((window) => window.close()));
});

test("who looks elsewhere is notified, if they want it", async () => {
  const { ids, windows, pages } = await two(browser, ["Edda", "Falk"]);
  const [edda, falk] = pages;
  const { context } = windows[0];
  await context.grantPermissions(["notifications"], { origin: new URL(open).origin });
  await context.addInitScript(() => {
    globalThis.shown = [];
    document.hasFocus = () => false;
    const Real = Notification;
    globalThis.Notification = class extends Real {
      constructor(title, options) {
        super(title, options);
        globalThis.shown.push({ title, body: options.body, its: this });
      }
    };
  });
  await edda.goto(new URL(`/demo?as=${ids[0]}`, open).href);
  const shown = () => edda.evaluate(() => globalThis.shown.map(({ title, body }) => ({ title, body })));
  await send(falk, "first");
  await conversations(edda).filter({ hasText: "1 unread" }).waitFor();
  assert.deepEqual(await shown(), []);
  await button(edda, "Your menu").click();
  await edda.getByRole("switch", { name: "Notifications: off" }).click();
  await send(falk, "second");
  await conversations(edda).filter({ hasText: "2 unread" }).waitFor();
  assert.deepEqual(await shown(), [{ title: "Falk", body: "second" }]);
  await edda.evaluate(() => globalThis.shown[0].its.onclick());
  await message(edda, "second").waitFor();
  // Not for what one writes oneself, and not any more once they are off.
  await send(edda, "mine");
  await message(falk, "mine").waitFor();
  await button(edda, "Your menu").click();
  await edda.getByRole("switch", { name: "Notifications: on" }).click();
  await send(falk, "again");
  await message(edda, "again").waitFor();
  assert.equal((await shown()).length, 1);
  await close(windows);
});
