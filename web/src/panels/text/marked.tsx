// A text as Markdown. Loaded when Markdown is first wanted: with it comes `marked`.
import { useMemo } from "react";
import type { Said } from "./compose.ts";
import { Blocks, Marked } from "./markdown.tsx";
import css from "./text.module.css";

export default function MarkedText({ said, speaking }: { said: Said; size: number; speaking: boolean }) {
  const text = useMemo(() => new Marked(), [said]);
  text.take(said.pieces);
  return (
    <div className={css.marked} data-testid="said" data-speaking={speaking || undefined}>
      {text.settled.map((tokens, place) => (
        <Blocks key={place} tokens={tokens} />
      ))}
      <Blocks key="tail" tokens={text.tail} />
    </div>
  );
}
