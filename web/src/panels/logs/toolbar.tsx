// What can be chosen of the lines: search, filters, times, copies.
//
// The law of this file: all that is chosen here is in the URL, but for the wrapping of lines, which
// is a person's taste and not a link's.
import { useEffect, useState, type RefObject } from "react";
import type { ExecutionStore } from "../../data/execution.ts";
import { LEVELS, type Level } from "../../data/lines.ts";
import { useClient } from "../../data/use.ts";
import { copied } from "../../parts/clipboard.ts";
import { Menu, MenuChoice, MenuItem } from "../../parts/menu.tsx";
import { useParam } from "../../url.ts";
import { setOf, toggled } from "./choice.ts";
import css from "./toolbar.module.css";
import { COPY_CHARS_MAX, fromServer, keep, textOf } from "./save.ts";
import { TIMES, TIME_WORDS, type Times } from "./times.ts";
import type { LogView } from "./view.ts";

interface Props {
  store: ExecutionStore;
  view: LogView;
  low: number;
  high: number;
  seen: () => [number, number];
  find: {
    box: RefObject<HTMLInputElement | null>;
    hits: number;
    nth: number;
    searching: boolean;
    go: (by: 1 | -1) => void;
  };
  times: Times;
  wrap: boolean;
  setWrap: (on: boolean) => void;
  following: boolean;
  follow: (on: boolean) => void;
  copyLine: (() => void) | undefined;
  openHelp: () => void;
}

const LEVEL_WORDS: Record<Level, string> = { debug: "All levels", info: "Info and above", warning: "Warnings and errors", error: "Errors" };

export function Toolbar(props: Props) {
  const { store, times, wrap, setWrap, following, follow } = props;
  const { lines } = store;
  const [level, setLevel] = useParam("level");
  const [source, setSource] = useParam("source");
  const [node, setNode] = useParam("lognode");
  const [, setTimes] = useParam("times");
  const chosen = LEVELS.find((one) => one === level) ?? "debug";
  const atLeast = (one: Level) => LEVELS.slice(LEVELS.indexOf(one)).reduce((sum, each) => sum + lines.counts[each], 0);
  return (
    <div className={css.bar} role="toolbar" aria-label="Log lines">
      <Search {...props.find} />
      <Menu name={`Level: ${LEVEL_WORDS[chosen]}`} label={level ? LEVEL_WORDS[chosen] : "Level"} active={chosen !== "debug"}>
        {(close) =>
          LEVELS.map((one) => (
            <MenuChoice
              key={one}
              type="radio"
              name="log-level"
              on={one === chosen}
              label={LEVEL_WORDS[one]}
              hint={atLeast(one).toLocaleString("en")}
              onChange={() => {
                setLevel(one === "debug" ? undefined : one, true);
                close();
              }}
            />
          ))
        }
      </Menu>
      <Names title="Source" names={lines.sources} value={source} set={setSource} />
      <Names title="Node" names={lines.nodes} value={node} set={setNode} />
      <span className={css.space} />
      <Menu name={`Times: ${TIME_WORDS[times]}`} label={TIME_WORDS[times]} align="end">
        {(close) =>
          TIMES.map((one) => (
            <MenuChoice
              key={one}
              type="radio"
              name="log-times"
              on={one === times}
              label={TIME_WORDS[one]}
              onChange={() => {
                setTimes(one === "clock" ? undefined : one);
                close();
              }}
            />
          ))
        }
      </Menu>
      <button type="button" className={`button ${css.toggle}`} aria-pressed={wrap} onClick={() => setWrap(!wrap)}>
        Wrap
      </button>
      <Take {...props} />
      <button type="button" className={`button ${css.toggle}`} aria-pressed={following} onClick={() => follow(!following)}>
        <span className={css.dot} aria-hidden />
        Follow
      </button>
      <button type="button" className="button bare" aria-label="Keys in the logs" title="Keys (?)" onClick={props.openHelp}>
        ?
      </button>
    </div>
  );
}

/** What goes into the URL waits until one has typed for a moment: browsers limit how often it changes. */
const TYPED_MS = 150;

