// What kind of node it is: a small picture and a word.
import type { ReactNode } from "react";
import type { Kind } from "./model.ts";

const WORDS: Record<Kind, string> = {
  trigger: "input",
  inline: "inline",
  activity: "activity",
  subflow: "subflow",
  capture: "output",
  learned: "step",
};

export function kindWord(kind: Kind): string {
  return WORDS[kind] ?? kind;
}

const line = { fill: "none", stroke: "currentColor", strokeWidth: 1.3, strokeLinecap: "round", strokeLinejoin: "round" } as const;

const PICTURES: Partial<Record<Kind | "stream" | "map", ReactNode>> = {
  trigger: <path d="M7.6 1.8L3.4 7.8h3l-.6 4.4 4.8-6.6H7.2z" {...line} />,
  inline: <path d="M8.9 2.6c-1.6-.4-2 .6-2.3 2.2L5.8 10c-.3 1.4-.9 1.9-2 1.5M4.4 6h4.4" {...line} />,
  activity: <path d="M7 4.9a2.1 2.1 0 1 0 0 4.2 2.1 2.1 0 0 0 0-4.2zM7 1.8v1.6M7 10.6v1.6M1.8 7h1.6M10.6 7h1.6M3.3 3.3l1.2 1.2M9.5 9.5l1.2 1.2M3.3 10.7l1.2-1.2M9.5 4.5l1.2-1.2" {...line} />,
  subflow: <path d="M2 4.2h4.2v4.2H2zM7.8 5.6H12v4.2H7.8zM6.2 6.3h1.6" {...line} />,
  capture: <path d="M3.4 12V2.4h7l-1.8 2.4 1.8 2.4h-7" {...line} />,
  stream: <path d="M2 5c1.7-1.7 3.3-1.7 5 0s3.3 1.7 5 0M2 9c1.7-1.7 3.3-1.7 5 0s3.3 1.7 5 0" {...line} />,
  map: <path d="M4.2 4.200h7.600v7.600H4.200zM2.2 9.600V2.200h7.4" {...line} />,
};

/** A kind's picture; its word is its title, and for screen readers stands beside it. */
export function KindMark({ kind }: { kind: Kind | "stream" | "map" }) {
  const picture = PICTURES[kind];
  if (!picture) return null;
  const word = kind === "stream" ? "streaming" : kind === "map" ? "for each item" : kindWord(kind);
  return (
    <svg viewBox="0 0 14 14" width="14" height="14" role="img" aria-label={word}>
      <title>{word}</title>
      {picture}
    </svg>
  );
}
