// The bar above everything: where one is, how the connection stands, light or dark, and who one is.
import type { Session } from "@tailrace/client";
import { useContext, useState } from "react";
import { Link } from "wouter";
import { clientOf } from "../data/use.ts";
import { WorkspaceContext } from "../data/workspace.ts";
import { setTheme, theme, type Theme } from "../theme.ts";
import { useParam, useTo } from "../url.ts";
import { HeaderConnection } from "./connection.tsx";
import css from "./header.module.css";

export function Header({ session, onSignedOut }: { session: Session | undefined; onSignedOut: () => void }) {
  const to = useTo();
  const out = async () => {
    await clientOf("default").logout();
    onSignedOut();
  };
  return (
    <header className={css.header}>
      <button type="button" className={css.skip} onClick={() => document.querySelector<HTMLElement>("main h1")?.focus()}>
        Skip to content
      </button>
      <Link href={to("/")} className={css.mark} aria-label="Tailrace: all executions">
        <svg viewBox="0 0 32 32" width="22" height="22" aria-hidden>
          <rect width="32" height="32" rx="8" fill="var(--accent)" />
          <path d="M6 12c4-4 6-4 10 0s6 4 10 0M6 20c4-4 6-4 10 0s6 4 10 0" fill="none" stroke="var(--on-accent)" strokeWidth="3" strokeLinecap="round" />
        </svg>
        <span>Tailrace</span>
      </Link>
      <Workspaces session={session} />
      <div className={css.space} />
      <HeaderConnection />
      <ThemeSwitch />
      {session?.access && (
        <button type="button" className="button bare" onClick={() => void out()} title={`Signed in as ${session.subject}`}>
          Sign out
        </button>
      )}
    </header>
  );
}

/** Which workspace is shown, where one may see several. */
function Workspaces({ session }: { session: Session | undefined }) {
  const workspace = useContext(WorkspaceContext);
  const [, choose] = useParam("workspace");
  const named = Object.keys(session?.workspaces ?? {}).filter((name) => name !== "*");
  const all = [...new Set([...named, workspace])].sort();
  if (all.length < 2) return workspace === "default" ? null : <span className="tag">{workspace}</span>;
  return (
    <select className="input" aria-label="Workspace" value={workspace} onChange={(event) => choose(event.target.value, true)}>
      {all.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
}

const NEXT: Record<Theme, Theme> = { auto: "light", light: "dark", dark: "auto" };
const WORDS: Record<Theme, string> = { auto: "as the system", light: "light", dark: "dark" };

function ThemeSwitch() {
  const [chosen, setChosen] = useState(theme);
  const next = NEXT[chosen];
  return (
    <button
      type="button"
      className="button bare"
      aria-label={`Colours: ${WORDS[chosen]}. Change to ${WORDS[next]}`}
      title={`Colours: ${WORDS[chosen]}`}
      onClick={() => {
        setTheme(next);
        setChosen(next);
      }}
    >
      <svg viewBox="0 0 14 14" width="14" height="14" aria-hidden>
        <circle cx="7" cy="7" r="5" fill="none" stroke="currentColor" strokeWidth="1.5" />
        {chosen === "auto" && <path d="M7 2a5 5 0 0 1 0 10z" fill="currentColor" />}
        {chosen === "dark" && <circle cx="7" cy="7" r="5" fill="currentColor" />}
      </svg>
    </button>
  );
}
