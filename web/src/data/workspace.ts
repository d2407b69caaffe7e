// Which workspace the page shows, and what who is here may do there.
//
// The law of this file: the URL says which (`?workspace=`); where it says nothing, it is `default`,
// or the first that the credential is for. The server decides what is allowed; this only hides what
// it would refuse.
import type { Session } from "@tailrace/client";
import { createContext, useContext } from "react";

/** What a URL without `?workspace=` means. */
export const HOME = "default";
const EVERYWHERE = "*";

export const WorkspaceContext = createContext(HOME);
export const SessionContext = createContext<Session | undefined>(undefined);

/** Who is asking; undefined until that is known. */
export function useSession(): Session | undefined {
  return useContext(SessionContext);
}

/** The workspaces that a credential names. One for all of them names none. */
export function workspacesOf(session: Session | undefined): string[] {
  return Object.keys(session?.workspaces ?? {})
    .filter((name) => name !== EVERYWHERE)
    .sort();
}

/** The workspace to begin with. */
export function firstOf(session: Session | undefined): string {
  const named = workspacesOf(session);
  if (session?.workspaces[EVERYWHERE] || named.includes(HOME)) return HOME;
  return named[0] ?? HOME;
}

/** Whether who is here may start and cancel in the workspace that is shown. */
export function useMayRun(): boolean {
  const session = useSession();
  const workspace = useContext(WorkspaceContext);
  const held = [...(session?.workspaces[EVERYWHERE] ?? []), ...(session?.workspaces[workspace] ?? [])];
  return held.includes("run") || held.includes("admin");
}
