// A node, a closed group, and the frame of an open one.
//
// The law of this file: a card says how it stands by a mark, a word and a colour; it draws itself
// anew only when that changed.
import type { NodeState } from "@tailrace/client";
import type { Node, NodeProps } from "@xyflow/react";
import { createContext, memo, useContext, useEffect, useState, useSyncExternalStore, type CSSProperties } from "react";
import { colourOf, Mark, wordOf } from "../../parts/marks.tsx";
import { duration, Duration, useNow } from "../../parts/time.tsx";
import { notes, perSecond, progressOf } from "./facts.ts";
import { momentAt, useCounts, useFeed, useNode } from "./feed.ts";
import { useFocus } from "./focus.ts";
import type { Group } from "./groups.ts";
import { KindMark } from "./kinds.tsx";
import type { Point } from "./layout.ts";
import type { GraphNode } from "./model.ts";
import css from "./graph.module.css";

/** `framed`: so much of its name stands on the frame around it. */
export type CardNode = Node<{ node: GraphNode; framed: number }, "card">;
export type GroupNode = Node<{ group: Group }, "group">;
export type RegionNode = Node<{ group: Group }, "region">;

/** From how far it is looked at: from far, only large names are read; from very far, none is drawn. */
export type Distance = "near" | "far" | "very far";
export const DistanceContext = createContext<Distance>("near");

export const Card = memo(function Card({ data: { node, framed } }: NodeProps<CardNode>) {
  const { status, state } = useNode(node.id);
  const focus = useFocus(node.id);
  const { percent } = progressOf(state);
  const runs = status === "running";
  const distance = useContext(DistanceContext);
  const far = distance !== "near";
  return (
    <button
      {...focus}
      type="button"
      className={css.card}
      data-node={node.id}
      data-status={status}
      data-kind={node.kind}
      data-mapped={node.mapped || undefined}
      title={[node.id, node.summary].filter(Boolean).join("\n")}
    >
      <Mark status={status} alone={far} />
      {distance === "near" ? (
        <Near node={node} status={status} state={state} framed={framed} />
      ) : (
        <span className={distance === "far" ? css.farName : "unseen"}>{node.id.slice(node.id.lastIndexOf("/") + 1)}</span>
      )}
      {runs && percent !== undefined && (
        <span className={css.progress} role="progressbar" aria-label="Progress" aria-valuenow={Math.floor(percent)} aria-valuemin={0} aria-valuemax={100}>
          <span style={{ width: `${percent}%` }} />
        </span>
      )}
      {runs && node.streaming && <Pulse id={node.id} />}
    </button>
  );
});

interface Shown {
  node: GraphNode;
  status: string;
  state: NodeState | undefined;
}

/** What is read only from near. */
function Near({ node, status, state, framed }: Shown & { framed: number }) {
  const cut = Math.max(node.id.lastIndexOf("/") + 1, framed);
  return (
    <>
      <span className={css.line}>
        <span className={css.title}>
          {framed > 0 && <span className="unseen">{node.id.slice(0, framed)}</span>}
          {cut > framed && <span className={css.prefix}>{node.id.slice(framed, cut)}</span>}
          <span className={css.name}>{node.id.slice(cut)}</span>
        </span>
        <span className={css.kinds}>
          {node.streaming && <KindMark kind="stream" />}
          {node.mapped && <KindMark kind="map" />}
          <KindMark kind={node.kind} />
        </span>
      </span>
      <span className={css.line}>
        <span className={css.facts}>
          <Facts node={node} status={status} state={state} />
        </span>
        <span className={css.time}>{state && <Ran state={state} />}</span>
      </span>
    </>
  );
}

function Facts({ node, status, state }: Shown) {
  const said = notes(node, state);
  const word = node.kind === "trigger" ? "the flow's input" : wordOf(status);
  return (
    <>
      <span className={css.word} style={{ color: status === "new" || status === "not_run" || node.kind === "trigger" ? undefined : colourOf(status) }}>
        {word}
      </span>
      {status === "running" && <Rate id={node.id} />}
      {said.map((note) => (
        <span key={note} className={css.note} title={note}>
          {note}
        </span>
      ))}
    </>
  );
}

