// Figures of what was said: tokens as the models told them, text as it came.
//
// The law of this file: only what the log says. Tokens are those of llm.usage; before it comes,
// there are characters, which are counted here.
import { useEffect, useRef, useState } from "react";
import type { Speech } from "./compose.ts";
import css from "./text.module.css";

const EVERY_MS = 5000;

export function Figures({ speech, live }: { speech: Speech; live: boolean }) {
  const { usage, chars, firstText, lastText, rate } = speech;
  const took = firstText !== undefined && lastText !== undefined ? (lastText - firstText) / 1000 : 0;
  // Tokens come at the end of what they are of: a rate of them is true when all is said.
  const average = !live && usage.told && usage.output > 0 && took >= 0.05 ? usage.output / took : 0;
  return (
    <>
      <dl className={css.figures}>
        {usage.told && (
          <>
            <Figure name="tokens in" value={usage.input} />
            <Figure name="tokens out" value={usage.output} />
            {average > 0 && <Figure name="tokens/s" value={average} />}
          </>
        )}
        {chars > 0 && <Figure name="characters" value={chars} />}
        {live && rate > 0 && <Figure name="characters/s" value={rate} live />}
      </dl>
      <Announcer speech={speech} live={live} />
    </>
  );
}

function Figure({ name, value, live = false }: { name: string; value: number; live?: boolean }) {
  const told = value < 10 && !Number.isInteger(value) ? value.toFixed(1) : Math.round(value).toLocaleString("en");
  return (
    <div data-figure={name} data-live={live || undefined}>
      <dd className="number">{told}</dd>
      <dt>{name}</dt>
    </div>
  );
}

/** Tells a screen reader that text comes, at most every EVERY_MS. */
function Announcer({ speech, live }: { speech: Speech; live: boolean }) {
  const [said, say] = useState("");
  const told = useRef(speech.chars);
  useEffect(() => {
    if (!live) return;
    const timer = setInterval(() => {
      if (speech.chars > told.current) say(`${speech.chars.toLocaleString("en")} characters of text so far`);
      told.current = speech.chars;
    }, EVERY_MS);
    return () => clearInterval(timer);
  }, [speech, live]);
  return (
    <p className="unseen" role="status">
      {said}
    </p>
  );
}
