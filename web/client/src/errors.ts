// Everything that goes wrong, as one error.
//
// The law of this file: the server's problem documents (RFC 9457) have stable codes; what did not
// come from the server gets a code here. What a person can do about it is in `hint`.

/** A problem: of the server by its code, or of the way to it. */
export class TailraceError extends Error {
  override readonly name = "TailraceError";
  /** Stable: docs/errors.md; here also `unreachable`, `protocol_error`, `too_many_attempts`. */
  readonly code: string;
  /** What a person can do. */
  readonly hint: string | undefined;
  /** The HTTP status; 0 where no answer came. */
  readonly status: number;
  /** Whether the same request may work later. */
  readonly retryable: boolean;
  /** The wait that the server asks for. */
  readonly retryAfterMs: number | undefined;
  /** For a refused input: where, and what is wrong there. */
  readonly problems: ReadonlyArray<{ at: string; message: string }>;

  constructor(
    code: string,
    message: string,
    options: {
      hint?: string | undefined;
      status?: number;
      retryable?: boolean;
      retryAfterMs?: number | undefined;
      problems?: ReadonlyArray<{ at: string; message: string }>;
      cause?: unknown;
    } = {},
  ) {
    super(message, { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
    this.status = options.status ?? 0;
    this.retryable = options.retryable ?? false;
    this.retryAfterMs = options.retryAfterMs;
    this.problems = options.problems ?? [];
  }
}

/** Read an answer that is an error. */
export async function problemOf(answer: Response): Promise<TailraceError> {
  const after = Number(answer.headers.get("retry-after"));
  const common = {
    status: answer.status,
    retryAfterMs: after > 0 ? after * 1000 : undefined,
  };
  let body: Record<string, unknown> = {};
  try {
    const read: unknown = await answer.json();
    if (typeof read === "object" && read !== null) body = read as Record<string, unknown>;
  } catch {
    // A proxy's page, or nothing: the status is all that is known.
  }
  if (typeof body.code !== "string") {
    // 5xx and 429 without a problem document are a proxy's: its server restarts, as a rule.
    const retryable = answer.status >= 500 || answer.status === 429 || answer.status === 408;
    const message = `The server answered ${answer.status} ${answer.statusText}`.trim();
    return new TailraceError("http", message, { ...common, retryable });
  }
  return new TailraceError(body.code, String(body.detail ?? body.title ?? body.code), {
    ...common,
    hint: typeof body.hint === "string" ? body.hint : undefined,
    retryable: body.retryable === true,
    problems: problemsOf(body.problems),
  });
}

function problemsOf(found: unknown): Array<{ at: string; message: string }> {
  if (!Array.isArray(found)) return [];
  return found
    .filter((one): one is { at?: unknown; message?: unknown } => typeof one === "object" && !!one)
    .map((one) => ({ at: String(one.at ?? ""), message: String(one.message ?? "") }));
}

/** No answer came. */
export function unreachable(url: string, cause: unknown): TailraceError {
  return new TailraceError("unreachable", `${new URL(url).origin} does not answer`, {
    hint: "Is the server running? `tailrace serve` starts one.",
    retryable: true,
    cause,
  });
}