function Search({ box, hits, nth, searching, go }: Props["find"]) {
  const [search, setSearch] = useParam("search");
  const [typed, setTyped] = useState(search ?? "");
  useEffect(() => setTyped(search ?? ""), [search]);
  useEffect(() => {
    if (typed === (search ?? "")) return;
    const timer = setTimeout(() => setSearch(typed || undefined), TYPED_MS);
    return () => clearTimeout(timer);
  }, [typed, search, setSearch]);
  const pressed = (event: React.KeyboardEvent) => {
    if (event.key === "Escape") {
      setTyped("");
      setSearch(undefined);
      box.current?.closest<HTMLElement>("[role=tabpanel]")?.querySelector<HTMLElement>("[role=log]")?.focus();
    }
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (typed !== (search ?? "")) setSearch(typed || undefined);
    else go(event.shiftKey ? -1 : 1);
  };
  const count = hits.toLocaleString("en");
  const told = nth > 0 ? `${nth.toLocaleString("en")} of ${count}` : `${count} ${hits === 1 ? "match" : "matches"}`;
  return (
    <div className={css.search} role="search">
      <div className={css.field}>
      <svg viewBox="0 0 14 14" width="13" height="13" aria-hidden className={css.glass} fill="none" stroke="currentColor" strokeWidth="1.5" strokeLinecap="round">
        <circle cx="6" cy="6" r="4" />
        <path d="M9 9l3.5 3.5" />
      </svg>
      <input
        ref={box}
        type="search"
        className="input"
        placeholder="Search lines"
        aria-label="Search lines"
        aria-keyshortcuts="/"
        value={typed}
        onChange={(event) => setTyped(event.target.value)}
        onKeyDown={pressed}
        spellCheck={false}
        autoComplete="off"
      />
      {search && (
        <output className={`${css.hits} number`} data-testid="log-hits" data-searching={searching}>
          {told}
          {searching && " …"}
        </output>
      )}
      </div>
      {search && (
        <>
          <button type="button" className="button bare" aria-label="Match before" disabled={hits === 0} onClick={() => go(-1)}>
            <Arrow d="M2.5 7.5L6 4l3.5 3.5" />
          </button>
          <button type="button" className="button bare" aria-label="Next match" disabled={hits === 0} onClick={() => go(1)}>
            <Arrow d="M2.5 4.5L6 8l3.5-3.5" />
          </button>
        </>
      )}
    </div>
  );
}

function Arrow({ d }: { d: string }) {
  return (
    <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden fill="none" stroke="currentColor" strokeWidth="1.6" strokeLinecap="round" strokeLinejoin="round">
      <path d={d} />
    </svg>
  );
}

interface NamesProps {
  title: string;
  names: readonly string[];
  value: string | undefined;
  set: (value: string | undefined, push?: boolean) => void;
}

/** Which of some names are shown; where there is one name only, there is nothing to choose. */
function Names({ title, names, value, set }: NamesProps) {
  const chosen = setOf(value);
  if (names.length < 2 && !chosen) return null;
  const label = chosen ? [...chosen].join(", ") : title;
  return (
    <Menu name={`${title}: ${chosen ? label : "all"}`} label={<span className={css.names}>{label}</span>} active={chosen !== undefined}>
      {() => (
        <>
          <MenuChoice type="radio" name={`all-${title}`} on={!chosen} label="All" onChange={() => set(undefined, true)} />
          {[...new Set([...names, ...(chosen ?? [])])].sort().map((name) => (
            <MenuChoice key={name} type="checkbox" name={name} on={chosen?.has(name) ?? false} label={name} onChange={() => set(toggled(value, name), true)} />
          ))}
        </>
      )}
    </Menu>
  );
}

/** Copy and download. */
function Take({ store, view, low, high, seen, copyLine }: Props) {
  const client = useClient();
  const [said, say] = useState<string>();
  const tell = (text: string) => {
    say(text);
    setTimeout(() => say(undefined), 4000);
  };
  const copy = async (from: number, to: number) => {
    const { text, lines } = textOf(view, from, to, COPY_CHARS_MAX);
    if (!(await copied(text))) return tell("The browser did not allow it; download them instead");
    const all = lines === to - from;
    tell(all ? `Copied ${lines.toLocaleString("en")} ${lines === 1 ? "line" : "lines"}` : `Copied the first ${lines.toLocaleString("en")} lines: more is for a file`);
  };
  const whole = async () => {
    try {
      keep(await fromServer(client, store.id), `${store.id}.log`);
    } catch (error) {
      tell(error instanceof Error ? error.message : String(error));
    }
  };
  const shown = () => keep(new Blob([textOf(view, low, high).text], { type: "text/plain" }), `${store.id}-shown.log`);
  const doing = (close: () => void, what: () => unknown) => () => {
    close();
    void what();
  };
  return (
    <>
      <span className={css.said} role="status">
        {said}
      </span>
      <Menu name="Copy" label="Copy" align="end">
        {(close) => (
          <>
            {copyLine && (
              <MenuItem hint="c" onClick={doing(close, copyLine)}>
                This line
              </MenuItem>
            )}
            <MenuItem onClick={doing(close, () => copy(...seen()))}>Lines in sight</MenuItem>
            <MenuItem hint={(high - low).toLocaleString("en")} onClick={doing(close, () => copy(low, high))}>
              All lines shown
            </MenuItem>
          </>
        )}
      </Menu>
      <Menu name="Download" label="Download" align="end">
        {(close) => (
          <>
            <MenuItem hint="from the server" onClick={doing(close, whole)}>
              The whole log
            </MenuItem>
            <MenuItem hint={(high - low).toLocaleString("en")} onClick={doing(close, shown)}>
              Lines shown
            </MenuItem>
          </>
        )}
      </Menu>
    </>
  );
}
