// Parts of the page that are loaded when they are first needed, or a little before.
//
// The law of this file: a part that is there is drawn at once. React's own `lazy` makes even a
// loaded part wait for a promise, and React shows what had to wait 300 ms later at the earliest.
import { lazy, type ComponentType, type LazyExoticComponent } from "react";

interface Module<P> {
  default: ComponentType<P>;
}

/** A part, and a way to load it before it is drawn. */
export type Late<P> = LazyExoticComponent<ComponentType<P>> & { preload: () => Promise<unknown> };

export function late<P>(load: () => Promise<Module<P>>): Late<P> {
  let there: Module<P> | undefined;
  const preload = async () => (there = await load());
  // `lazy` wants no more of a promise than its `then`, and takes one that answers at once.
  const atOnce = { then: (take: (module: Module<P>) => void) => take(there!) } as Promise<Module<P>>;
  const part = lazy(() => (there ? atOnce : preload()));
  return Object.assign(part, { preload });
}
