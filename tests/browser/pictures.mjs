// Takes the pictures of the README from a server of its own: node pictures.mjs PROGRAM FOLDER
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { ask, launch, openWindow } from "./browser.mjs";

const [program, folder] = process.argv.slice(2).map((path) => resolve(path));
const scratch = await mkdtemp(join(tmpdir(), "duologue-pictures-"));
const server = spawn(program, ["serve", "--listen", "127.0.0.1:0", "--database", `sqlite:${join(scratch, "chat.db")}`]);
const browser = await launch();
try {
  const [ready] = await once(createInterface(server.stderr), "line");
  const address = ready.match(/http:\S+/)[0];
  await graphiql(address);
} finally {
  await browser.close();
  server.kill();
  await rm(scratch, { recursive: true });
}

async function picture(window, name) {
  await window.page.screenshot({ path: join(folder, `${name}.png`) });
  await window.close();
}
