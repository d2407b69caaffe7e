// The codec, as tests/unit/test_sse.py has it: exact to the standard, however the bytes are cut.
import { expect, test } from "vitest";
import { Decoder, type Message } from "../src/index.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function whole(text: string): { messages: Message[]; decoder: Decoder } {
  const decoder = new Decoder();
  return { messages: decoder.feed(bytes(text)), decoder };
}

const CASES: Array<[string, string, Message[]]> = [
  ["a message without a name", "data: a\n\n", [{ event: "message", data: "a", id: "" }]],
  ["a name and an id", "id: 7\nevent: x\ndata: a\n\n", [{ event: "x", data: "a", id: "7" }]],
  ["lines of data, and an empty one", "data: a\ndata:\ndata: b\n\n", [{ event: "message", data: "a\n\nb", id: "" }]],
  ["one space is taken away, not two", "data:  a\n\n", [{ event: "message", data: " a", id: "" }]],
  ["comments and what is not known", ": no\nwhat: x\ndata: a\n\n", [{ event: "message", data: "a", id: "" }]],
  ["CRLF", "id: 1\r\ndata: a\r\n\r\n", [{ event: "message", data: "a", id: "1" }]],
  ["CR", "id: 1\rdata: a\r\r", [{ event: "message", data: "a", id: "1" }]],
  ["all line ends at once", "data: a\r\n\ndata: b\r\rdata: c\n\r\n", [
    { event: "message", data: "a", id: "" },
    { event: "message", data: "b", id: "" },
    { event: "message", data: "c", id: "" },
  ]],
  ["a byte order mark", "\ufeffdata: a\n\n", [{ event: "message", data: "a", id: "" }]],
  ["an id with NUL is none", "id: a\0b\ndata: a\n\n", [{ event: "message", data: "a", id: "" }]],
  ["a field without a colon", "data\n\n", [{ event: "message", data: "", id: "" }]],
  ["a message that is not ended is none", "data: a\n", []],
  ["a name alone dispatches nothing, and is forgotten", "event: x\n\ndata: a\n\n", [{ event: "message", data: "a", id: "" }]],
  ["text of many bytes", "data: é 漢 🌊\n\n", [{ event: "message", data: "é 漢 🌊", id: "" }]],
]; // prettier-ignore

test.each(CASES)("%s", (_, text, expected) => {
  expect(whole(text).messages).toEqual(expected);
});

test.each(CASES)("cut anywhere: %s", (_, text, expected) => {
  const all = bytes(text);
  for (let first = 0; first <= all.length; first++) {
    for (const second of [first, Math.min(first + 1, all.length), all.length]) {
      const decoder = new Decoder();
      const parts = [all.slice(0, first), all.slice(first, second), all.slice(second)];
      expect(parts.flatMap((part) => decoder.feed(part))).toEqual(expected);
    }
  }
});

test("a block with only an id moves the position and dispatches nothing", () => {
  const { messages, decoder } = whole("id: 5\ndata: a\n\nid: 9\n\n");
  expect(messages).toHaveLength(1);
  expect(decoder.lastEventId).toBe("9");
});

test("an id counts only when its block has ended", () => {
  expect(whole("id: 5\ndata: a\n").decoder.lastEventId).toBe("");
});

test("retry is digits or nothing", () => {
  expect(whole("retry: 1500\n\n").decoder.retryMs).toBe(1500);
  expect(whole("retry: soon\n\nretry: -1\n\n").decoder.retryMs).toBeUndefined();
});

test("what is no UTF-8 is replaced", () => {
  const decoder = new Decoder();
  const broken = new Uint8Array([...bytes("data: "), 0xff, ...bytes("\n\n")]);
  expect(decoder.feed(broken)).toEqual([{ event: "message", data: "\ufffd", id: "" }]);
});

test("a message without an end does not fill the memory", () => {
  const decoder = new Decoder();
  const much = bytes(`data: ${"x".repeat(1024 * 1024)}`);
  expect(() => {
    for (let n = 0; n < 20; n++) decoder.feed(much);
  }).toThrow(RangeError);
});
