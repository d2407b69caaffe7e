// Follow an execution from Node.js (18 or newer), with npm's `eventsource`.
//
//     npm install
//     node node.mjs http://127.0.0.1:8787/api/v1/workspaces/default/executions/<id>/stream
//
// The law of this file: one line for each event, its id and type, each once. The exit status is
// 0 if the execution completed, else 1.

import { EventSource } from 'eventsource'

// An EventSource hears only the names it listens to. Those of your own are custom.<name>.
const TYPES = [
  'execution.queued', 'execution.started', 'execution.progress', 'execution.cancelling',
  'execution.completed', 'execution.failed', 'execution.cancelled', 'execution.timed_out',
  'execution.lost', 'node.queued', 'node.started', 'node.progress', 'node.completed',
  'node.failed', 'node.retrying', 'node.skipped', 'node.cancelled', 'output.item',
  'llm.chunk', 'llm.usage', 'tool.call', 'tool.result', 'structured.delta', 'log.line',
  'log.sealed', 'warning',
]
const TERMINAL = ['completed', 'failed', 'cancelled', 'timed_out', 'lost']

const url = new URL(process.argv[2])
let source
let last = 0
process.exitCode = 1 // until the execution has completed
// From version 5 on, `eventsource` lets the process end while it waits to reconnect: this does not.
const waiting = setInterval(() => {}, 2 ** 30)

function handle(message) {
  const event = JSON.parse(message.data)
  if (event.id <= last) return // an event is (execution_id, id): this one was handled
  last = event.id
  console.log(event.id, event.type)
  const [, ending] = event.type.split('execution.')
  if (TERMINAL.includes(ending)) {
    source.close() // else it would reconnect once more, and stop at the server's 204
    clearInterval(waiting)
    process.exitCode = ending === 'completed' ? 0 : 1
  }
}

function gap(message) {
  const { from, to, cause } = JSON.parse(message.data).data
  console.error(`events ${from} to ${to} are missing (${cause})`)
  if (cause === 'lost') last = 0 // what follows is not what was handled under those ids
}

function failed(error) {
  if (source.readyState === EventSource.CONNECTING) {
    // It reconnects by itself, and sends Last-Event-ID.
    console.error(`reconnecting, to go on after event ${last}: ${error.message ?? 'it was closed'}`)
  } else if (error.code >= 500) {
    // It has given up, as the standard demands. A restart passes: begin anew where this stood.
    console.error(`the server answered ${error.code}; trying again, to go on after event ${last}`)
    if (last) url.searchParams.set('after', last)
    setTimeout(open, 500 + 1000 * Math.random())
  } else {
    clearInterval(waiting)
    console.error(error.code === 204 ? 'there is nothing left to send' : error.message)
  }
}

function open() {
  source = new EventSource(url)
  for (const type of TYPES) source.addEventListener(type, handle)
  source.addEventListener('stream.gap', gap)
  source.addEventListener('error', failed)
}

open()
