// Starts a flow. First version: its name, and its input as JSON.
import type { Catalog } from "@tailrace/client";
import { useEffect, useState, type FormEvent } from "react";
import { problemFrom } from "../data/hub.ts";
import type { Problem as What } from "../data/protocol.ts";
import { useClient } from "../data/use.ts";
import { Empty, Problem } from "../parts/problem.tsx";
import type { StartProps } from "./contract.ts";
import css from "./panels.module.css";

export default function Start({ onStarted, onClose }: StartProps) {
  const client = useClient();
  const [catalog, setCatalog] = useState<Catalog>();
  const [problem, setProblem] = useState<What>();
  const [flow, setFlow] = useState("");
  const [input, setInput] = useState("{}");
  useEffect(() => {
    client.catalog().then(
      (found) => {
        setCatalog(found);
        setFlow((found.flows[0] ?? found.agents[0])?.name ?? "");
      },
      (error: unknown) => setProblem(problemFrom(error)),
    );
  }, [client]);

  const submit = async (event: FormEvent) => {
    event.preventDefault();
    try {
      onStarted((await client.start(flow, JSON.parse(input))).execution_id);
    } catch (error) {
      setProblem(problemFrom(error));
    }
  };

  const names = [...(catalog?.flows ?? []), ...(catalog?.agents ?? [])].map((one) => one.name);
  if (catalog && names.length === 0) {
    return (
      <Empty title="This server has no flows" command="tailrace serve etl answer">
        Name the flows that it may run when you start it.
      </Empty>
    );
  }
  return (
    <form className={css.start} onSubmit={(event) => void submit(event)}>
      <label>
        Flow
        <select className="input" value={flow} onChange={(event) => setFlow(event.target.value)}>
          {names.map((name) => (
            <option key={name}>{name}</option>
          ))}
        </select>
      </label>
      <label>
        Input (JSON)
        <textarea className="input mono" rows={6} value={input} onChange={(event) => setInput(event.target.value)} spellCheck={false} />
      </label>
      {problem && <Problem problem={problem} />}
      <div className={css.actions}>
        <button type="button" className="button" onClick={onClose}>
          Close
        </button>
        <button type="submit" className="button primary" disabled={!flow}>
          Start
        </button>
      </div>
    </form>
  );
}
