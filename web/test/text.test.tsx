// What was said, put together: without a browser.
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it, vi } from "vitest";
import type { TailraceEvent } from "@tailrace/client";
import type { Piece } from "../src/data/execution.ts";
import { SAID_CHARS, Speech, TEXT_MAX } from "../src/panels/text/compose.ts";
import { rateOf } from "../src/panels/text/items.tsx";
import { preview } from "../src/panels/text/json.tsx";
import { anchor, Blocks, Marked } from "../src/panels/text/markdown.tsx";
import { patched, PatchError } from "../src/panels/text/patch.ts";
import { Plain } from "../src/panels/text/settle.ts";

// Panels know their server from the page's address; here is no page.
vi.hoisted(() => vi.stubGlobal("document", { baseURI: "http://127.0.0.1/ui/" }));

const AT = (id: number) => new Date(1_700_000_000_000 + 100 * id).toISOString();

function piece(id: number, text: string, node?: string, attempt = 1): Piece {
  return { id, ts: AT(id), node, attempt, offset: 0, text };
}

function event(id: number, type: string, data: Record<string, unknown>, node?: string): TailraceEvent {
  return { id, type, ts: AT(id), execution_id: "X", ...(node ? { node } : {}), data };
}

/** Markdown as it is drawn, when the text comes in pieces of some size. */
function drawn(text: string, size = text.length): string {
  const pieces: string[] = [];
  const marked = new Marked();
  for (let at = 0; at < text.length; at += size) {
    pieces.push(text.slice(at, at + size));
    marked.take(pieces);
  }
  return renderToStaticMarkup(
    <>
      {[...marked.settled, marked.tail].map((tokens, place) => (
        <Blocks key={place} tokens={tokens} />
      ))}
    </>,
  );
}

describe("a speech", () => {
  const store = () => ({
    pieces: [piece(2, "It "), piece(3, "is "), piece(6, "fine."), piece(8, "Other", "look up"), piece(9, "again", "look up", 2)],
    others: [
      event(4, "tool.call", { call_id: "run-1", name: "zones", input: { country: "BR" } }),
      event(5, "tool.result", { call_id: "run-1", name: "zones", output: [1], duration_ms: 3 }),
      event(7, "llm.usage", { input_tokens: 10, output_tokens: 4 }),
      event(10, "llm.usage", { input_tokens: null, output_tokens: 6 }),
      event(11, "custom.done", { n: 1 }),
    ],
  });

  it("joins text by node and attempt, with tools where they were used", () => {
    const speech = new Speech();
    expect(speech.take(store(), Infinity)).toBe(true);
    const told = speech.sections.map(({ node, attempt, superseded, parts }) => [
      node ?? "",
      attempt,
      superseded,
      ...parts.map((part) => (part.kind === "text" ? part.pieces.join("") : part.kind === "tool" ? part.call.data.name : part.event.type)),
    ]);
    expect(told).toEqual([
      ["", 1, false, "It is ", "zones", "fine.", "custom.done"],
      ["look up", 1, true, "Other"],
      ["look up", 2, false, "again"],
    ]);
    const tool = speech.sections[0]!.parts[1]!;
    expect(tool.kind === "tool" && tool.result?.data.output).toEqual([1]);
    expect(speech.usage).toEqual({ input: 10, output: 10, told: true });
    expect(speech.text).toBe("It is fine.again");
  });

  it("is the same taken bit by bit, and goes back when the scrubber does", () => {
    const whole = store();
    const speech = new Speech();
    for (let upTo = 1; upTo <= 11; upTo++) speech.take(whole, upTo);
    const once = new Speech();
    once.take(whole, Infinity);
    const stripped = (one: Speech) => one.sections.map(({ version: _, ...rest }) => rest);
    expect(stripped(speech)).toEqual(stripped(once));
    speech.take(whole, 4);
    const tool = speech.sections[0]!.parts[1]!;
    expect(tool.kind === "tool" && tool.result).toBeUndefined();
    expect([speech.text, speech.usage.told]).toEqual(["It is ", false]);
  });

  it("grows a structured output, and says so when it cannot", () => {
    const speech = new Speech();
    const delta = (id: number, patch: unknown) => event(id, "structured.delta", { patch });
    const others = [
      delta(1, [{ op: "replace", path: "", value: { sections: [] } }]),
      delta(2, [{ op: "add", path: "/sections/-", value: { title: "A" } }]),
    ];
    speech.take({ pieces: [], others }, Infinity);
    expect(speech.sections[0]!.document).toEqual({ sections: [{ title: "A" }] });
    others.push(delta(3, [{ op: "replace", path: "/sections/7/title", value: "B" }]));
    const again = new Speech();
    again.take({ pieces: [], others }, Infinity);
    expect(again.sections[0]!.broken).toContain("there is no 7");
  });

  it("is bounded", () => {
    const text = "x".repeat(SAID_CHARS - 2) + "\n\n";
    const speech = new Speech();
    const pieces = Array.from({ length: 300 }, (_, place) => piece(place + 1, text));
    speech.take({ pieces, others: [] }, Infinity);
    expect(speech.chars).toBe(300 * SAID_CHARS);
    expect(speech.text.length).toBeLessThanOrEqual(TEXT_MAX);
    expect(speech.text.length).toBeGreaterThan(TEXT_MAX - 3 * SAID_CHARS);
  });

  it("tells its rate by the log's times", () => {
    const speech = new Speech();
    speech.take({ pieces: [1, 2, 3, 4, 5].map((id) => piece(id, "12345")), others: [] }, Infinity);
    expect(speech.rate).toBe(50); // 5 characters every 100 ms
    expect(rateOf([1, 2, 3, 4].map((id) => ({ ts: AT(id) })))).toBe(10);
  });
});

