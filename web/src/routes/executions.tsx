// All executions of the workspace, alive.
//
// The law of this file: which of them are shown is in the URL; what the list knows comes from the
// store, and what is not known yet is not said to be nothing.
import { Suspense, useCallback, useEffect, useMemo, useRef, useState } from "react";
import { useLocation } from "wouter";
import { ALL, type Row } from "../data/list.ts";
import { useList } from "../data/use.ts";
import { useMayRun } from "../data/workspace.ts";
import { counted, matches, type Filters } from "../list/filters.ts";
import { Summary } from "../list/summary.tsx";
import { Table } from "../list/table.tsx";
import { Toolbar } from "../list/toolbar.tsx";
import { CancelDialog } from "../parts/cancel.tsx";
import { useConnectionShown } from "../parts/connection.tsx";
import { Dialog } from "../parts/dialog.tsx";
import { Empty, Refused } from "../parts/problem.tsx";
import { wordOf } from "../parts/marks.tsx";
import { Start } from "../panels/contract.ts";
import { useTo, useParam, useSetParams } from "../url.ts";
import css from "./executions.module.css";

export default function Executions() {
  const [status = ALL] = useParam("status");
  const [kind = ""] = useParam("kind");
  const [flow = ""] = useParam("flow");
  const [search = ""] = useParam("q");
  const setParams = useSetParams();
  const [starting, setStarting] = useParam("start");
  const [cancelling, setCancelling] = useState<Row>();
  const [, go] = useLocation();
  const href = useTo();
  const mayRun = useMayRun();
  const list = useList();
  useConnectionShown(list.connection);
  const searchField = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = "Executions · Tailrace";
  }, []);
  useSlash(searchField);
  useEffect(() => {
    // How many run is said above everything, however far back they began.
    if (list.loaded && !list.isWhole("running")) void list.more("running");
  }, [list, list.loaded]);

  const filters: Filters = useMemo(() => ({ status, kind, flow, search }), [status, kind, flow, search]);
  const known = list.covered(status);
  const rows = useMemo(() => known.filter((row) => matches(row, filters)), [known, filters]);
  const counts = counted(list, status);
  const choose = useCallback(
    (changed: Partial<Filters>) => {
      const { search: q, ...rest } = changed;
      const params = { ...rest, ...(q === undefined ? {} : { q }) };
      // Each letter of a search replaces the entry; what is chosen is one of its own.
      setParams(
        Object.fromEntries(Object.entries(params).map(([name, value]) => [name, value || undefined])),
        Object.keys(changed).join() !== "search",
      );
    },
    [setParams],
  );

  if (list.problem && (!list.loaded || list.problem.status === 401)) return <Refused problem={list.problem} />;
  const nothing = list.loaded && rows.length === 0 && list.isWhole(status);
  return (
    <div className={css.page}>
      <div className={css.top}>
        <h1 tabIndex={-1}>Executions</h1>
        <Summary
          store={list}
          running={counts.find((one) => one.status === "running")?.count ?? 0}
          onFailed={() => choose({ status: "failed" })}
        />
        {mayRun && (
          <button type="button" className={`button primary ${css.start}`} onClick={() => setStarting("new", true)}>
            Start a flow
          </button>
        )}
      </div>
      <Toolbar ref={searchField} rows={list.rows} counts={counts} loaded={list.loaded} filters={filters} choose={choose} />
      {nothing ? (
        <div className={css.nothing}>
          <Nothing filters={filters} any={list.rows.length > 0} clear={() => choose({ status: "", kind: "", flow: "", search: "" })} />
        </div>
      ) : (
        <Table
          key={JSON.stringify(filters)}
          store={list}
          rows={rows}
          status={status}
          mayCancel={mayRun}
          onCancel={setCancelling}
        />
      )}
      {cancelling && <CancelDialog id={cancelling.id} flow={cancelling.flow} onClose={() => setCancelling(undefined)} />}
      {starting !== undefined && (
        <Dialog title="Start a flow" onClose={() => setStarting(undefined)}>
          <Suspense fallback={null}>
            <Start onClose={() => setStarting(undefined)} onStarted={(id) => go(href(`/executions/${id}`))} />
          </Suspense>
        </Dialog>
      )}
    </div>
  );
}

/** `/` goes to the search, as on many pages. */
function useSlash(field: React.RefObject<HTMLInputElement | null>) {
  useEffect(() => {
    const pressed = (event: KeyboardEvent) => {
      const at = event.target as HTMLElement;
      if (event.key !== "/" || event.ctrlKey || event.metaKey || at.closest("input, textarea, select, dialog")) return;
      event.preventDefault();
      field.current?.focus();
      field.current?.select();
    };
    addEventListener("keydown", pressed);
    return () => removeEventListener("keydown", pressed);
  }, [field]);
}

/** Why the list is empty, and what to do: the filters say it. */
function Nothing({ filters, any, clear }: { filters: Filters; any: boolean; clear: () => void }) {
  const { status, kind, flow, search } = filters;
  if (!status && !kind && !flow && !search) {
    return (
      <Empty title="Nothing has run here yet" command="tailrace run etl">
        Start one in a shell that has the same store. It appears here as it happens.
      </Empty>
    );
  }
  const what = [status && wordOf(status), kind].filter(Boolean).join(" ");
  const where = [flow && ` of ${flow}`, search && ` that match “${search}”`].filter(Boolean).join("");
  const title = `No ${what ? `${what} ` : ""}executions${where}`;
  const good = status === "failed" && any && !kind && !flow && !search;
  return (
    <Empty title={title}>
      <p>{good ? "Everything that ended here ended without an error." : (HINTS[status] ?? "Nothing that is kept is like that.")}</p>
      <button type="button" className="button" onClick={clear}>
        Show all
      </button>
    </Empty>
  );
}

const HINTS: Record<string, string> = {
  running: "What is started appears here as it begins.",
  queued: "Nothing waits for a place to run.",
  failed: "None of those that are kept failed.",
};
