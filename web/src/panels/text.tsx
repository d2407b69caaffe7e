// What came out: text as it is said, tools where they were used, values, and the output.
//
// The law of this file: it draws what a speech (text/compose.ts) has put together; what is settled
// is not drawn again. Markdown is a way to look at a text, and a switch; its reader is loaded when
// it is first wanted.
import { hasEnded, type ExecutionState, type OutputSummary } from "@tailrace/client";
import { lazy, memo, Suspense, useEffect, useMemo, useRef, useState } from "react";
import type { ExecutionStore } from "../data/execution.ts";
import { copied } from "../parts/clipboard.ts";
import { Mark, wordOf } from "../parts/marks.tsx";
import { Copy, Empty } from "../parts/problem.tsx";
import { duration, tookOf } from "../parts/time.tsx";
import type { PanelProps } from "./contract.ts";
import { useFollow, useStored } from "./follow.ts";
import { Aside, Note, ToolCard } from "./text/cards.tsx";
import { Speech, type Part, type Said, type Section } from "./text/compose.ts";
import { Figures } from "./text/figures.tsx";
import { Items } from "./text/items.tsx";
import { Json } from "./text/json.tsx";
import { Plain } from "./text/settle.ts";
import css from "./text/text.module.css";

const Marked = lazy(() => import("./text/marked.tsx"));

export default function Text({ store, state, position }: PanelProps) {
  const speech = useMemo(() => new Speech(), [store, store.pieces]);
  speech.take(store, position ?? Infinity);
  const [markdown, setMarkdown] = useStored("text.markdown", true);
  const scroller = useRef<HTMLDivElement>(null);
  const over = hasEnded(state);
  const { following, follow } = useFollow(scroller, false);
  const spoken = speech.sections.length > 0;
  // What is said is followed; what had ended before one came is read from its beginning, and values
  // have their newest on top.
  const { phase } = store.connection;
  const begun = useRef(false);
  useEffect(() => {
    if (begun.current || !spoken || phase === "connecting" || phase === "catching-up") return;
    begun.current = true;
    if (!over) follow(true);
  }, [spoken, over, phase, follow]);
  const items = position === null ? store.items : store.items.filter((item) => item.id! <= position);
  const { sections } = speech;
  const empty = sections.length === 0 && items.length === 0 && !over;
  return (
    <div className={css.panel}>
      {spoken && (
        <div className={css.bar} role="toolbar" aria-label="Output">
          <Figures speech={speech} live={!over && position === null} />
          <span className={css.space} />
          {speech.chars > 0 && (
            <>
              <button type="button" className={`button ${css.toggle}`} aria-pressed={markdown} onClick={() => setMarkdown(!markdown)}>
                Markdown
              </button>
              <CopyText speech={speech} />
            </>
          )}
          <button type="button" className={`button ${css.toggle}`} aria-pressed={following} onClick={() => follow(!following)}>
            <span className={css.dot} aria-hidden />
            Follow
          </button>
        </div>
      )}
      <div className={css.room}>
        <div ref={scroller} className={css.scroller} role="region" aria-label="Output" tabIndex={0}>
          {empty ? (
            <Empty title="Nothing came out yet">Text, tools, values and the output appear here as they come.</Empty>
          ) : (
            <div className={css.column}>
              {sections.map((section) => (
                <SectionView
                  key={section.key}
                  section={section}
                  version={section.version}
                  named={sections.length > 1 || section.node !== undefined || section.attempt > 1}
                  flow={state.flow}
                  markdown={markdown}
                  over={over}
                  speaking={!over && position === null && section === sections.at(-1)}
                  execution={store.id}
                />
              ))}
              {(items.length > 0 || state.item_count > 0) && <Items items={items} total={state.item_count} live={!over} execution={store.id} />}
              {over && <Output state={state} speech={speech} store={store} />}
            </div>
          )}
        </div>
        {!following && !over && spoken && (
          <button type="button" className={`button ${css.jump}`} onClick={() => follow(true)}>
            Jump to latest
          </button>
        )}
      </div>
    </div>
  );
}

interface SectionProps {
  section: Section;
  /** Changes with the section, which moves on in place. */
  version: number;
  named: boolean;
  flow: string;
  markdown: boolean;
  over: boolean;
  speaking: boolean;
  execution: string;
}

