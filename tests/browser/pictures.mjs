// Takes the pictures of the README, from a server of its own: node pictures.mjs PROGRAM FOLDER
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { answerTo, ask, launch, openWindow } from "./browser.mjs";

const [program, folder] = process.argv.slice(2).map((path) => resolve(path));
const scratch = await mkdtemp(join(tmpdir(), "duologue-pictures-"));
const server = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--database", `sqlite:${join(scratch, "chat.db")}`]);
const browser = await launch();
try {
  const [ready] = await once(createInterface(server.stdout), "line");
  const [address] = ready.match(/http:\S+/);
  await graphiql(address);
  await demo(address);
} finally {
  await browser.close();
  server.kill();
  await rm(scratch, { recursive: true });
}

async function picture(page, name) {
  await page.screenshot({ path: join(folder, `${name}.png`) });
}

/** The panel hears what is sent in a tab. */
async function graphiql(address) {
  const { page, close } = await openWindow(browser, address, { viewport: { width: 1360, height: 760 } });
  const run = async (tab) => {
    await page.getByRole("button", { name: tab, exact: true }).click();
    const answered = answerTo(page, tab);
    await page.getByRole("button", { name: /^Execute query/ }).click();
    await answered;
  };
  await page.locator(".view-line").first().waitFor();
  await run("Create");
  await page.getByRole("button", { name: "Watch feed" }).click();
  const events = page.getByRole("region", { name: "Live feed" }).locator("summary");
  await events.first().waitFor();
  await run("Send");
  await run("Reply");
  await run("Edit");
  await events.nth(3).waitFor();
  await page.locator(".graphiql-response").getByText("editedAt").waitFor();
  // Until the editor knows the variables of this tab.
  await page.locator(".squiggly-error").first().waitFor({ state: "detached" });
  await page.mouse.move(0, 0);
  await picture(page, "graphiql");
  await close();
}

/** Ada at a desk, Bob on his phone, in the dark. */
async function demo(address) {
  const ada = await openWindow(browser, address, { path: "/demo?as=usr_1&with=usr_2", viewport: { width: 800, height: 600 } });
  const bob = await openWindow(browser, address, {
    path: "/demo?as=usr_2&with=usr_1",
    viewport: { width: 360, height: 600 },
    colorScheme: "dark",
  });
  const write = async ({ page }, text) => {
    await page.getByRole("textbox", { name: /^Message to / }).fill(text);
    await page.keyboard.press("Enter");
    for (const its of [ada, bob]) await its.page.locator("li:not(.unsent)").filter({ hasText: text }).last().waitFor();
  };
  await ask(address, `mutation {
    createUser(input: { name: "Clara", email: "clara@example.com" }) { user { id } }
    sendMessage(input: { senderId: "usr_3", receiverId: "usr_1", content: "Do you have the key?" }) { message { id } }
  }`);
  await write(ada, "Eleven, then. I bring the plans.");
  await write(bob, "Good! I bring the coffee.");
  await write(ada, "Lunch after that?");
  await bob.page.getByRole("textbox", { name: /^Message to / }).pressSequentially("Ye");
  await ada.page.getByText("Bob is typing…").first().waitFor();
  await ada.page.getByText("Read", { exact: true }).last().waitFor();
  await picture(ada.page, "demo");
  await picture(bob.page, "demo-phone");
  await ada.close();
  await bob.close();
}
