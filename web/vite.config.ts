// Builds the pages and leaves only gzip copies of them in dist, which the server embeds and sends as they are.
import { appendFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const root = import.meta.dirname;
const dist = join(root, "dist");
const licences = "licenses.md";

// What Vite's licence file leaves out: a package that only a worker uses, and what Monaco brings inside itself.
const unlisted = ["picomatch-browser/LICENSE", "monaco-editor/ThirdPartyNotices.txt"];

function gzipOnly(): Plugin {
  return {
    name: "gzip-only",
    apply: "build",
    // In place of Vite's own emptyOutDir, which would delete the .gitignore that keeps the folder in git.
    buildStart() {
      for (const name of readdirSync(dist)) {
        if (name !== ".gitignore") rmSync(join(dist, name), { recursive: true });
      }
    },
    writeBundle() {
      for (const file of unlisted) {
        appendFileSync(join(dist, licences), `\n## ${file}\n\n${readFileSync(join(root, "node_modules", file), "utf8")}`);
      }
      for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || entry.name === ".gitignore") continue;
        const file = join(entry.parentPath, entry.name);
        writeFileSync(`${file}.gz`, gzipSync(readFileSync(file), { level: 9 }));
        rmSync(file);
      }
    },
  };
}

export default defineConfig({
  plugins: [gzipOnly()],
  worker: { format: "es" },
  build: {
    emptyOutDir: false,
    // A font as a data URL would be refused by the server's Content-Security-Policy.
    assetsInlineLimit: 0,
    license: { fileName: licences },
    // Every browser that knows popovers, which the pages need, knows it.
    modulePreload: { polyfill: false },
    rolldownOptions: {
      // One HTML file per page.
      input: [join(root, "index.html"), join(root, "demo.html")],
      // GraphiQL makes its icons' titles, which readers see and hear, from function names.
      output: { keepNames: true },
      onwarn(warning, warn) {
        if (warning.code === "MODULE_LEVEL_DIRECTIVE" && warning.message.includes("use client")) return;
        warn(warning);
      },
    },
  },
});