describe("JSON Patch", () => {
  it("does what RFC 6902 says, and shares what it does not touch", () => {
    const before = { a: [1, 2], "x/y~": { deep: true } };
    const now = patched(before, [
      { op: "add", path: "/a/1", value: 9 },
      { op: "add", path: "/a/-", value: 3 },
      { op: "remove", path: "/a/0" },
      { op: "add", path: "/__proto__", value: 1 },
    ]) as typeof before;
    expect(now.a).toEqual([9, 2, 3]);
    expect(Object.keys(now)).toEqual(["a", "x/y~", "__proto__"]);
    expect(now["x/y~"]).toBe(before["x/y~"]);
    expect(before.a).toEqual([1, 2]);
    expect(patched(before, [{ op: "move", from: "/x~1y~0/deep", path: "/b" }])).toEqual({ a: [1, 2], "x/y~": {}, b: true });
    expect(patched({ a: 1 }, [{ op: "copy", from: "/a", path: "/b" }, { op: "test", path: "/b", value: 1 }])).toEqual({ a: 1, b: 1 });
    expect(patched(5, [{ op: "remove", path: "" }])).toBeNull();
  });

  it("refuses what does not fit", () => {
    for (const [op, path] of [["replace", "/a"], ["remove", "/a"], ["add", "/l/5"], ["add", "/l/01"], ["add", "no"], ["test", "/l"], ["odd", "/l"], ["add", "/l/0/x"]] as const) {
      expect(() => patched({ l: [1] }, [{ op, path, value: 1 }]), `${op} ${path}`).toThrow(PatchError);
    }
  });
});

describe("Markdown", () => {
  const TEXT = "# Tides\n\nThe *sea* `rises`:\n\n- one\n- two\n  - deep\n\n1. first\n2. second\n\n```py\nx = 1\n\n\ny = 2\n```\n\n| a | b |\n|---|--:|\n| 1 | **2** |\n\n> quoted\n\nSetext\n===\nend";

  it("is the same however it comes", () => {
    const whole = drawn(TEXT);
    for (const size of [1, 2, 3, 7, 50]) expect(drawn(TEXT, size), `in pieces of ${size}`).toBe(whole);
    expect(whole).toContain("<h3 data-depth=\"1\">Tides</h3>");
    expect(whole).toContain("<em>sea</em>");
    expect(whole).toContain("<code>x = 1\n\n\ny = 2</code>");
    expect(whole).toContain('<td data-align="right"><strong>2</strong></td>');
  });

  it("has no HTML of the text's, no script's link, no picture from elsewhere", () => {
    const html = drawn('<script>alert(1)</script>\n\na <b onclick="x()">b</b> [go](javascript:alert(1)) ![p](https://e.org/p.png) [ok](https://e.org) <img src=x onerror=y>');
    expect(html).not.toMatch(/<(script|b|img)[ >]/);
    expect(html).toContain("&lt;script&gt;");
    expect(html).not.toContain("href=\"javascript");
    expect(html).toContain('<a href="https://e.org" target="_blank" rel="noopener noreferrer nofollow"');
    expect(renderToStaticMarkup(<>{anchor("data:text/html,x", "y")}</>)).toBe('<span title="data:text/html,x">y</span>');
  });

  it("settles what cannot change: 1 MB in 10,000 pieces costs little", () => {
    const marked = new Marked();
    const pieces: string[] = [];
    const began = performance.now();
    for (let number = 0; number < 10_000; number++) {
      pieces.push(`Paragraph **${number}** of a text that does not want to end, and goes on.\n${number % 3 ? "" : "\n- a point\n\n"}`);
      marked.take(pieces);
    }
    expect(marked.settled.length).toBeGreaterThan(3000);
    expect(performance.now() - began).toBeLessThan(5000); // quadratic would be minutes
  });
});

describe("plain text", () => {
  it("is cut at line ends, never within a character, and is all there", () => {
    const plain = new Plain();
    const pieces: string[] = [];
    for (let number = 0; number < 3000; number++) pieces.push(number % 100 ? "🌊 wave " : "\n");
    pieces.push("🌊".repeat(100_000));
    for (let upTo = 1; upTo <= pieces.length; upTo += 7) plain.take(pieces.slice(0, upTo));
    plain.take(pieces);
    expect(plain.settled.length).toBeGreaterThan(3);
    expect([...plain.settled, plain.tail].join("")).toBe(pieces.join(""));
    for (const block of plain.settled) expect(encodeURIComponent(block)).toBeTruthy(); // throws within a character
  });
});

describe("a value in a line", () => {
  it("is short", () => {
    expect([preview({ a: 1 }), preview("x".repeat(200), 3), preview(null)]).toEqual(['{"a":1}', "xxx…", "null"]);
  });
});
