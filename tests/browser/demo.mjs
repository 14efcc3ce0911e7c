// The chat demo as the tests handle it.
import assert from "node:assert/strict";
import { ask, openWindow } from "./browser.mjs";

const { DUOLOGUE_OPEN: open } = process.env;
export const PHONE = { viewport: { width: 360, height: 640 }, hasTouch: true, isMobile: true };

export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const composer = (page) => page.getByRole("textbox", { name: /^Message to / });
export const log = (page) => page.getByRole("log");
/** A message that the server has. */
export const message = (page, text) => log(page).locator("li:not(.unsent)").filter({ hasText: text });
export const texts = (page) => log(page).locator("li .text").allInnerTexts();
export const field = (page) => page.getByRole("searchbox", { name: "Search messages" });
export const found = (page) => page.getByRole("list", { name: "Messages found" }).getByRole("link");
export const conversations = (page) => page.getByRole("list", { name: "Conversations" }).getByRole("link");
export const newLine = (page) => page.getByText("New messages", { exact: true });
export const unsent = (page) => page.getByRole("list", { name: "Not sent yet" }).getByRole("listitem");
/** The first screen, where people sign in. */
export const form = (page) => page.getByRole("heading", { name: "Sign in" });
export const isFocused = (locator, page) => locator.and(page.locator(":focus")).waitFor();
export const banner = (page, text) => page.getByRole("status").filter({ hasText: text });

export async function send(page, text) {
  await composer(page).fill(text);
  await composer(page).press("Enter");
}

/** Does something else with the page's requests that have these words in them. */
export const intercept = (page, words, handle) =>
  page.route("**/graphql", (route) => (route.request().postData()?.includes(words) ? handle(route) : route.fallback()));

/** Its answers come once they are released, as they were when the page asked, or otherwise; `held` is kept once there is one. */
export async function hold(page, words, answer = (route, response) => route.fulfill({ response })) {
  let release, isHeld;
  const released = new Promise((resolve) => (release = resolve));
  const held = new Promise((resolve) => (isHeld = resolve));
  await intercept(page, words, async (route) => {
    const response = await route.fetch();
    isHeld();
    await released;
    await answer(route, response);
  });
  return { held, release };
}

/** All of it is within the log. */
export const isInSight = (locator) =>
  locator.evaluate((its) => {
    const { top, bottom } = its.getBoundingClientRect();
    const log = its.closest("[role=log]").getBoundingClientRect();
    return top >= log.top && bottom <= log.bottom;
  });

/** What has changed is shown in the next frame. */
export const settled = (page) => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));

/** The log comes to show these messages and no others. An answer may show one in another place until the feed tells of it. */
export const isShowing = (page, texts) =>
  page.waitForFunction((texts) => {
    const shown = [...document.querySelectorAll("[role=log] li .text")].map((its) => its.innerText);
    return JSON.stringify(shown) === JSON.stringify(texts);
  }, texts);

/** Opens what one can do with a message, and does it. */
export async function act(page, text, action) {
  await message(page, text).getByRole("button", { name: /^Actions for / }).click();
  await button(page, action).click();
}

/** Every message is within the window. */
export async function fits(page) {
  const { width } = page.viewportSize();
  for (const bubble of await log(page).locator(".bubble").all()) {
    const box = await bubble.boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= width, JSON.stringify(box));
    assert.ok(await bubble.evaluate((element) => element.scrollWidth <= element.clientWidth));
  }
}

/** Makes an account, in a window that shows the first screen. */
export async function signUp(page, name, { keep = true } = {}) {
  await page.getByText("Duologue", { exact: true }).waitFor();
  await button(page, "Create account").click();
  await button(page, "Sign in instead").waitFor();
  await page.getByLabel("Name").fill(name);
  await enter(page, name, keep, "Create account");
}

/** Signs in to an account that was made so, in a window that shows the first screen. */
export async function signIn(page, name, { keep = true } = {}) {
  await form(page).waitFor();
  await enter(page, name, keep, "Sign in");
}

async function enter(page, name, keep, action) {
  await page.getByLabel("Email").fill(`${name.toLowerCase()}@example.com`);
  await page.getByLabel("Password").fill("correct horse battery");
  await page.getByLabel("Stay signed in on this device").setChecked(keep);
  await button(page, action).click();
  await button(page, "Your menu").waitFor();
}

export async function choose(page, item) {
  await button(page, "Your menu").click();
  await page.getByRole("group", { name: "Your menu" }).getByText(item).click();
}

let made = 0;

/** Makes somebody, and gives their id. */
export async function person(name) {
  const CREATE = `mutation ($name: String!, $email: String!) {
    createUser(input: { name: $name, email: $email }) { user { id } }
  }`;
  const data = await ask(open, CREATE, { name, email: `person-${process.pid}-${++made}@example.com` });
  return data.createUser.user.id;
}

/** Windows of two new people who talk to each other. */
export async function two(browser, names, options = [{}, {}]) {
  const ids = [];
  for (const name of names) ids.push(await person(name));
  const visit = ({ address = open, ...rest }, i) =>
    openWindow(browser, address, { ...rest, path: `/demo?as=${ids[i]}&with=${ids[1 - i]}` });
  const windows = await Promise.all(options.map(visit));
  await Promise.all(windows.map(({ page }) => composer(page).waitFor()));
  return { ids, windows, pages: windows.map(({ page }) => page) };
}

export const close = (windows) => Promise.all(windows.map((window) => window.close()));

/** Somebody to whom two others have written: the first, the second, and the first again, who can take that back. */
export async function threeMessages(names) {
  const [first, second, reader] = [await person(names[0]), await person(names[1]), await person(names[2])];
  await tell(first, reader, "one");
  await tell(second, reader, "two");
  const { id } = (await tell(first, reader, "three")).sendMessage.message;
  return { reader, takeBack: () => takeBack(id) };
}

/** The list comes to begin with the conversations with these people. */
export const isLedBy = (page, names) =>
  page.waitForFunction((names) => {
    const rows = [...document.querySelectorAll("ul[aria-label=Conversations] a")].map((row) => row.innerText);
    return names.every((name, place) => rows[place]?.includes(name));
  }, names);

/** Writes as one of two people to the other, beside the browser. */
export const tell = (from, to, content) => ask(open, SEND, { from, to, content });

const SEND = `mutation ($from: ID!, $to: ID!, $content: String!) {
  sendMessage(input: { senderId: $from, receiverId: $to, content: $content }) { message { id } }
}`;

/** Takes a message back, beside the browser. */
export const takeBack = (id) => ask(open, "mutation ($id: ID!) { deleteMessage(id: $id) { deletedId } }", { id });

/** Somebody with more conversations than a page of the list has. Who began the oldest one says more. */
export async function manyConversations(name) {
  const reader = await person(name);
  const names = Array.from({ length: 33 }, (_, i) => `Peer ${i + 10}`);
  const oldest = await person(names[0]);
  await tell(oldest, reader, "Hello");
  for (const its of names.slice(1)) await tell(await person(its), reader, "Hello");
  return { reader, names: names.reverse(), say: async (content) => (await tell(oldest, reader, content)).sendMessage.message.id };
}
