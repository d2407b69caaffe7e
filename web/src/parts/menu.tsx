// A button that opens a few things to choose.
//
// The law of this file: it opens and closes by keyboard as by mouse, and gives the focus back.
import { useEffect, useId, useRef, useState, type ReactNode } from "react";
import css from "./menu.module.css";

interface Props {
  /** What the button shows. */
  label: ReactNode;
  /** What it is called, where the label alone does not say it. */
  name: string;
  /** Whether something is chosen: the button says so. */
  active?: boolean;
  align?: "start" | "end";
  children: (close: () => void) => ReactNode;
}

export function Menu({ label, name, active = false, align = "start", children }: Props) {
  const [open, setOpen] = useState(false);
  const id = useId();
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const close = () => {
    setOpen(false);
    button.current?.focus();
  };
  useEffect(() => {
    if (!open) return;
    root.current?.querySelector<HTMLElement>(`[role=group] :is(button, input, a)`)?.focus();
    const outside = (event: Event) => !root.current?.contains(event.target as Node) && setOpen(false);
    document.addEventListener("pointerdown", outside);
    document.addEventListener("focusin", outside);
    return () => {
      document.removeEventListener("pointerdown", outside);
      document.removeEventListener("focusin", outside);
    };
  }, [open]);
  const pressed = (event: React.KeyboardEvent) => {
    if (!open) return;
    event.stopPropagation();
    if (event.key === "Escape") close();
    const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    const all = [...root.current!.querySelectorAll<HTMLElement>("[role=group] :is(button, input, a)")];
    const now = all.indexOf(document.activeElement as HTMLElement);
    all[(now + by + all.length) % all.length]?.focus();
  };
  return (
    <div className={css.root} ref={root} onKeyDown={pressed}>
      <button
        type="button"
        ref={button}
        className={`button ${css.button}`}
        aria-expanded={open}
        aria-controls={open ? id : undefined}
        aria-label={name}
        data-active={active || undefined}
        onClick={() => setOpen(!open)}
      >
        {label}
        <svg viewBox="0 0 10 10" width="8" height="8" aria-hidden>
          <path d="M1.5 3.5L5 7l3.5-3.5" fill="none" stroke="currentColor" strokeWidth="1.4" />
        </svg>
      </button>
      {open && (
        <div className={css.list} id={id} role="group" aria-label={name} data-align={align}>
          {children(close)}
        </div>
      )}
    </div>
  );
}

/** Something to do. */
export function MenuItem({ children, hint, onClick }: { children: ReactNode; hint?: string; onClick: () => void }) {
  return (
    <button type="button" className={css.item} onClick={onClick}>
      <span>{children}</span>
      {hint && <span className="muted">{hint}</span>}
    </button>
  );
}

/** Something to have or not: one of several (radio), or any of them (checkbox). */
export function MenuChoice(given: { type: "radio" | "checkbox"; name: string; on: boolean; label: string; hint?: string; onChange: () => void }) {
  const { type, name, on, label, hint, onChange } = given;
  return (
    <label className={css.item}>
      <input type={type} name={name} checked={on} onChange={onChange} />
      <span className="clip">{label}</span>
      {hint && <span className={`muted number ${css.hint}`}>{hint}</span>}
    </label>
  );
}
