// Builds GraphiQL, and then the demo (`--mode demo`). Leaves only gzip copies in dist, which the server embeds and sends as they are.
import { appendFileSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { defineConfig, type Plugin } from "vite";

const root = import.meta.dirname;
const dist = join(root, "dist");

// What Vite's licence file leaves out of GraphiQL: a package that only a worker uses, and what Monaco brings inside itself.
const unlisted = ["picomatch-browser/LICENSE", "monaco-editor/ThirdPartyNotices.txt"];

function gzipOnly(isDemo: boolean, licences: string): Plugin {
  return {
    name: "gzip-only",
    apply: "build",
    // In place of Vite's own emptyOutDir, which would delete the .gitignore that keeps the folder in git.
    buildStart() {
      if (isDemo) return;
      for (const name of readdirSync(dist)) {
        if (name !== ".gitignore") rmSync(join(dist, name), { recursive: true });
      }
    },
    writeBundle() {
      for (const file of isDemo ? [] : unlisted) {
        appendFileSync(join(dist, licences), `\n## ${file}\n\n${readFileSync(join(root, "node_modules", file), "utf8")}`);
      }
      for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
        if (!entry.isFile() || entry.name === ".gitignore" || entry.name.endsWith(".gz")) continue;
        const file = join(entry.parentPath, entry.name);
        writeFileSync(`${file}.gz`, gzipSync(readFileSync(file), { level: 9 }));
        rmSync(file);
      }
    },
  };
}

export default defineConfig(({ mode }) => {
  const isDemo = mode === "demo";
  const licences = isDemo ? "licenses-demo.md" : "licenses.md";
  return {
    plugins: [gzipOnly(isDemo, licences)],
    worker: { format: "es" },
    build: {
      emptyOutDir: false,
      // A font as a data URL would be refused by the server's Content-Security-Policy.
      assetsInlineLimit: 0,
      license: { fileName: licences },
      // Every browser that knows popovers, which the pages need, knows it.
      modulePreload: { polyfill: false },
      rolldownOptions: {
        input: join(root, isDemo ? "demo.html" : "index.html"),
        // GraphiQL makes its icons' titles, which readers see and hear, from function names. Without them the demo is smaller.
        output: { keepNames: !isDemo },
        onwarn(warning, warn) {
          if (warning.code === "MODULE_LEVEL_DIRECTIVE" && warning.message.includes("use client")) return;
          warn(warning);
        },
      },
    },
  };
});
