// Bundles src/widget.ts into ../vram_widget/static/{widget.js,widget.css}, from an empty folder,
// so that nothing of an earlier build can survive in a release.
import { rm } from "node:fs/promises";
import { build, context } from "esbuild";

const folder = "../vram_widget/static";

const options = {
  entryPoints: ["src/widget.ts"],
  outdir: folder,
  bundle: true,
  minify: true,
  format: "esm",
  charset: "utf8",
  // Browsers of the end of 2023, the first that all read nested CSS.
  target: ["es2022", "chrome120", "firefox117", "safari17.2"],
  legalComments: "none",
};

await rm(folder, { recursive: true, force: true });
if (process.argv.includes("--watch")) {
  const watching = await context({ ...options, sourcemap: "inline" });
  await watching.watch();
} else {
  await build({ ...options, logLevel: "info" });
}
