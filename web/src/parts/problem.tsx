// What went wrong, and what to do about it; and what to do where there is nothing yet.
import type { Gap } from "@tailrace/client";
import { useState, type ReactNode } from "react";
import { Link, Redirect, useLocation, useSearch } from "wouter";
import type { Problem as What } from "../data/protocol.ts";
import { useSession } from "../data/workspace.ts";
import { useTo } from "../url.ts";
import { copied } from "./clipboard.ts";
import css from "./problem.module.css";

/** An error that takes a panel's place. */
export function Problem({ problem, children }: { problem: Pick<What, "code" | "message" | "hint">; children?: ReactNode }) {
  return (
    <div className={css.box} role="alert">
      <svg viewBox="0 0 14 14" width="16" height="16" aria-hidden className={css.mark}>
        <path d="M7 1.5L13 12.5H1z" fill="none" stroke="currentColor" strokeWidth="1.4" strokeLinejoin="round" />
        <path d="M7 5.5v3.2M7 10.4v.2" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" />
      </svg>
      <div>
        <p className={css.message}>{problem.message}</p>
        {problem.hint && <p className="muted">{problem.hint}</p>}
        <p className={css.code}>
          <code>{problem.code}</code>
        </p>
        {children}
      </div>
    </div>
  );
}

/** A route that its data was refused to: to the login if nobody is known here, and from it back. */
export function Refused({ problem }: { problem: What }) {
  const [location] = useLocation();
  const search = useSearch();
  const session = useSession();
  const to = useTo();
  if (problem.status === 401) {
    const next = encodeURIComponent(location + (search ? `?${search}` : ""));
    // Who was here a moment ago wants to know why they are asked again.
    const why = session?.access ? problem.message : undefined;
    return <Redirect to={`/login?next=${next}`} state={{ why }} replace />;
  }
  return (
    <Problem problem={problem}>
      {location !== "/" && (
        <Link href={to("/")} className="link">
          All executions
        </Link>
      )}
    </Problem>
  );
}

/** What is missing of a log, and why. */
export function Gaps({ gaps }: { gaps: readonly Gap[] }) {
  return gaps.map(({ from, to, cause }) => (
    <p key={`${from}-${to}`} className={css.notice} role="note">
      <svg viewBox="0 0 14 14" width="13" height="13" aria-hidden>
        <path d="M1 7h3M10 7h3M6 3l-1 8M9 3l-1 8" fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round" />
      </svg>
      {cause === "lost"
        ? `The log was lost and made again after event ${from - 1}: what is shown begins anew.`
        : `Events ${from.toLocaleString("en")} to ${to.toLocaleString("en")} are no longer kept.`}
    </p>
  ));
}

/** Nothing is there yet: what to type first. */
export function Empty({ title, children, command }: { title: string; children?: ReactNode; command?: string }) {
  return (
    <div className={css.empty}>
      <svg viewBox="0 0 48 24" width="72" height="36" aria-hidden className={css.waves}>
        <path d="M2 8c6-6 9-6 15 0s9 6 15 0 9-6 14 0M2 18c6-6 9-6 15 0s9 6 15 0 9-6 14 0" fill="none" stroke="currentColor" strokeWidth="2" strokeLinecap="round" />
      </svg>
      <h2>{title}</h2>
      {children && <div className="muted">{children}</div>}
      {command && <Command text={command} />}
    </div>
  );
}

/** A command to copy. */
export function Command({ text }: { text: string }) {
  return (
    <div className={css.command}>
      <code>
        <span aria-hidden className="muted">$ </span>
        {text}
      </code>
      <Copy text={text} />
    </div>
  );
}

/** Copies a text. */
export function Copy({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState<boolean>();
  const copy = async () => {
    setDone(await copied(text));
    setTimeout(() => setDone(undefined), 1500);
  };
  const said = done === undefined ? label : done ? "Copied" : "The browser did not allow it: select the text and copy it";
  return (
    <button type="button" className="button bare" onClick={() => void copy()} aria-label={`${label}: ${text}`} title={said}>
      <svg viewBox="0 0 14 14" width="13" height="13" aria-hidden fill="none" stroke="currentColor" strokeWidth="1.4">
        {done !== undefined ? <path d={done ? "M2.5 7.5l3 3 6-7" : "M3 3l8 8M11 3l-8 8"} strokeLinecap="round" /> : <path d="M4.5 4.5h7v7h-7zM2.5 9.5v-7h7" strokeLinejoin="round" />}
      </svg>
      <span className="unseen" role="status">
        {done !== undefined && said}
      </span>
    </button>
  );
}
