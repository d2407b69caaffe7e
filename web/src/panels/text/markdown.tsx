// Markdown as elements.
//
// The law of this file: no HTML goes into the page. What marked reads becomes React elements, one by
// one; what is HTML in the text is shown as the text that it is; a link leads only to the web or a
// mailbox, and a picture is a link, since the page asks nothing of other hosts.
import { lexer, type Token, type Tokens } from "marked";
import { Fragment, memo, type ReactNode } from "react";
import type { Settler } from "./settle.ts";
import css from "./text.module.css";

/** Markdown that grows: blocks before the last one cannot change any more. */
export class Marked implements Settler<Token[]> {
  readonly settled: Token[][] = [];
  tail: Token[] = [];
  #rest = "";
  #taken = 0;

  take(pieces: readonly string[]): void {
    if (this.#taken === pieces.length) return;
    const fresh = pieces.slice(this.#taken).join("");
    this.#rest += fresh;
    this.#taken = pieces.length;
    if (fresh.includes("\n")) this.#settle();
    this.tail = lexer(this.#rest, GFM);
  }

  /** Half a line may yet become anything: only whole lines are settled. */
  #settle(): void {
    const lines = this.#rest.lastIndexOf("\n") + 1;
    const tokens = lexer(this.#rest.slice(0, lines), GFM);
    const last = tokens.findLastIndex((token) => token.type !== "space");
    if (last <= 0) return;
    this.settled.push(tokens.slice(0, last));
    const open = tokens.slice(last).map((token) => token.raw);
    this.#rest = open.join("") + this.#rest.slice(lines);
  }
}

const GFM = { gfm: true };

/** Blocks of Markdown. */
export const Blocks = memo(function Blocks({ tokens }: { tokens: readonly Token[] }): ReactNode {
  return tokens.map((token, place) => <BlockOf key={place} token={token} />);
});

// A list that grows has items that do not: they are told by their source.
const BlockOf = memo(
  function BlockOf({ token }: { token: Token }): ReactNode {
    switch (token.type) {
      case "space":
      case "def":
        return null;
      case "heading": {
        // The page has headings of its own above it.
        const Heading = `h${Math.min((token as Tokens.Heading).depth + 2, 6)}` as "h3";
        return <Heading data-depth={(token as Tokens.Heading).depth}>{inline(token.tokens)}</Heading>;
      }
      case "paragraph":
        return <p>{inline(token.tokens)}</p>;
      case "text":
        return <>{token.tokens ? inline(token.tokens) : textOf(token)}</>;
      case "code":
        return <Code token={token as Tokens.Code} />;
      case "blockquote":
        return (
          <blockquote>
            <Blocks tokens={token.tokens ?? []} />
          </blockquote>
        );
      case "hr":
        return <hr />;
      case "list":
        return <List list={token as Tokens.List} />;
      case "table":
        return <Table table={token as Tokens.Table} />;
      default:
        return <p>{token.raw}</p>;
    }
  },
  (before, now) => before.token.raw === now.token.raw && before.token.type === now.token.type,
);

function Code({ token }: { token: Tokens.Code }) {
  return (
    <pre data-language={token.lang || undefined} tabIndex={0} aria-label={`Code${token.lang ? `: ${token.lang}` : ""}`}>
      <code>{token.text}</code>
    </pre>
  );
}

function List({ list }: { list: Tokens.List }) {
  const items = list.items.map((item, place) => (
    <li key={place}>
      {item.task && <input type="checkbox" checked={item.checked ?? false} disabled aria-label={item.checked ? "done" : "to do"} />}
      <Blocks tokens={item.tokens.filter((token) => token.type !== "checkbox")} />
    </li>
  ));
  return list.ordered ? <ol start={list.start === "" ? 1 : list.start}>{items}</ol> : <ul>{items}</ul>;
}

function Table({ table }: { table: Tokens.Table }) {
  return (
    <div className={css.table} tabIndex={0} role="group" aria-label="Table">
      <table>
        <thead>
          <tr>
            {table.header.map((cell, place) => (
              <th key={place} data-align={cell.align ?? undefined}>
                {inline(cell.tokens)}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {table.rows.map((row, number) => (
            <tr key={number}>
              {row.map((cell, place) => (
                <td key={place} data-align={cell.align ?? undefined}>
                  {inline(cell.tokens)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function inline(tokens: readonly Token[] | undefined): ReactNode {
  return tokens?.map((token, place) => <Fragment key={place}>{inlineOf(token)}</Fragment>);
}

function inlineOf(token: Token): ReactNode {
  switch (token.type) {
    case "strong":
      return <strong>{inline(token.tokens)}</strong>;
    case "em":
      return <em>{inline(token.tokens)}</em>;
    case "del":
      return <del>{inline(token.tokens)}</del>;
    case "codespan":
      return <code>{token.text}</code>;
    case "br":
      return <br />;
    case "link":
      return anchor((token as Tokens.Link).href, inline(token.tokens));
    case "image":
      return anchor((token as Tokens.Image).href, `🖼 ${token.text || (token as Tokens.Image).href}`);
    case "text":
    case "escape":
      return token.type === "text" && token.tokens ? inline(token.tokens) : textOf(token);
    default:
      return token.raw; // HTML, and what else there may be
  }
}

function textOf(token: Token): string {
  return "text" in token ? String(token.text) : token.raw;
}

/** A link, where it leads somewhere that a link of a text may. */
export function anchor(href: string, children: ReactNode): ReactNode {
  if (!/^(https?:\/\/|mailto:)/i.test(href)) return <span title={href}>{children}</span>;
  return (
    <a href={href} target="_blank" rel="noopener noreferrer nofollow" className="link">
      {children}
    </a>
  );
}
