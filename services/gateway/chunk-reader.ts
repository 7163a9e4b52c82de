import { createParser, type EventSourceParser } from "eventsource-parser";
import { isObject, type JsonObject } from "./json-value.ts";
import type { TextKind } from "./meter.ts";
import { learn, type Pattern } from "./chunk-pattern.ts";
import { rewritten, type ChunkRewrite } from "./chunk-rewrite.ts";

/** Who is told what a pool's stream says, event by event. */
export interface ChunkSink {
  /** Text without escapes was added to a choice, and nothing else: its bytes, in `latin1`. */
  text(choice: number, kind: TextKind, raw: string): void;
  /** Every other chunk. */
  chunk(chunk: JsonObject): void;
  /** Counts that came beside text which was told by `text`. */
  usage(usage: JsonObject): void;
}

export type StreamProblem =
  | { readonly kind: "error-event"; readonly error: JsonObject }
  | { readonly kind: "not-json" | "line-too-long" };

const eventBytesMax = 1024 * 1024;

/**
 * Reads a pool's stream of server-sent events from packets cut anywhere, and gives back what the client shall
 * see of it. Most events of a stream differ from the one before in their text alone; those are recognised by
 * comparing bytes with what was once parsed and are not parsed again. Everything here is `latin1`.
 */
export class ChunkReader {
  readonly #sink: ChunkSink;
  readonly #rewrite: ChunkRewrite;
  readonly #parser: EventSourceParser;
  #rest = "";
  #pattern: Pattern | undefined;
  #out = "";
  #isDone = false;
  #problem: StreamProblem | undefined;
  #lastChunk: JsonObject | undefined;
  #hasShownUsage = false;
  #lessons = 0;

  constructor(sink: ChunkSink, rewrite: ChunkRewrite) {
    this.#sink = sink;
    this.#rewrite = rewrite;
    this.#parser = createParser({ onEvent: ({ data }) => this.#event(data) });
  }

  /** The pool said `[DONE]`. */
  get isDone(): boolean {
    return this.#isDone;
  }

  /** Why the stream is of no use any more. */
  get problem(): StreamProblem | undefined {
    return this.#problem;
  }

  /** The last chunk that was parsed: its id, model and time stand for all. */
  get lastChunk(): JsonObject | undefined {
    return this.#lastChunk;
  }

  /** The client was shown a chunk with the counts. */
  get hasShownUsage(): boolean {
    return this.#hasShownUsage;
  }

  /** What the client shall get for this packet, without `[DONE]`. Empty if there is nothing for it. */
  read(packet: Buffer): string {
    const text =
      this.#rest === "" ? packet.toString("latin1") : this.#rest + packet.toString("latin1");
    let at = 0;
    this.#out = "";
    while (at < text.length && this.#problem === undefined) {
      const next = this.#known(text, at) ?? this.#other(text, at);
      if (next === undefined) break;
      at = next;
    }
    this.#rest = at === 0 ? text : text.slice(at);
    if (this.#rest.length > eventBytesMax) this.#problem ??= { kind: "line-too-long" };
    return this.#out;
  }

  /** An event like the one before: where the next begins, or undefined if it is another kind. */
  #known(text: string, at: number): number | undefined {
    const pattern = this.#pattern;
    if (pattern === undefined || this.#isDone || !isAt(text, pattern.before, at)) return;
    const start = at + pattern.before.length;
    const end = text.indexOf('"', start);
    if (end < 0 || !isAt(text, pattern.after, end)) return;
    const raw = text.slice(start, end);
    // With an escape in it the quote may not be the end, and a line break belongs to no string at all.
    if (raw.includes("\\") || raw.includes("\n")) return;
    let next = end + pattern.after.length;
    if (pattern.afterUsage !== undefined) {
      const usageEnd = text.indexOf(pattern.afterUsage, next);
      if (usageEnd < 0) return;
      const usage = parsed(text.slice(next, usageEnd));
      if (usage === undefined) return;
      this.#sink.usage(usage);
      next = usageEnd + pattern.afterUsage.length;
    }
    this.#sink.text(pattern.choice, pattern.kind, raw);
    if (this.#rewrite.isShown) this.#out += pattern.shownBefore + raw + pattern.shownAfter;
    return next;
  }

  /** Any other event, once it is there with the empty line behind it. */
  #other(text: string, at: number): number | undefined {
    eventEnd.lastIndex = at;
    const found = eventEnd.exec(text);
    // A carriage return at the end may be half of a line end.
    if (found === null || (found[0].endsWith("\r") && eventEnd.lastIndex === text.length)) return;
    this.#parser.feed(text.slice(at, eventEnd.lastIndex).replaceAll(/\r\n?/g, "\n"));
    return eventEnd.lastIndex;
  }

  #event(data: string): void {
    if (data === "[DONE]") {
      this.#isDone = true;
      return;
    }
    const json = data.replaceAll("\n", " ");
    const chunk = parsed(json);
    if (chunk === undefined) {
      // After the end only counts matter.
      if (!this.#isDone) this.#problem = { kind: "not-json" };
      return;
    }
    const error = errorIn(chunk);
    if (error !== undefined && !this.#isDone) {
      this.#problem = { kind: "error-event", error };
      return;
    }
    this.#tell(chunk, json);
  }

  #tell(chunk: JsonObject, json: string): void {
    if (this.#isDone) {
      if (isObject(chunk["usage"])) this.#sink.chunk({ choices: [], usage: chunk["usage"] });
      return;
    }
    this.#lastChunk = chunk;
    this.#sink.chunk(chunk);
    this.#learn(chunk, json);
    const shown = rewritten(json, chunk, this.#rewrite);
    if (shown === undefined || (isUsageChunk(chunk) && this.#hasShownUsage)) return;
    if (isUsageChunk(chunk)) this.#hasShownUsage = true;
    if (this.#rewrite.isShown) this.#out += `data: ${shown}\n\n`;
  }

  #learn(chunk: JsonObject, json: string): void {
    const isKnown = this.#pattern !== undefined && `data: ${json}`.startsWith(this.#pattern.before);
    if (isKnown || this.#lessons >= lessonsMax) return;
    this.#lessons += 1;
    this.#pattern = learn(json, chunk, this.#rewrite) ?? this.#pattern;
  }
}

/** A stream in which no event is like another is parsed, and not studied for ever. */
const lessonsMax = 32;

const eventEnd = /(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))+/g;

/** Seven times as fast as `startsWith` at a place: the parts are compared as memory. */
function isAt(text: string, part: string, at: number): boolean {
  return text.slice(at, at + part.length) === part;
}

function isUsageChunk(chunk: JsonObject): boolean {
  const { choices, usage } = chunk;
  return isObject(usage) && Array.isArray(choices) && choices.length === 0;
}

/** Both shapes that engines use once a stream has begun: engines.md 2. */
function errorIn(chunk: JsonObject): JsonObject | undefined {
  if (isObject(chunk["error"])) return chunk["error"];
  return chunk["object"] === "error" ? chunk : undefined;
}

function parsed(json: string): JsonObject | undefined {
  try {
    const value: unknown = JSON.parse(Buffer.from(json, "latin1").toString("utf8"));
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
