// A form's schema, read.
import { expect, test } from "vitest";
import { drawn, Draft, faults, fieldOf, initial, nearest, replaced } from "../src/start/schema.ts";
import { withoutSecrets } from "../src/start/memory.ts";
import { optionsOf, UNSET } from "../src/start/more.tsx";

const ROOT = {
  type: "object",
  required: ["title", "parts"],
  $defs: {
    Part: { type: "object", required: ["name"], properties: { name: { type: "string", minLength: 1 }, width: { type: "integer", default: 10, maximum: 500 } } },
    Tree: { type: "object", properties: { left: { $ref: "#/$defs/Tree" } }, required: ["left"] },
    Colour: { enum: ["red", "blue"], type: "string" },
  },
  properties: {
    title: { type: "string", pattern: "^[A-Z]" },
    parts: { type: "array", items: { $ref: "#/$defs/Part" }, minItems: 1 },
    colour: { $ref: "#/$defs/Colour", default: "red" },
    due: { anyOf: [{ type: "string", format: "date-time" }, { type: "null" }], default: null },
    either: { anyOf: [{ type: "string" }, { type: "integer" }], default: 1 },
    some: { type: ["number", "null"] },
    api_key: { type: "string", default: "" },
  },
};

test("what is drawn for each kind of schema", () => {
  const kind = (name: keyof typeof ROOT.properties) => fieldOf(ROOT.properties[name], ROOT, name).kind;
  expect(["title", "parts", "colour", "due", "either", "some"].map((name) => kind(name as "title"))).toEqual(["text", "list", "choice", "text", "json", "number"]);
  expect(fieldOf(ROOT.properties.due, ROOT)).toMatchObject({ nullable: true, format: "date-time" });
  expect(fieldOf(ROOT.properties.some, ROOT).nullable).toBe(true);
  expect(fieldOf(ROOT.properties.api_key, ROOT, "api_key")).toMatchObject({ secret: true });
  expect(fieldOf({}, ROOT).kind).toBe("json");
  expect(fieldOf({ $ref: "#/$defs/Nowhere" }, ROOT).kind).toBe("json");
});

test("a form begins with the presets, and with nothing invented", () => {
  expect(initial(ROOT, ROOT)).toEqual({ parts: [], colour: "red", due: null, either: 1, api_key: "" });
  expect(initial({ $ref: "#/$defs/Part" }, ROOT)).toEqual({ width: 10 });
  expect(JSON.stringify(initial({ $ref: "#/$defs/Tree" }, ROOT))).toMatch(/left/); // and it ends
});

test("what is wrong is said where it is", () => {
  const wrong = faults(ROOT, ROOT, { title: "low", parts: [{ name: "a", width: 501 }, {}], some: "x", colour: new Draft("{", "end") });
  expect(Object.fromEntries(wrong.map(({ at, message }) => [at, message]))).toEqual({
    title: "It has to match ^[A-Z]",
    "parts.0.width": "At most 500",
    "parts.1.name": "This is needed",
    some: "This is no number",
    colour: "This is no JSON: end",
  });
  expect(faults(ROOT, ROOT, { title: "Up", parts: [{ name: "a" }], due: null })).toEqual([]);
  expect(faults(ROOT, ROOT, { title: "Up", parts: [] })).toEqual([{ at: "parts", message: "At least 1 of them" }]);
});

test("a part of a value is replaced, or taken away", () => {
  const value = { parts: [{ name: "a" }], title: "T" };
  expect(replaced(value, ["parts", 0, "name"], "b")).toEqual({ parts: [{ name: "b" }], title: "T" });
  expect(replaced(value, ["title"], undefined)).toEqual({ parts: [{ name: "a" }] });
  expect(value).toEqual({ parts: [{ name: "a" }], title: "T" });
});

test("a server's fault goes to the nearest field", () => {
  const places = new Set(drawn(ROOT, ROOT, { parts: [{ name: "a" }] }));
  expect(nearest("parts.0.width", places)).toBe("parts.0.width");
  expect(nearest("either.int", places)).toBe("either");
  expect(nearest("elsewhere", places)).toBe("");
});

test("no secret is kept, at any depth", () => {
  const given = { user: "a", password: "x", deep: [{ apiKey: "x", access_token: "x", tokens: 3 }], passage: "p", author: "a" };
  expect(withoutSecrets(given)).toEqual({ user: "a", deep: [{ tokens: 3 }], passage: "p", author: "a" });
});

test("only what was chosen is sent", () => {
  expect(optionsOf(UNSET)).toEqual({});
  expect(optionsOf({ ...UNSET, deadline: "1.5", priority: "high", ephemeral: true })).toEqual({ deadline_ms: 1500, priority: "high", ephemeral: true });
});
