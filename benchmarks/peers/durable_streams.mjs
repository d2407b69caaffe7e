// Durable Streams: @durable-streams/server 0.3.7, the protocol's Node.js reference server.
//
//     node durable_streams.mjs PORT STREAMS        (cwd: a folder with node_modules)
//
// Follows the package's README: DurableStreamTestServer with `dataDir`, its file-backed store (a log
// file for each stream, fdatasync on every append, LMDB for what it knows of streams), here in a
// temporary folder. The README says what this server is for (development, tests, prototypes) and
// names the Caddy plugin for production; this is the one npm gives.
//
// Streams are application/json, created with PUT. A path reads with live=sse and offset=now, so what
// comes from now on (offset=-1 is from the beginning); any number of clients may read one stream. The
// protocol has no `id:` line: after each batch comes `event: control` with the next offset. A data
// event is an array of what one append brought.
//
// Produced in this process by `server.store.append`, which the server's own POST handler calls: one
// call for each event. Appends of one stream are serialised by the store, in the order of the calls,
// and those of different streams overlap; here each stream has one append under way and a queue of at
// most 100 (when one is full, the turn waits). The control endpoints are on a port of their own, which
// the ready line tells.
import { mkdtempSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import { createRequire } from "node:module"
import { tmpdir } from "node:os"
import { join } from "node:path"

const { DurableStreamTestServer } = createRequire(`${process.cwd()}/`)("@durable-streams/server")

const TICK_MS = 2
const MOST_AT_ONCE = 5000
const QUEUE_MAX = 100
const BLOCK_BYTES = 230
const [port, streams] = process.argv.slice(2).map(Number)
const paths = Array.from({ length: streams }, (_, i) => `/v1/stream/${i}`)
const framing = 'event: data\ndata:[{"n":1234,"t":12345678901234,"p":""}]\n\n'.length
const pad = "x".repeat(BLOCK_BYTES - framing)
const state = { produced: 0, done: true, seconds: 0 }
const counters = new Array(streams).fill(0)
const waiting = new Array(streams).fill(0)
const appended = new Array(streams).fill(Promise.resolve())
let turn = 0

const dataDir = mkdtempSync(join(tmpdir(), "durable-streams-"))
const server = new DurableStreamTestServer({ port, host: "127.0.0.1", dataDir })
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms))

async function append(stream, inTime) {
  waiting[stream]--
  if (!inTime()) return // what was not appended by the end was not produced
  const event = `{"n":${counters[stream]++},"t":${process.hrtime.bigint()},"p":"${pad}"}`
  await server.store.append(paths[stream], Buffer.from(event))
  state.produced++
}

async function produce(rate, seconds) {
  const began = performance.now()
  const elapsed = () => (performance.now() - began) / 1000
  const inTime = () => elapsed() < seconds
  let asked = 0
  state.produced = 0
  while (inTime()) {
    const due = Math.min(Math.floor(elapsed() * rate) - asked, MOST_AT_ONCE)
    for (let i = 0; i < due && waiting[turn] < QUEUE_MAX; i++, asked++) {
      const stream = turn
      turn = (turn + 1) % streams
      waiting[stream]++
      appended[stream] = appended[stream].then(() => append(stream, inTime))
    }
    await pause(TICK_MS)
  }
  await Promise.all(appended)
  state.seconds = elapsed()
  state.done = true
}

function control(req, res) {
  const url = new URL(req.url, "http://127.0.0.1")
  const answer = (status, body) => {
    res.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(body))
  }
  if (url.pathname === "/paths") answer(200, paths.map((path) => `${path}?offset=now&live=sse`))
  else if (url.pathname === "/done") answer(200, state)
  else if (url.pathname === "/go" && req.method === "POST") {
    state.done = false
    produce(Number(url.searchParams.get("rate")), Number(url.searchParams.get("seconds")))
    answer(202, {})
  } else answer(404, {})
}

process.on("exit", () => rmSync(dataDir, { recursive: true, force: true }))
process.on("SIGTERM", () => process.exit(0))
await server.start()
for (const path of paths) {
  const created = await fetch(`http://127.0.0.1:${port}${path}`, {
    method: "PUT",
    headers: { "content-type": "application/json" },
  })
  if (!created.ok) throw new Error(`PUT ${path}: ${created.status}`)
}
const controls = createServer(control)
controls.listen(0, "127.0.0.1", () => console.log(`ready control=${controls.address().port}`))
