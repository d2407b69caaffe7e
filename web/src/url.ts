// The page's state in its URL.
//
// The law of this file: what a person set is in the URL, so that a link shows another the same; what
// only moved (a slider on its way) replaces the entry, and makes no history.
import { useCallback, useContext } from "react";
import { useSearchParams } from "wouter";
import { HOME, WorkspaceContext } from "./data/workspace.ts";

/** One parameter; undefined takes it away. */
export function useParam(name: string): [string | undefined, (value: string | undefined, push?: boolean) => void] {
  const [params, setParams] = useSearchParams();
  const set = useCallback(
    (value: string | undefined, push = false) => {
      setParams(
        (before) => {
          const next = new URLSearchParams(before);
          if (value === undefined || value === "") next.delete(name);
          else next.set(name, value);
          return next;
        },
        { replace: !push },
      );
    },
    [name, setParams],
  );
  return [params.get(name) ?? undefined, set];
}

/** Several parameters at once. */
export function useSetParams(): (changes: Record<string, string | undefined>, push?: boolean) => void {
  const [, setParams] = useSearchParams();
  return useCallback(
    (changes, push = false) => {
      setParams(
        (before) => {
          const next = new URLSearchParams(before);
          for (const [name, value] of Object.entries(changes)) {
            if (value === undefined) next.delete(name);
            else next.set(name, value);
          }
          return next;
        },
        { replace: !push },
      );
    },
    [setParams],
  );
}

/** Where something is, for a link: in the workspace that is shown. */
export function useTo(): (path: string) => string {
  const workspace = useContext(WorkspaceContext);
  return useCallback(
    (path) => {
      if (workspace === HOME) return path;
      return `${path}${path.includes("?") ? "&" : "?"}workspace=${encodeURIComponent(workspace)}`;
    },
    [workspace],
  );
}
