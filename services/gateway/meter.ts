import { createHash } from "node:crypto";
import type { EngineCapability, EngineKind } from "../core/pool.ts";
import type { AnswerEvidence } from "../core/settlement/counting/usage.ts";
import { isObject, objectIn, objectsIn, textIn, type JsonObject } from "./json-value.ts";
import { isMalformedUsage } from "./usage-shape.ts";
import type { AnswerText } from "./answer-text.ts";
import { TokenIds } from "./token-ids.ts";
import { UsageTail, type UsagePlace } from "./usage-tail.ts";

export type TextKind = "content" | "reasoning" | "tool";

/**
 * Counts what a pool sends for one attempt, while it goes by. The text itself is only hashed. How it was cut into
 * packets changes nothing of what is counted.
 */
export class AnswerMeter {
  readonly usage: UsageTail;
  readonly #bytes: Record<TextKind, number> = { content: 0, reasoning: 0, tool: 0 };
  readonly #hash = createHash("sha256");
  /** Text of this turn that is not hashed yet, as bytes in `latin1`. */
  #unhashed = "";
  #chunks = 0;
  #deltas = 0;
  #open = 0;
  readonly #finishReasons = new Map<number, string | undefined>();
  /** Whose text is not hashed yet. */
  #unhashedOf = { choice: 0, kind: "content" as TextKind };
  readonly #ids: TokenIds | undefined;
  readonly #text: AnswerText | undefined;
  #engineVersion: string | undefined;

  /** The text is kept where `text` is given. */
  constructor(engine: EngineKind, capabilities: ReadonlySet<EngineCapability>, text?: AnswerText) {
    this.usage = new UsageTail(engine, capabilities);
    this.#ids = capabilities.has("token-ids") ? new TokenIds() : undefined;
    this.#text = text;
  }

  /** What the engine says of its build. */
  get engineVersion(): string | undefined {
    return this.#engineVersion;
  }

  get ids(): TokenIds | undefined {
    return this.#ids;
  }

  /** Chunks with text in them: nearly the number of tokens, and a weaker witness than the engine. */
  get deltas(): number {
    return this.#deltas;
  }

  get chunks(): number {
    return this.#chunks;
  }

  get textBytes(): number {
    return this.#bytes.content + this.#bytes.reasoning + this.#bytes.tool;
  }

  /** As the engine counted them. Undefined is unknown. */
  get tokens(): Readonly<
    Record<"inputTokens" | "cachedTokens" | "outputTokens", number | undefined>
  > {
    const { input, cacheRead, output } = this.usage.counts;
    return {
      inputTokens: toNumber(input),
      cachedTokens: toNumber(cacheRead),
      outputTokens: toNumber(output),
    };
  }

  /** Every choice that began has said why it ended. */
  get isFinished(): boolean {
    return this.#finishReasons.size > 0 && this.#open === 0;
  }

