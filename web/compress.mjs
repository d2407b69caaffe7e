// Writes what the server sends to browsers that take it compressed, beside each file. Text only,
// and only where it is worth it.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { brotliCompressSync, constants, gzipSync } from "node:zlib";

const folder = new URL("../src/tailrace/ui/", import.meta.url).pathname;
for (const file of await readdir(folder, { recursive: true })) {
  if (!/\.(js|css|html|svg|json)$/.test(file) || file === "index.html") continue;
  const path = join(folder, file);
  const bytes = await readFile(path);
  if (bytes.length < 1024) continue;
  const quality = { [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY };
  await writeFile(`${path}.br`, brotliCompressSync(bytes, { params: quality }));
  await writeFile(`${path}.gz`, gzipSync(bytes, { level: 9 }));
}
