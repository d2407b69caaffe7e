// A reporter for engines in TypeScript: Node's own fetch and crypto, no package at run time.
//
//   node --experimental-strip-types reporter.ts       Node 22.6 or later
//   npx tsc && node built/reporter.js                 any Node from 18 on
//
// It runs a small job (it counts primes, in three nodes) and reports it to a Tailrace server as
// it goes. Copy Reporter into your engine: it numbers its batches, signs each try anew, repeats a
// batch that was not answered until it is, and keeps the lease alive in between, so that
// everything arrives, once, in order. The environment is that of reporter.go.
import { createHmac } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const FIRST_WAIT_MS = 100;
const LONGEST_WAIT_MS = 5_000; // between two tries
const PATIENCE_MS = 120_000; // with one batch; then the server is given up
const BEAT_MS = 20_000; // a third of the server's default lease

interface Report {
  event: string;
  node_key?: string;
  data?: Record<string, unknown>;
  timestamp: string;
}

interface Tried {
  done: boolean;
  again: boolean;
  afterMs: number;
  why: string;
}

export function say(event: string, node_key?: string, data?: Record<string, unknown>): Report {
  return { event, node_key, data, timestamp: new Date().toISOString() };
}

/** Reports one execution. */
export class Reporter {
  status = "queued"; // `cancelling`: somebody asked for the execution to stop
  readonly job: string;
  private readonly base: string;
  private readonly token: string;
  private seq = 0;
  private last: Promise<void> = Promise.resolve();

  constructor(base: string, job: string, token: string) {
    this.base = base;
    this.job = job;
    this.token = token;
  }

  /** Hand events in as one batch; done when the log has them. None: only a sign of life. */
  report(...events: Report[]): Promise<void> {
    // One batch after the other: their numbers have no hole.
    const next = this.last.then(() => this.send(events));
    this.last = next.catch(() => undefined);
    return next;
  }

  /** Say every now and then that this engine lives; returns the way to stop. */
  beat(): () => void {
    const timer = setInterval(() => {
      this.report().catch((error) => console.error("reporter: no sign of life:", error));
    }, BEAT_MS);
    return () => clearInterval(timer);
  }

  /** Repeat a batch until it is answered: one that had arrived is a duplicate for the server. */
  private async send(events: Report[]): Promise<void> {
    const number = events.length > 0 ? { producer_seq: this.seq + 1 } : {};
    const batch = { execution_id: this.job, producer: "ts", ...number, events };
    const body = JSON.stringify(batch);
    const end = Date.now() + PATIENCE_MS;
    for (let wait = FIRST_WAIT_MS; ; wait = Math.min(2 * wait, LONGEST_WAIT_MS)) {
      const tried = await this.try(body);
      if (tried.done) break;
      if (!tried.again || Date.now() > end) throw new Error(tried.why);
      await sleep(Math.max(tried.afterMs, wait * (0.5 + Math.random() / 2)));
    }
    if (events.length > 0) this.seq += 1;
  }

  private async try(body: string): Promise<Tried> {
    const at = (Date.now() / 1000).toFixed(3);
    const signature = createHmac("sha256", this.token).update(`${at}.${body}`).digest("hex");
    try {
      const answer = await fetch(`${this.base}/api/v1/jobs/progress`, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          "X-Tailrace-Job": this.job,
          "X-Tailrace-Timestamp": at,
          "X-Tailrace-Signature": `v1=${signature}`,
        },
        body,
        signal: AbortSignal.timeout(10_000),
      });
      const text = await answer.text();
      if (answer.ok) {
        this.status = (JSON.parse(text) as { status: string }).status;
        return { done: true, again: false, afterMs: 0, why: "" };
      }
      const afterMs = 1000 * Number(answer.headers.get("Retry-After") ?? 0);
      const again = answer.status === 429 || answer.status >= 500;
      return { done: false, again, afterMs, why: `${answer.status}: ${text}` };
    } catch (error) {
      // Cut on the way there or back: nobody knows whether it arrived.
      return { done: false, again: true, afterMs: 0, why: String(error) };
    }
  }
}

/** Announce an execution to the server. */
export async function newJob(base: string, workspace: string, job: object): Promise<Reporter> {
  const credential = process.env.TAILRACE_TOKEN;
  const answer = await fetch(`${base}/api/v1/workspaces/${workspace}/jobs`, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      ...(credential ? { Authorization: `Bearer ${credential}` } : {}),
    },
    body: JSON.stringify(job),
  });
  if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
  const made = (await answer.json()) as { execution_id: string; token: string };
  return new Reporter(base, made.execution_id, made.token);
}

// --- the job that is reported -------------------------------------------------------------------

const LIMIT = 300_000;
const PARTS = 3;

function isPrime(number: number): boolean {
  for (let divisor = 2; divisor * divisor <= number; divisor++) {
    if (number % divisor === 0) return false;
  }
  return number > 1;
}

async function countPart(reporter: Reporter, part: number): Promise<number> {
  const node = `count_${part + 1}`;
  const [from, to] = [(part * LIMIT) / PARTS, ((part + 1) * LIMIT) / PARTS];
  await reporter.report(say("node.started", node));
  let primes = 0;
  for (let number = from; number < to; number++) if (isPrime(number)) primes++;
  const line = `${primes} primes from ${from} to ${to}`;
  await reporter.report(
    say("log.line", node, { line, source: "ts" }),
    say("node.completed", node, { output: { primes } }),
  );
  return primes;
}

async function main(): Promise<void> {
  const base = process.env.TAILRACE_URL ?? "http://127.0.0.1:8787";
  const { TAILRACE_JOB: job, TAILRACE_JOB_TOKEN: token } = process.env;
  const workspace = process.env.TAILRACE_WORKSPACE ?? "default";
  const reporter =
    job && token
      ? new Reporter(base, job, token)
      : await newJob(base, workspace, { flow: "primes", input: { below: LIMIT } });
  console.log(reporter.job);
  const stop = reporter.beat();
  try {
    let primes = 0;
    for (let part = 0; part < PARTS; part++) {
      if (reporter.status === "cancelling") {
        return await reporter.report(say("execution.cancelled", undefined, { by: "ts" }));
      }
      primes += await countPart(reporter, part);
    }
    const output = { below: LIMIT, primes };
    await reporter.report(say("execution.completed", undefined, { output }));
  } finally {
    stop();
  }
}

main().catch((error) => {
  console.error("reporter:", error);
  process.exitCode = 1;
});
