// What a status looks like: a shape, a colour and a word, never a colour alone.
//
// The law of this file: one look for each status, wherever it is shown.
import type { CSSProperties, ReactNode } from "react";

const COLOURS: Record<string, string> = {
  new: "var(--queued)",
  queued: "var(--queued)",
  running: "var(--running)",
  retrying: "var(--warn)",
  cancelling: "var(--warn)",
  completed: "var(--ok)",
  failed: "var(--bad)",
  timed_out: "var(--bad)",
  cancelled: "var(--queued)",
  skipped: "var(--queued)",
  not_run: "var(--queued)",
  unfinished: "var(--warn)",
  lost: "var(--lost)",
};

/** The colour of a status, for what stands beside its word or mark. */
export function colourOf(status: string): string {
  return COLOURS[status] ?? "var(--muted)";
}

/** A status in words. */
export function wordOf(status: string): string {
  return status === "new" ? "waiting" : status.replace("_", " ");
}

const ring = { fill: "none", stroke: "currentColor", strokeWidth: 1.6, strokeLinecap: "round" } as const;
const cut = { fill: "none", stroke: "var(--surface)", strokeWidth: 1.7, strokeLinecap: "round", strokeLinejoin: "round" } as const;

const SHAPES: Record<string, ReactNode> = {
  queued: <circle cx="7" cy="7" r="5" {...ring} strokeDasharray="1.6 2.6" />,
  running: (
    <>
      <circle cx="7" cy="7" r="5" {...ring} opacity="0.25" />
      <path d="M7 2a5 5 0 0 1 5 5" {...ring} className="turning" style={{ transformOrigin: "7px 7px", transformBox: "view-box" }} />
      <circle cx="7" cy="7" r="1.7" fill="currentColor" />
    </>
  ),
  retrying: (
    <>
      <path d="M11.5 5.2A5 5 0 1 0 12 7.6" {...ring} />
      <path d="M12.2 2.4v3h-3" {...ring} strokeLinejoin="round" />
    </>
  ),
  cancelling: (
    <>
      <circle cx="7" cy="7" r="5" {...ring} strokeDasharray="4 2" />
      <rect x="5" y="5" width="4" height="4" rx="0.6" fill="currentColor" />
    </>
  ),
  completed: (
    <>
      <circle cx="7" cy="7" r="6" fill="currentColor" />
      <path d="M4.3 7.2l1.9 1.9 3.6-4" {...cut} />
    </>
  ),
  failed: (
    <>
      <path d="M4.5 1h5L13 4.5v5L9.5 13h-5L1 9.5v-5z" fill="currentColor" />
      <path d="M5 5l4 4M9 5l-4 4" {...cut} />
    </>
  ),
  timed_out: (
    <>
      <circle cx="7" cy="7" r="6" fill="currentColor" />
      <path d="M7 3.8V7l2.2 1.6" {...cut} />
    </>
  ),
  cancelled: (
    <>
      <circle cx="7" cy="7" r="5" {...ring} />
      <path d="M3.6 10.4l6.8-6.8" {...ring} />
    </>
  ),
  skipped: <path d="M3 3.5L6.5 7 3 10.5M7.5 3.5L11 7l-3.5 3.5" {...ring} strokeLinejoin="round" />,
  not_run: <path d="M3.5 7h7" {...ring} />,
  unfinished: (
    <>
      <path d="M7 2a5 5 0 0 1 0 10" {...ring} />
      <path d="M7 2a5 5 0 0 0 0 10" {...ring} strokeDasharray="1.2 2.4" />
    </>
  ),
  lost: (
    <>
      <circle cx="7" cy="7" r="5.2" {...ring} strokeDasharray="3 2" />
      <path d="M5.6 5.6a1.5 1.5 0 1 1 1.9 1.5c-.4.2-.5.4-.5.9" {...ring} strokeWidth={1.3} />
      <circle cx="7" cy="9.8" r="0.8" fill="currentColor" />
    </>
  ),
};

/** A status's mark. Alone, it says its word to who cannot see it. */
export function Mark({ status, size = 14, alone = false }: { status: string; size?: number; alone?: boolean }) {
  const shape = SHAPES[status] ?? SHAPES.queued;
  const style: CSSProperties = { color: colourOf(status), flex: "none" };
  const said = alone ? { role: "img", "aria-label": wordOf(status) } : { "aria-hidden": true };
  return (
    <svg viewBox="0 0 14 14" width={size} height={size} style={style} {...said}>
      {shape}
    </svg>
  );
}

/** A status's mark and word. */
export function Status({ status }: { status: string }) {
  return (
    <span style={{ display: "inline-flex", alignItems: "center", gap: 6, whiteSpace: "nowrap" }}>
      <Mark status={status} />
      <span style={{ color: colourOf(status), fontWeight: 500 }}>{wordOf(status)}</span>
    </span>
  );
}