/** How fast values, or text, come out of it. */
function Rate({ id }: { id: string }) {
  const rate = useRate(id);
  return rate === undefined ? null : <span className={`${css.note} number`} data-rate={rate}>{perSecond(rate)}</span>;
}

/** A ring that beats as fast as values come, within what is pleasant. */
function Pulse({ id }: { id: string }) {
  const rate = useRate(id) ?? 1;
  const beat = Math.min(Math.max(1.6 / Math.sqrt(Math.max(rate, 0.2)), 0.4), 2.4);
  return <span className={css.pulse} data-testid="pulse" style={{ "--beat": `${beat.toFixed(1)}s` } as CSSProperties} />;
}

/** The rate as it is each second: a number that flickers tells nobody anything. */
function useRate(id: string): number | undefined {
  const feed = useFeed();
  const second = useNow();
  const key = useSyncExternalStore(feed.subscribe, () => feed.position ?? -second);
  const any = useSyncExternalStore(feed.subscribe, () => feed.rate(id) !== undefined);
  const [rate, setRate] = useState<number>();
  useEffect(() => setRate(feed.rate(id)), [feed, id, key, any]);
  return rate;
}

/** How long it ran, or runs. */
function Ran({ state }: { state: NodeState }) {
  const feed = useFeed();
  const open = state.status === "running" || state.status === "retrying";
  // Of a position in the log, and of what never said that it ended, there is a moment to stop at.
  const stop = useSyncExternalStore(feed.subscribe, () =>
    !open ? null : feed.position !== null ? new Date(momentAt(feed.store, feed.position)).toISOString() : feed.state.ended_at,
  );
  const from = state.tries[0]?.started_at ?? state.started_at;
  if (state.duration_ms !== null) return <span className="number">{duration(state.duration_ms)}</span>;
  if (from === null || (!open && state.ended_at === null)) return null;
  return <Duration from={from} to={open ? stop : state.ended_at} />;
}

export const GroupCard = memo(function GroupCard({ data: { group } }: NodeProps<GroupNode>) {
  const counts = useCounts(group.leaves);
  const focus = useFocus(group.id);
  const many = group.leaves.length;
  const settled = counts.filter(([status]) => status !== "new");
  return (
    <button {...focus} type="button" className={`${css.card} ${css.group}`} data-group={group.id} aria-expanded={false} title={`Open ${group.label}`}>
      <svg viewBox="0 0 14 14" width="14" height="14" aria-hidden className={css.chevron}>
        <path d="M5 3l4 4-4 4" fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round" />
      </svg>
      <span className={css.title}>
        <span className={css.name}>{group.label}</span>
      </span>
      <span className={`${css.kinds} number`}>{many.toLocaleString("en")} nodes</span>
      <span className={css.counts}>
        {settled.length === 0 && <span className={css.word}>waiting</span>}
        {settled.map(([status, count]) => (
          <span key={status} className={css.count} title={wordOf(status)}>
            <Mark status={status} size={11} alone />
            <span className="number">{count.toLocaleString("en")}</span>
          </span>
        ))}
      </span>
      <span className={css.stack} aria-hidden>
        {settled.map(([status, count]) => (
          <span key={status} style={{ width: `${(100 * count) / many}%`, background: colourOf(status) }} />
        ))}
      </span>
    </button>
  );
});

export const Region = memo(function Region({ data: { group } }: NodeProps<RegionNode>) {
  return <div className={css.region} data-kind={group.kind} />;
});

/** The name on a frame, which closes it; above the edges. */
export function RegionName({ group, at }: { group: Group; at: Point }) {
  const { toggle } = useFeed();
  return (
    <button
      type="button"
      className={css.regionName}
      onClick={() => toggle(group.id, false)}
      aria-expanded
      title={`Close ${group.label}`}
      style={{ transform: `translate(${at.x + 12}px, ${at.y}px) translateY(-50%)` }}
    >
      <svg viewBox="0 0 14 14" width="10" height="10" aria-hidden>
        <path d="M3 5l4 4 4-4" fill="none" stroke="currentColor" strokeWidth="1.8" strokeLinecap="round" strokeLinejoin="round" />
      </svg>
      {group.label}
      <span className="number">{group.leaves.length.toLocaleString("en")}</span>
    </button>
  );
}
