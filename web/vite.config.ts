// How the page is built: into the Python package, with addresses that are relative to the page, so
// that it works wherever the server is mounted.
import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

export default defineConfig({
  base: "./",
  plugins: [react()],
  // The client as its source: the page is built, and tested, without building it first.
  resolve: { alias: { "@tailrace/client": new URL("client/src/index.ts", import.meta.url).pathname } },
  build: {
    outDir: "../src/tailrace/ui",
    emptyOutDir: true,
    target: "es2022",
    modulePreload: { polyfill: false },
    assetsInlineLimit: 0, // a data: URL would need a hole in the page's policy
    chunkSizeWarningLimit: 300,
  },
  worker: { format: "es" },
  server: { proxy: { "/api": process.env.TAILRACE_URL ?? "http://127.0.0.1:8787" } },
  test: { include: ["client/test/**/*.test.ts", "test/**/*.test.ts"], pool: "threads" },
});
