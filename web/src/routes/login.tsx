// Signing in: a key or a token, once, for a cookie that no script can read.
import type { Session } from "@tailrace/client";
import { useEffect, useRef, useState, type FormEvent } from "react";
import { useLocation } from "wouter";
import { useHistoryState } from "wouter/use-browser-location";
import { problemFrom } from "../data/hub.ts";
import type { Problem as What } from "../data/protocol.ts";
import { clientOf } from "../data/use.ts";
import { Command, Problem } from "../parts/problem.tsx";
import { useParam } from "../url.ts";
import css from "./login.module.css";

export default function Login({ onSignedIn }: { onSignedIn: (session: Session) => void }) {
  const [, go] = useLocation();
  const [next] = useParam("next");
  const ended = useHistoryState<{ why?: string } | null>()?.why;
  const [entering, setEntering] = useState(false);
  const [token, setToken] = useState("");
  const [problem, setProblem] = useState<What>();
  const field = useRef<HTMLInputElement>(null);
  useEffect(() => {
    document.title = "Sign in · Tailrace";
    field.current?.focus();
  }, []);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    setEntering(true);
    setProblem(undefined);
    try {
      const client = clientOf("default");
      await client.login(token.trim());
      onSignedIn(await client.session());
      // Only a path of this page: a link must not lead elsewhere.
      go(next?.startsWith("/") && !next.startsWith("//") ? next : "/", { replace: true });
    } catch (error) {
      setProblem(problemFrom(error));
      setEntering(false);
      field.current?.select();
    }
  };

  return (
    <div className={css.login}>
      <form className={`card ${css.card}`} onSubmit={(event) => void submit(event)}>
        <h1 tabIndex={-1}>Sign in</h1>
        {ended && !problem && (
          <p className={css.ended} role="status">
            {ended}. Sign in to go on from where you were; what ran went on without you.
          </p>
        )}
        <label>
          API key or token
          <input
            ref={field}
            className="input mono"
            type="password"
            name="token"
            autoComplete="current-password"
            required
            value={token}
            onChange={(event) => setToken(event.target.value)}
          />
        </label>
        {problem && <Problem problem={problem} />}
        <button type="submit" className="button primary" disabled={entering || !token.trim()}>
          {entering ? "Signing in…" : "Sign in"}
        </button>
        <div className={css.how}>
          <p className="muted">A key is made where the server runs:</p>
          <Command text="tailrace token create --workspace default --role operator" />
        </div>
      </form>
    </div>
  );
}
