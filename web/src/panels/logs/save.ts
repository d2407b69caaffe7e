// Lines as text, to be copied or kept.
//
// The law of this file: what is copied is what a terminal would have shown, without its colours;
// what the server gives is byte for byte what it has.
import type { TailraceClient } from "@tailrace/client";
import { plain } from "./ansi.ts";
import type { LogView } from "./view.ts";

/** What goes to the clipboard at most: more is a file's. */
export const COPY_CHARS_MAX = 8 * 1024 * 1024;

/** The text of some rows, each with its line end; cut where a limit is. */
export function textOf(view: LogView, from: number, to: number, most = Infinity): { text: string; lines: number } {
  const parts: string[] = [];
  let length = 0;
  let row = from;
  for (; row < to; row++) {
    const text = plain(view.lines.textAt(view.indexOf(row)));
    length += text.length + 1;
    if (length > most) break;
    parts.push(text, "\n");
  }
  return { text: parts.join(""), lines: row - from };
}

/** Hand a text to the browser as a file. */
export function keep(text: Blob, name: string): void {
  const url = URL.createObjectURL(text);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** The execution's whole log as the server gives it. Throws what the server says. */
export async function fromServer(client: TailraceClient, executionId: string): Promise<Blob> {
  const url = `${client.in("executions", executionId, "logs")}?follow=false`;
  const answer = await fetch(url, { headers: { Accept: "text/plain" } });
  if (!answer.ok) throw new Error(`The server answered ${answer.status} to ${url}.`);
  return answer.blob();
}
