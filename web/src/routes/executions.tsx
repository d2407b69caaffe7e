// All executions of the workspace, alive.
import { Suspense, useEffect, useMemo, useRef, useState } from "react";
import { Link, useLocation } from "wouter";
import type { Row } from "../data/list.ts";
import { useList } from "../data/use.ts";
import { useConnectionShown } from "../parts/connection.tsx";
import { Status } from "../parts/marks.tsx";
import { Empty, Refused } from "../parts/problem.tsx";
import { Ago, Duration } from "../parts/time.tsx";
import { Start } from "../panels/contract.ts";
import { useParam, useTo } from "../url.ts";
import css from "./executions.module.css";

const FILTERS = ["all", "running", "completed", "failed", "cancelled"] as const;

export default function Executions() {
  const [status, setStatus] = useParam("status");
  const [search = "", setSearch] = useParam("q");
  const [starting, setStarting] = useState(false);
  const [, go] = useLocation();
  const to = useTo();
  const list = useList(status);
  useConnectionShown(list.connection);
  useEffect(() => {
    document.title = "Executions · Tailrace";
  }, []);

  const rows = list.rows;
  const shown = useMemo(() => rows.filter((row) => matches(row, status, search)), [rows, status, search]);

  return (
    <div className={css.page}>
      <div className={css.top}>
        <h1 tabIndex={-1}>Executions</h1>
        <div className={css.filters} role="group" aria-label="Status">
          {FILTERS.map((name) => (
            <button
              key={name}
              type="button"
              aria-pressed={(status ?? "all") === name}
              onClick={() => setStatus(name === "all" ? undefined : name, true)}
            >
              {name}
            </button>
          ))}
        </div>
        <input
          className={`input ${css.search}`}
          type="search"
          placeholder="Flow or id"
          aria-label="Search by flow or id"
          value={search}
          onChange={(event) => setSearch(event.target.value)}
        />
        <button type="button" className="button primary" onClick={() => setStarting(true)}>
          Start a flow
        </button>
      </div>
      {list.problem ? (
        <Refused problem={list.problem} />
      ) : list.loaded && shown.length === 0 ? (
        <Nothing filtered={status !== undefined || search !== ""} />
      ) : (
        <Table rows={shown} />
      )}
      {starting && (
        <Dialog title="Start a flow" onClose={() => setStarting(false)}>
          <Suspense fallback={null}>
            <Start onClose={() => setStarting(false)} onStarted={(id) => go(to(`/executions/${id}`))} />
          </Suspense>
        </Dialog>
      )}
    </div>
  );
}

function Nothing({ filtered }: { filtered: boolean }) {
  if (filtered) return <Empty title="None like that">Choose another status, or search for something else.</Empty>;
  return (
    <Empty title="Nothing has run here yet" command="tailrace run etl">
      Start one in a shell that has the same store. It appears here as it happens.
    </Empty>
  );
}

function Table({ rows }: { rows: readonly Row[] }) {
  return (
    <div className={css.scroll}>
      <table className={css.table}>
        <thead>
          <tr>
            <th scope="col">Status</th>
            <th scope="col">Flow</th>
            <th scope="col" className={css.id}>
              Id
            </th>
            <th scope="col" className={css.progress}>
              Progress
            </th>
            <th scope="col" className={css.time}>
              Duration
            </th>
            <th scope="col" className={`${css.time} ${css.when}`}>
              Started
            </th>
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <Line key={row.id} row={row} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Line({ row }: { row: Row }) {
  const href = useTo()(`/executions/${row.id}`);
  return (
    <tr data-execution={row.id} data-status={row.status}>
      <td>
        <Status status={row.status} />
      </td>
      <td>
        <Link href={href} className={css.flow}>
          <span className="clip">{row.flow}</span> <span className="tag">{row.kind}</span>
        </Link>
      </td>
      <td className={`mono muted ${css.id}`} title={row.id}>
        {row.id.length > 12 ? `…${row.id.slice(-8)}` : row.id}
      </td>
      <td className={css.progress}>
        <Progress row={row} />
      </td>
      <td className={css.time}>
        <Duration from={row.started_at ?? row.created_at} to={row.ended_at} />
      </td>
      <td className={`muted ${css.time} ${css.when}`}>
        <Ago at={row.created_at} />
      </td>
    </tr>
  );
}

function Progress({ row }: { row: Row }) {
  const { progress } = row;
  if (!progress || row.ended_at) return null;
  const percent = progress.percent ?? undefined;
  return (
    <span className={css.bar}>
      {percent !== undefined && <progress value={percent} max={100} aria-label={`Progress of ${row.flow}`} />}
      <span className="clip muted">{progress.message ?? `${Math.round(percent ?? 0)} %`}</span>
    </span>
  );
}

/** A dialog of the browser's own: it keeps the focus, and closes with Escape. */
function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: React.ReactNode }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => ref.current?.showModal(), []);
  return (
    <dialog ref={ref} className={css.dialog} aria-label={title} onClose={onClose}>
      <h2>{title}</h2>
      {children}
    </dialog>
  );
}

function matches(row: Row, status: string | undefined, search: string): boolean {
  if (status !== undefined && row.status !== status) return false;
  const wanted = search.toLowerCase();
  return !wanted || row.flow.toLowerCase().includes(wanted) || row.id.toLowerCase().includes(wanted);
}