  /** Those that have not said why they ended. */
  get openChoices(): readonly number[] {
    return [...this.#finishReasons].filter(([, reason]) => reason === undefined).map(([at]) => at);
  }

  /** Of the first choice. */
  get finishReason(): string | undefined {
    return this.#finishReasons.get(0) ?? this.#finishReasons.values().find(Boolean);
  }

  /** A chunk that only adds text to a choice, as bytes in `latin1`. */
  observeText(choice: number, kind: TextKind, bytes: string): void {
    this.#chunks += 1;
    if (!this.#finishReasons.has(choice)) this.#begin(choice);
    if (bytes !== "") this.#deltas += 1;
    this.#ids?.missing();
    this.#addText(choice, kind, bytes);
  }

  observeChunk(chunk: JsonObject): void {
    this.#chunks += 1;
    const choices = objectsIn(chunk, "choices");
    const before = this.textBytes;
    for (const choice of choices) this.#observeChoice(choice);
    const hasText = this.textBytes > before;
    if (hasText) this.#deltas += 1;
    this.#ids?.observe(chunk, hasText);
    this.#engineVersion ??= plainVersion(textIn(chunk, "system_fingerprint"));
    const { usage, timings } = chunk;
    if (isObject(usage)) this.observeUsage(usage, choices.length === 0);
    else if (isMalformedUsage(usage)) this.usage.malformed();
    else if (isObject(timings)) this.usage.observeTimings(timings, this.#place);
  }

  observeUsage(usage: JsonObject, isOwnChunk: boolean): void {
    this.usage.observe(usage, isOwnChunk ? "own-chunk" : this.#place);
  }

  get #place(): UsagePlace {
    return this.isFinished ? "with-finish" : "running";
  }

  /** To be called once per packet, so that the hash costs one call for many events. */
  settle(): void {
    if (this.#unhashed === "") return;
    this.#hash.update(this.#unhashed, "latin1");
    this.#text?.add(this.#unhashedOf.choice, this.#unhashedOf.kind, this.#unhashed);
    this.#unhashed = "";
  }

  /** Ends the count. */
  evidence(deliveredBytes: number): AnswerEvidence {
    this.settle();
    return {
      outBytes: BigInt(this.#bytes.content),
      reasoningBytes: BigInt(this.#bytes.reasoning),
      toolBytes: BigInt(this.#bytes.tool),
      deliveredBytes: BigInt(deliveredBytes),
      chunks: BigInt(this.#chunks),
      outDigest: this.#hash.digest("hex"),
    };
  }

  #observeChoice(choice: JsonObject): void {
    const index = typeof choice["index"] === "number" ? choice["index"] : 0;
    if (!this.#finishReasons.has(index)) this.#begin(index);
    const delta = objectIn(choice, "delta");
    for (const [kind, text] of textsIn(delta)) this.#addText(index, kind, bytesOf(text));
    const reason = plainReason(textIn(choice, "finish_reason"));
    if (reason !== undefined && this.#finishReasons.get(index) === undefined) {
      this.#open -= 1;
      this.#finishReasons.set(index, reason);
    }
  }

  #begin(choice: number): void {
    this.#open += 1;
    this.#finishReasons.set(choice, undefined);
  }

  #addText(choice: number, kind: TextKind, bytes: string): void {
    if (bytes === "") return;
    const of = this.#unhashedOf;
    if (this.#text !== undefined && (of.choice !== choice || of.kind !== kind)) this.settle();
    of.choice = choice;
    of.kind = kind;
    this.#bytes[kind] += bytes.length;
    this.#unhashed += bytes;
  }
}

/** One word, as it is written to the books; an engine that says more may be saying what it should not. */
function plainReason(reason: string | undefined): string | undefined {
  if (reason === undefined || reason === "") return undefined;
  return /^[\w-]{1,32}$/.test(reason) ? reason : "other";
}

/** A name and numbers; an engine that says more may be saying what it should not. */
function plainVersion(version: string | undefined): string | undefined {
  return version !== undefined && /^[\w.+:-]{1,64}$/.test(version) ? version : undefined;
}

/** Some engines say the same reasoning under both of its names. */
function* textsIn(delta: JsonObject | undefined): Generator<[TextKind, string]> {
  if (delta === undefined) return;
  yield ["content", textIn(delta, "content") ?? ""];
  yield ["content", textIn(delta, "refusal") ?? ""];
  yield ["reasoning", textIn(delta, "reasoning_content") ?? textIn(delta, "reasoning") ?? ""];
  const calls = [...objectsIn(delta, "tool_calls"), { function: delta["function_call"] }];
  for (const call of calls) {
    const called = call.function;
    if (!isObject(called)) continue;
    yield ["tool", textIn(called, "name") ?? ""];
    yield ["tool", textIn(called, "arguments") ?? ""];
  }
}

function bytesOf(text: string): string {
  return Buffer.from(text, "utf8").toString("latin1");
}

function toNumber(count: bigint | undefined): number | undefined {
  return count === undefined ? undefined : Number(count);
}
