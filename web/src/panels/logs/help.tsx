// Which keys there are.
import { useEffect, useRef } from "react";
import { KEYS } from "./keys.ts";
import css from "./help.module.css";

export function Help({ open, close }: { open: boolean; close: () => void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
  }, [open]);
  if (!open) return null;
  return (
    <dialog ref={dialog} className={css.help} aria-labelledby="log-keys-title" onClose={close} onClick={(event) => event.target === dialog.current && close()}>
      <header>
        <h2 id="log-keys-title">Keys in the logs</h2>
        <button type="button" className="button bare" aria-label="Close" onClick={close}>
          ✕
        </button>
      </header>
      <dl>
        {KEYS.map(([keys, what]) => (
          <div key={keys}>
            <dt>
              {keys.split("  ").map((key) => (
                <kbd key={key}>{key}</kbd>
              ))}
            </dt>
            <dd>{what}</dd>
          </div>
        ))}
      </dl>
    </dialog>
  );
}
