// A dialog of the browser's own: it keeps the focus, closes with Escape, and gives the focus back.
//
// The law of this file: what has `data-focus` has the focus when it opens. React's `autoFocus` is too
// early for that: nothing in a closed dialog takes the focus, and the browser then gives it to Close.
import { useEffect, useRef, type ReactNode } from "react";
import css from "./dialog.module.css";

export function Dialog({ title, onClose, children }: { title: string; onClose: () => void; children: ReactNode }) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    ref.current?.showModal();
    ref.current?.querySelector<HTMLElement>("[data-focus]")?.focus();
  }, []);
  return (
    <dialog
      ref={ref}
      className={css.dialog}
      aria-label={title}
      onClose={onClose}
      // On the backdrop only: what is inside does not reach to the dialog's own edge.
      onPointerDown={(event) => event.target === ref.current && ref.current.close()}
    >
      <div className={css.inside}>
        <header className={css.head}>
          <h2>{title}</h2>
          <button type="button" className="button bare" aria-label="Close" onClick={() => ref.current?.close()}>
            <svg viewBox="0 0 14 14" width="12" height="12" aria-hidden>
              <path d="M2.5 2.5l9 9M11.5 2.5l-9 9" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" />
            </svg>
          </button>
        </header>
        {children}
      </div>
    </dialog>
  );
}