const SectionView = memo(function SectionView({ section, named, flow, markdown, over, speaking, execution }: SectionProps) {
  const { node, attempt, parts, document, broken, superseded } = section;
  const [most, setMost] = useState(DRAWN_CHARS);
  const name = node ?? flow;
  const first = firstDrawn(parts, most);
  if (over && parts.length === 0 && !broken) return null; // it made the output, which stands below
  return (
    <section className={css.section} aria-label={`${name}${attempt > 1 ? `, attempt ${attempt}` : ""}`} data-superseded={superseded || undefined} data-speaker={node ?? ""}>
      {named && (
        <h2 className={css.speaker}>
          <span>{name}</span>
          {attempt > 1 && <span className="tag">attempt {attempt}</span>}
          {superseded && <span className="tag">said anew by a later attempt</span>}
        </h2>
      )}
      {first > 0 && (
        <button type="button" className="button" onClick={() => setMost(8 * most)}>
          Show what was said before
        </button>
      )}
      {parts.slice(first).map((part) => (
        <PartView
          key={part.key}
          part={part}
          markdown={markdown}
          over={over}
          last={speaking && part === parts.at(-1)}
          execution={execution}
          size={part.kind === "text" ? part.pieces.length : 0}
        />
      ))}
      {document !== undefined && !over && (
        <div className={css.document} data-testid="document">
          <p className={css.making}>Output so far</p>
          <Json value={document} open={3} label="Output so far" />
        </div>
      )}
      {broken && <p className={css.making}>The output under construction cannot be shown further: {broken}.</p>}
    </section>
  );
});

/** How much text is drawn of a section at first: the newest. A call or a note counts as much as 1 kB. */
const DRAWN_CHARS = 512 * 1024;

function firstDrawn(parts: readonly Part[], most: number): number {
  let first = parts.length;
  for (let chars = 0; first > 0 && chars < most; ) {
    const part = parts[--first]!;
    chars += part.kind === "text" ? part.chars : 1024;
  }
  return first;
}

interface PartProps {
  part: Part;
  markdown: boolean;
  over: boolean;
  last: boolean;
  execution: string;
  /** Changes with a text, which moves on in place. */
  size: number;
}

const PartView = memo(function PartView({ part, markdown, over, last, execution, size }: PartProps) {
  if (part.kind === "tool") return <ToolCard used={part} over={over} execution={execution} />;
  if (part.kind === "note") return <Note noted={part} />;
  const plain = <PlainText said={part} size={size} speaking={last} />;
  if (!markdown) return plain;
  return (
    <Suspense fallback={plain}>
      <Marked said={part} size={size} speaking={last} />
    </Suspense>
  );
});

function PlainText({ said, speaking }: { said: Said; size: number; speaking: boolean }) {
  const text = useMemo(() => new Plain(), [said]);
  text.take(said.pieces);
  return (
    <div className={css.said} data-testid="said" data-speaking={speaking || undefined}>
      {text.settled.map((block, place) => (
        <PlainBlock key={place} text={block} />
      ))}
      <span>{text.tail}</span>
    </div>
  );
}

const PlainBlock = memo(function PlainBlock({ text }: { text: string }) {
  return <div className={css.block}>{text.replace(/\n$/, "")}</div>;
});

/** Copies what was said; joined only when it is wanted. */
function CopyText({ speech }: { speech: Speech }) {
  const [done, setDone] = useState<boolean>();
  const copy = async () => {
    setDone(await copied(speech.text));
    setTimeout(() => setDone(undefined), 1500);
  };
  return (
    <button type="button" className="button" onClick={() => void copy()}>
      <span aria-live="polite">{done === undefined ? "Copy text" : done ? "Copied" : "Not allowed"}</span>
    </button>
  );
}

/** How it ended, and with what. */
function Output({ state, speech, store }: { state: ExecutionState; speech: Speech; store: ExecutionStore }) {
  const end = state.end ?? {};
  const took = tookOf(state);
  const summary = end.output_summary as OutputSummary | null | undefined;
  const { output } = state;
  const said = typeof output === "string" && output.length === speech.chars && output === speech.text;
  const there = output !== null && output !== undefined;
  return (
    <section className={css.output} aria-label="Final output">
      <p className={css.ended}>
        <Mark status={state.status} />
        {wordOf(state.status)}
        {took !== undefined && <span className="muted number">after {duration(took)}</span>}
        {said && <span className="muted">· the text above is the output</span>}
        {!there && !summary && store.items.length === 0 && !state.error && <span className="muted">· without an output</span>}
      </p>
      {state.error && (
        <p className={css.failure}>
          <strong>{state.error.type}</strong> {state.error.message}
        </p>
      )}
      {summary ? (
        <Aside summary={summary} label="Output" execution={store.id} />
      ) : there && !said ? (
        typeof output === "string" ? (
          <div className={css.string}>
            <div className={css.copy}>
              <Copy text={output} label="Copy output" />
            </div>
            <pre tabIndex={0}>{output}</pre>
          </div>
        ) : (
          <Json value={output} open={3} label="Output" />
        )
      ) : null}
    </section>
  );
}
