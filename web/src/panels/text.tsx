// What came out: the text that was said, values, and at the end the output. First version.
import { Empty } from "../parts/problem.tsx";
import type { PanelProps } from "./contract.ts";
import css from "./panels.module.css";

export default function Text({ store, state, position }: PanelProps) {
  const upTo = position ?? Infinity;
  const text = store.pieces.filter((piece) => piece.id <= upTo).map((piece) => piece.text).join("");
  const items = store.items.filter((item) => item.id! <= upTo).slice(-200);
  const output = state.end && "output" in state.end ? state.output : undefined;
  if (!text && items.length === 0 && output === undefined) {
    return <Empty title="Nothing came out yet">Text, values and the output appear here as they come.</Empty>;
  }
  return (
    <div className={css.text}>
      {text && <div className={css.said}>{text}</div>}
      {items.length > 0 && (
        <ol aria-label="Values">
          {items.map((item) => (
            <li key={item.id}>
              <code>{JSON.stringify(item.data.value)}</code>
            </li>
          ))}
        </ol>
      )}
      {output !== undefined && output !== null && (
        <section>
          <h2>Output</h2>
          <pre>{JSON.stringify(output, null, 2)}</pre>
        </section>
      )}
    </div>
  );
}
