// What React throws, said where it happened; the rest of the page stays.
import { Component, type ReactNode } from "react";
import { problemFrom } from "../data/hub.ts";
import { Problem } from "./problem.tsx";

export class Boundary extends Component<{ children: ReactNode }, { error: unknown }> {
  override state = { error: undefined };

  static getDerivedStateFromError(error: unknown) {
    return { error };
  }

  override render() {
    if (this.state.error === undefined) return this.props.children;
    return <Problem problem={{ ...problemFrom(this.state.error), hint: "Reload the page. The execution is not affected." }} />;
  }
}
