// What a flow was started with last, in this browser.
//
// The law of this file: no secret is kept, at any depth; what is large is not kept either.
import { isSecret } from "./schema.ts";

const SIZE_MAX = 20_000;

/** A value without what its names call secret. */
export function withoutSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutSecrets);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([name]) => !isSecret(name))
      .map(([name, one]) => [name, withoutSecrets(one)]),
  );
}

/** Keep an input. */
export function keep(workspace: string, flow: string, input: unknown): void {
  const text = JSON.stringify(withoutSecrets(input)) ?? "";
  try {
    if (text.length <= SIZE_MAX) localStorage.setItem(key(workspace, flow), text);
  } catch {
    // Full, or not allowed: the next form begins with the presets.
  }
}

/** The last input, or undefined. */
export function kept(workspace: string, flow: string): unknown {
  try {
    return JSON.parse(localStorage.getItem(key(workspace, flow)) ?? "") as unknown;
  } catch {
    return undefined;
  }
}

function key(workspace: string, flow: string): string {
  return `tailrace.input.${workspace}.${flow}`;
}
