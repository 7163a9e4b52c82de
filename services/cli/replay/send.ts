import { createParser } from "eventsource-parser";
import { Agent, request } from "undici";
import type { Answer } from "../../core/report.ts";
import { type Arrival, promptOf } from "../../core/workload.ts";

/** Where requests go, and as whom. */
export interface Target {
  readonly gatewayUrl: string;
  readonly key: string;
  readonly model: string;
  readonly runId: string;
}

/** Bounds of one request; the gateway's own deadlines are shorter. */
const headersTimeoutMs = 600_000;
const betweenBytesTimeoutMs = 120_000;
const errorBodyCharactersMax = 16_384;

export function openAgent(): Agent {
  return new Agent({
    headersTimeout: headersTimeoutMs,
    bodyTimeout: betweenBytesTimeoutMs,
    connect: { timeout: 10_000 },
    pipelining: 1,
  });
}

/** The id under which the ledger knows the n-th request of a run. */
export function requestId(runId: string, index: number): string {
  return `${runId}-${index}`;
}

/**
 * Sends one request of a trace and reads its stream to the end. Never throws: however it ends is the answer's
 * outcome. `onGap` is told the time between every two tokens.
 */
export async function send(
  arrival: Arrival,
  options: {
    readonly target: Target;
    readonly agent: Agent;
    readonly signal: AbortSignal;
    readonly onGap: (itlMs: number) => void;
  },
): Promise<Answer> {
  const stream = new TokenStream(performance.now(), options.onGap);
  try {
    const { statusCode, body } = await request(`${options.target.gatewayUrl}/v1/chat/completions`, {
      method: "POST",
      dispatcher: options.agent,
      signal: options.signal,
      headers: headersOf(arrival, options.target),
      body: bodyOf(arrival, options.target),
    });
    body.setEncoding("utf8");
    if (statusCode !== 200) return stream.answer(arrival, await refusalOf(statusCode, body));
    for await (const chunk of body) stream.feed(String(chunk));
    return stream.answer(arrival, stream.outcome);
  } catch (error) {
    return stream.answer(arrival, options.signal.aborted ? "cancelled" : faultOf(error));
  }
}

function headersOf(arrival: Arrival, target: Target): Record<string, string> {
  return {
    "content-type": "application/json",
    authorization: `Bearer ${target.key}`,
    "idempotency-key": requestId(target.runId, arrival.index),
    "x-tokengrid-origin": arrival.origin,
    "x-tokengrid-class": arrival.class,
  };
}

function bodyOf(arrival: Arrival, { model, runId }: Target): string {
  return JSON.stringify({
    model,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: arrival.outputTokens,
    ignore_eos: true,
    messages: [{ role: "user", content: promptOf(arrival, runId) }],
  });
}

/** `http-429 rate_limit_exceeded`: the status and the error's code, if it has one that is a plain word. */
async function refusalOf(statusCode: number, body: AsyncIterable<unknown>): Promise<string> {
  let text = "";
  for await (const chunk of body) {
    if (text.length < errorBodyCharactersMax) text += String(chunk);
  }
  const code = /"code"\s*:\s*"([a-z0-9_-]{1,40})"/.exec(text)?.[1];
  return code === undefined ? `http-${statusCode}` : `http-${statusCode} ${code}`;
}

/** `ECONNREFUSED` → `econnrefused`: what the machine said, as a word that can be counted. */
function faultOf(error: unknown): string {
  const code = error instanceof Error && "code" in error ? String(error.code) : "error";
  return `connection ${code.toLowerCase().replace(/^und_err_/, "")}`;
}

/** What an answer's events say, and when they came. */
class TokenStream {
  readonly #sentAt: number;
  readonly #onGap: (itlMs: number) => void;
  readonly #parser = createParser({ onEvent: ({ data }) => this.#event(data) });
  #firstAt: number | undefined;
  #latestAt = 0;
  /** As the engine counts them; a chunk may hold several. Undefined until it says so. */
  #tokens: number | undefined;
  #chunks = 0;
  #hasFinished = false;
  #isDone = false;
  #error: string | undefined;

  constructor(sentAt: number, onGap: (itlMs: number) => void) {
    this.#sentAt = sentAt;
    this.#onGap = onGap;
  }

  feed(text: string): void {
    this.#parser.feed(text);
  }

  /** A stream that just ends was cut: a whole one has a finish reason and `[DONE]`. */
  get outcome(): string {
    if (this.#error !== undefined) return `stream ${this.#error}`;
    return this.#hasFinished && this.#isDone ? "ok" : "stream cut";
  }

  answer(arrival: Arrival, outcome: string): Answer {
    const [firstAt, latestAt] = [this.#firstAt, this.#latestAt];
    const gaps = (this.#tokens ?? this.#chunks) - 1;
    return {
      class: arrival.class,
      outcome,
      ttftMs: firstAt === undefined ? undefined : firstAt - this.#sentAt,
      tpotMs: firstAt === undefined || gaps < 1 ? undefined : (latestAt - firstAt) / gaps,
    };
  }

  #event(data: string): void {
    if (data === "[DONE]") {
      this.#isDone = true;
      return;
    }
    const { error, choices, usage }: Chunk = JSON.parse(data);
    if (error !== undefined) this.#error = error.code ?? error.type ?? "error";
    this.#tokens = usage?.completion_tokens ?? this.#tokens;
    const { delta, finish_reason: reason } = choices?.[0] ?? {};
    if (reason !== undefined && reason !== null) this.#hasFinished = true;
    const text = delta?.content ?? "";
    if (text !== "") this.#text(performance.now());
  }

  #text(at: number): void {
    this.#chunks += 1;
    if (this.#firstAt === undefined) this.#firstAt = at;
    else this.#onGap(at - this.#latestAt);
    this.#latestAt = at;
  }
}

/** As much of a chunk as is looked at. */
interface Chunk {
  readonly error?: { readonly code?: string | null; readonly type?: string };
  readonly choices?: readonly {
    readonly delta?: { readonly content?: string | null };
    readonly finish_reason?: string | null;
  }[];
  readonly usage?: { readonly completion_tokens?: number } | null;
}
