import { isObject, objectsIn, objectIn, type JsonObject } from "./json-value.ts";
import type { TextKind } from "./meter.ts";
import { isMalformedUsage } from "./usage-shape.ts";

/** The chunks of an answer are more, or nested deeper, than a client that does not stream may be sent at once. */
export class AnswerTooLargeError extends Error {
  override name = "AnswerTooLargeError";
}

export const answerBytesMax = 64 * 1024 * 1024;

export const answerDepthMax = 64;

/** What each value of a chunk is counted as, besides its text. */
const valueBytes = 16;

type Building = Record<string, unknown>;

const keyByKind: Readonly<Record<TextKind, string>> = {
  content: "content",
  reasoning: "reasoning_content",
  tool: "content",
};

/** Says of itself in every chunk, so that the last one stands. */
const constantTexts = new Set(["role", "id", "type", "name", "object"]);

/**
 * Makes one `chat.completion` of the chunks of a stream: texts and lists are joined, calls of tools by their index,
 * anything else stands as it was said last. Throws `AnswerTooLargeError`.
 */
export class Assembler {
  #head: Building = {};
  readonly #choices = new Map<number, Building>();
  /** As it was said last. */
  #usage: unknown;
  #bytes = 0;

  /** Text without escapes, as bytes in `latin1`. */
  addText(choice: number, kind: TextKind, bytes: string): void {
    this.#grow(bytes.length);
    const message = this.#messageOf(choice);
    const key = keyByKind[kind];
    const before = message[key];
    message[key] = (typeof before === "string" ? before : "") + fromBytes(bytes);
  }

  addChunk(chunk: JsonObject): void {
    this.#grow(weightOf(chunk, answerDepthMax));
    const { choices: _choices, usage, ...head } = chunk;
    this.#head = { ...this.#head, ...head };
    if (usage !== undefined && usage !== null) this.#usage = usage;
    for (const choice of objectsIn(chunk, "choices")) this.#addChoice(choice);
  }

  addUsage(usage: JsonObject): void {
    this.#grow(weightOf(usage, answerDepthMax));
    this.#usage = usage;
  }

  /** The whole answer, under the name by which the model was asked for. */
  toJson(alias: string): string {
    const { error: _error, ...head } = this.#head;
    const choices = [...this.#choices.values()].toSorted(
      (one, other) => Number(one["index"]) - Number(other["index"]),
    );
    return JSON.stringify({
      ...head,
      object: "chat.completion",
      model: alias,
      choices: choices.map(finished),
      ...(isObject(this.#usage) && !isMalformedUsage(this.#usage) && { usage: this.#usage }),
    });
  }

  #addChoice(choice: JsonObject): void {
    const index = typeof choice["index"] === "number" ? choice["index"] : 0;
    const { delta: _delta, index: _index, finish_reason: reason, ...others } = choice;
    const building = this.#choiceAt(index);
    merge(building, others);
    if (typeof reason === "string") building["finish_reason"] = reason;
    merge(this.#messageOf(index), objectIn(choice, "delta") ?? {});
  }

  #choiceAt(index: number): Building {
    const known = this.#choices.get(index);
    if (known !== undefined) return known;
    const message = { role: "assistant", content: null, refusal: null };
    const choice: Building = { index, message, logprobs: null, finish_reason: null };
    this.#choices.set(index, choice);
    return choice;
  }

  #messageOf(index: number): Building {
    const { message } = this.#choiceAt(index);
    return message as Building;
  }

  #grow(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes > answerBytesMax) {
      throw new AnswerTooLargeError(`the answer has more than ${answerBytesMax} bytes`);
    }
  }
}

/** About what the value takes, in bytes. Throws where it is nested too deep to be walked or written again. */
function weightOf(value: unknown, depthLeft: number): number {
  if (typeof value === "string") return valueBytes + value.length;
  if (typeof value !== "object" || value === null) return valueBytes;
  if (depthLeft === 0) {
    throw new AnswerTooLargeError(`the answer is nested deeper than ${answerDepthMax}`);
  }
  let bytes = valueBytes;
  for (const [key, each] of Object.entries(value)) {
    bytes += key.length + weightOf(each, depthLeft - 1);
  }
  return bytes;
}

function merge(into: Building, from: JsonObject): void {
  for (const [key, value] of Object.entries(from)) {
    if (value === null || value === undefined) into[key] ??= null;
    else into[key] = merged(key, into[key], value);
  }
}

function merged(key: string, before: unknown, value: unknown): unknown {
  if (key === "tool_calls" && Array.isArray(value)) return mergedCalls(before, value);
  if (Array.isArray(value)) return joinedLists(before, value);
  if (typeof value === "string" && !constantTexts.has(key)) {
    return (typeof before === "string" ? before : "") + value;
  }
  if (!isObject(value)) return value;
  const building: Building = isObject(before) ? { ...before } : {};
  merge(building, value);
  return building;
}

/** The list that is built up is ours: copied for each chunk, a long answer would take for ever. */
function joinedLists(before: unknown, value: readonly unknown[]): readonly unknown[] {
  if (!Array.isArray(before)) return [...value];
  for (const each of value) before.push(each);
  return before;
}

/** A call comes in pieces; `index` says to which one a piece belongs. */
function mergedCalls(before: unknown, pieces: readonly unknown[]): Building[] {
  const calls: Building[] = Array.isArray(before) ? before.filter(isObject) : [];
  for (const piece of pieces.filter(isObject)) {
    const index = piece["index"] ?? calls.length;
    let call = calls.find((each) => each["index"] === index);
    if (call === undefined) {
      call = { index };
      calls.push(call);
    }
    merge(call, piece);
  }
  return calls;
}

/** An answer that is whole has no numbers at its calls. */
function finished(choice: Building): Building {
  const message = choice["message"] as Building;
  const calls = message["tool_calls"];
  if (!Array.isArray(calls)) return choice;
  const named = calls.filter(isObject).map(({ index: _index, ...call }) => call);
  return { ...choice, message: { ...message, tool_calls: named } };
}

function fromBytes(bytes: string): string {
  return /[\x80-\xff]/.test(bytes) ? Buffer.from(bytes, "latin1").toString("utf8") : bytes;
}
