// What a terminal would show of a line.
//
// The law of this file: colours stay, and can be read on every ground in both themes; everything
// else that a program tells its terminal is taken away, and nothing of it becomes markup. A line
// that was drawn anew (CR) shows as it was drawn last.
import Anser from "anser";

/** A part of a line that looks the same. */
export interface Span {
  text: string;
  /** Names of looks, as ansi.module.css has them: `red`, `bright-red`, `bold` … */
  looks: readonly string[];
  /** Colours that have no name: for `style`. */
  color?: string;
  background?: string;
  /** Whether it is (part of) what is searched. */
  hit?: boolean;
}

const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|[ -/]*[0-~]?)/g;
const SGR = /^\x1b\[[\d;:]*m$/;
/** Those that turn the direction of text too: with them a line can be made to read as another. */
const CONTROLS = /[\x00-\x08\x0a-\x1a\x1c-\x1f\x7f\u202a-\u202e\u2066-\u2069]/g;

/** The text of a line, as it is searched and copied. */
export function plain(line: string): string {
  const text = last(line);
  return text.includes("\x1b") ? text.replace(ESCAPES, "") : text;
}

/** What a terminal has after the line was drawn: what stands behind its last CR. */
function last(line: string): string {
  if (!line.includes("\r")) return line;
  const whole = line.replace(/\r+$/, "");
  return whole.slice(whole.lastIndexOf("\r") + 1);
}

/** How often a line was drawn: 1, unless it is a progress bar or the like. */
export function drawings(line: string): number {
  let count = 1;
  for (let at = line.indexOf("\r"); at >= 0 && at < line.length - 1; at = line.indexOf("\r", at + 1)) count++;
  return count;
}

/** A line's parts, up to so many characters; those that are searched are marked. */
export function spansOf(line: string, pattern: RegExp | undefined, most: number): Span[] {
  const text = last(line);
  let spans: Span[];
  if (text.includes("\x1b")) {
    const coloured = text.replace(ESCAPES, (escape) => (SGR.test(escape) ? escape.replaceAll(":", ";") : ""));
    const parts = Anser.ansiToJson(coloured, { json: true, use_classes: true, remove_empty: true });
    spans = parts.map(spanOf);
  } else spans = [{ text, looks: NONE }];
  spans = upTo(spans, most);
  if (pattern) spans = marked(spans, pattern);
  for (const span of spans) span.text = span.text.replace(CONTROLS, picture);
  return spans;
}

const NONE: readonly string[] = [];

/** A control character as a sign that can be seen. */
function picture(character: string): string {
  const code = character.charCodeAt(0);
  if (code > 0x2000) return `[U+${code.toString(16).toUpperCase()}]`;
  return code === 0x7f ? "\u2421" : String.fromCharCode(0x2400 + code);
}

function spanOf(part: ReturnType<typeof Anser.ansiToJson>[number]): Span {
  const looks: string[] = part.decorations.filter((one) => one !== "blink" && one !== "reverse");
  const span: Span = { text: part.content, looks };
  const back = part.bg ? rgbOf(part.bg, part.bg_truecolor) : undefined;
  const front = part.fg ? rgbOf(part.fg, part.fg_truecolor) : undefined;
  if (back) {
    span.background = css(back);
    span.color = css(front && contrast(front, back) >= 4.5 ? front : contrast(BLACK, back) > contrast(WHITE, back) ? BLACK : WHITE);
  } else if (part.fg && NAMED.has(part.fg)) looks.push(part.fg.slice("ansi-".length));
  else if (front) span.color = readable(front);
  return span;
}

function upTo(spans: Span[], most: number): Span[] {
  let left = most;
  const kept: Span[] = [];
  for (const span of spans) {
    if (left <= 0) break;
    kept.push(span.text.length > left ? { ...span, text: span.text.slice(0, left) } : span);
    left -= span.text.length;
  }
  return kept;
}

/** Cut spans where what is searched begins and ends. */
function marked(spans: Span[], pattern: RegExp): Span[] {
  const text = spans.map((span) => span.text).join("");
  const out: Span[] = [];
  const hits = [...text.matchAll(pattern)];
  let at = 0;
  let next = 0;
  for (const span of spans) {
    let rest = span.text;
    while (rest) {
      while (next < hits.length && hits[next]!.index + hits[next]![0].length <= at) next++;
      const hit = hits[next];
      const begins = hit ? hit.index : Infinity;
      const inside = begins <= at;
      const length = Math.min(rest.length, inside ? begins + hit![0].length - at : begins - at);
      out.push({ ...span, text: rest.slice(0, length), ...(inside ? { hit: true } : {}) });
      rest = rest.slice(length);
      at += length;
    }
  }
  return out;
}

// --- colours -------------------------------------------------------------------------------------

type Rgb = readonly [number, number, number];
const BLACK: Rgb = [0, 0, 0];
const WHITE: Rgb = [255, 255, 255];
/** The grounds that leave the least contrast: the darkest of the light theme, the lightest of the dark. */
const LIGHT_GROUND: Rgb = [0xe2, 0xf1, 0xf3];
const DARK_GROUND: Rgb = [0x12, 0x30, 0x3a];
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
const BASE: Rgb[] = [
  [0, 0, 0], [187, 0, 0], [0, 187, 0], [187, 187, 0], [0, 0, 187], [187, 0, 187], [0, 187, 187], [255, 255, 255],
  [85, 85, 85], [255, 85, 85], [0, 255, 0], [255, 255, 85], [85, 85, 255], [255, 85, 255], [85, 255, 255], [255, 255, 255],
]; // prettier-ignore
const NAMED = new Map<string, number>();
for (const [place, name] of NAMES.entries()) {
  NAMED.set(`ansi-${name}`, place);
  NAMED.set(`ansi-bright-${name}`, place + 8);
}

function rgbOf(name: string, truecolor: string | null): Rgb | undefined {
  const named = NAMED.get(name);
  if (named !== undefined) return BASE[named];
  if (truecolor) return truecolor.split(",").map(Number) as unknown as Rgb;
  const place = Number(name.slice("ansi-palette-".length));
  if (!(place >= 0 && place < 256)) return undefined;
  if (place < 16) return BASE[place];
  if (place >= 232) return Array<number>(3).fill(8 + 10 * (place - 232)) as unknown as Rgb;
  const step = (part: number) => (part === 0 ? 0 : 55 + 40 * part);
  const cube = place - 16;
  return [step(Math.floor(cube / 36)), step(Math.floor(cube / 6) % 6), step(cube % 6)];
}

function css([red, green, blue]: Rgb): string {
  return `rgb(${red}, ${green}, ${blue})`;
}

/** A colour for both themes: darker, or lighter, as far as it must be to be read. */
export function readable(rgb: Rgb): string {
  return `light-dark(${css(towards(rgb, BLACK, LIGHT_GROUND))}, ${css(towards(rgb, WHITE, DARK_GROUND))})`;
}

function towards(rgb: Rgb, end: Rgb, ground: Rgb): Rgb {
  for (let part = 0; part <= 1; part += 0.05) {
    const mixed = rgb.map((one, place) => Math.round(one + (end[place]! - one) * part)) as unknown as Rgb;
    if (contrast(mixed, ground) >= 4.6) return mixed;
  }
  return end;
}

/** The contrast of two colours, as WCAG has it. */
export function contrast(one: Rgb, other: Rgb): number {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b) as [number, number];
  return (light + 0.05) / (dark + 0.05);
}

function luminance(rgb: Rgb): number {
  const [red, green, blue] = rgb.map((part) => {
    const share = part / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
}
