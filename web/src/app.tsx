// The shell: who is asking, the header, and which route is shown.
//
// The law of this file: a route's code is loaded when it is first shown. Where the server asks who
// is there and does not know, every way leads to the login, and from it back.
import type { Session } from "@tailrace/client";
import { Suspense, useEffect, useState } from "react";
import { Link, Route, Router, Switch, useLocation } from "wouter";
import { problemFrom } from "./data/hub.ts";
import type { Problem as What } from "./data/protocol.ts";
import { BASE } from "./data/tab.ts";
import { clientOf, forgetLists } from "./data/use.ts";
import { firstOf, SessionContext, WorkspaceContext } from "./data/workspace.ts";
import { late } from "./late.ts";
import { preload } from "./panels/contract.ts";
import { Header } from "./parts/header.tsx";
import { Boundary } from "./parts/boundary.tsx";
import { Empty, Refused } from "./parts/problem.tsx";
import { useParam } from "./url.ts";

const Executions = late(() => import("./routes/executions.tsx"));
const Execution = late(() => import("./routes/execution.tsx"));
const Login = late(() => import("./routes/login.tsx"));

/** Load what the first view is made of, while the server is asked who is there. */
async function preloaded(location: string): Promise<void> {
  const panel = new URLSearchParams(window.location.search).get("panel");
  const one = location.startsWith("/executions/");
  // What cannot be loaded, the boundary says where it is needed.
  await Promise.allSettled(one ? [Execution.preload(), preload(panel)] : [Executions.preload()]);
}

export function App() {
  return (
    <Router base={`${new URL(BASE).pathname.replace(/\/$/, "")}/ui`}>
      <Known />
    </Router>
  );
}

/** Asks who is there, once, and again after a login. */
function Known() {
  const [session, setSession] = useState<Session>();
  const [problem, setProblem] = useState<What>();
  const [location] = useLocation();
  const [workspace = firstOf(session)] = useParam("workspace");
  const atLogin = location === "/login";

  useEffect(() => {
    if (atLogin || session) return;
    Promise.all([clientOf("default").session(), preloaded(location)]).then(
      ([found]) => setSession(found),
      (error: unknown) => setProblem(problemFrom(error)),
    );
  }, [atLogin, session]);

  const signedIn = (now: Session | undefined) => {
    forgetLists();
    setProblem(undefined);
    setSession(now);
  };
  return (
    <SessionContext.Provider value={session}>
      <WorkspaceContext.Provider value={workspace}>
        <Header session={session} onSignedOut={() => signedIn(undefined)} />
        <main style={{ flex: 1, display: "flex", flexDirection: "column", minWidth: 0 }}>
          <Boundary key={location}>
            <Suspense fallback={null}>
              {problem && !atLogin ? (
                <Refused problem={problem} />
              ) : !session && !atLogin ? null : (
                <Switch>
                  <Route path="/" component={Executions} />
                  <Route path="/executions/:id">{({ id }) => <Execution id={id} key={id} />}</Route>
                  <Route path="/login">
                    <Login onSignedIn={signedIn} />
                  </Route>
                  <Route>
                    <Empty title="There is no such page">
                      <Link href="/" className="link">
                        All executions
                      </Link>
                    </Empty>
                  </Route>
                </Switch>
              )}
            </Suspense>
          </Boundary>
        </main>
      </WorkspaceContext.Provider>
    </SessionContext.Provider>
  );
}
