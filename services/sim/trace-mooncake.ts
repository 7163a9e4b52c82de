import { traceBlockTokens, type TraceRow } from "../core/workload.ts";
import { shown, tokensIn, TraceError } from "./trace.ts";
import type { Line, Place } from "./trace.ts";

/** Mooncake FAST'25: ms since the start, lengths, and the ids of the prompt's blocks of 512 tokens. */
export async function* mooncakeRows(
  path: string,
  lines: AsyncIterable<Line>,
): AsyncGenerator<TraceRow> {
  let firstMs: number | undefined;
  let latestMs = 0;
  for await (const { number, text } of lines) {
    const place = { path, line: number };
    const row = objectIn(place, text);
    const timestampMs = timestampIn(place, row.timestamp);
    firstMs ??= timestampMs;
    const atMs = timestampMs - firstMs;
    if (atMs < latestMs) {
      throw new TraceError(
        place,
        `timestamp: expected none before the line above, found ${timestampMs}`,
      );
    }
    latestMs = atMs;
    const inputTokens = tokensIn(place, "input_length", row.input_length);
    const outputTokens = tokensIn(place, "output_length", row.output_length);
    yield { atMs, inputTokens, outputTokens, blocks: blocksIn(place, row.hash_ids, inputTokens) };
  }
}

function objectIn(place: Place, text: string): Readonly<Record<string, unknown>> {
  const value = jsonIn(place, text);
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return { ...value };
  throw new TraceError(place, `expected a JSON object, found ${shown(text)}`);
}

function jsonIn(place: Place, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new TraceError(place, `expected a JSON object, found ${shown(text)}`);
  }
}

function timestampIn(place: Place, value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value) && value >= 0) return value;
  throw new TraceError(
    place,
    `timestamp: expected ms since the start, at least 0, found ${shown(value)}`,
  );
}

function blocksIn(place: Place, value: unknown, inputTokens: number): number[] {
  const count = Math.ceil(inputTokens / traceBlockTokens);
  const blocks = Array.isArray(value) ? value.filter(isBlockId) : [];
  if (Array.isArray(value) && blocks.length === value.length && blocks.length === count)
    return blocks;
  const found = Array.isArray(value) ? `${blocks.length} of ${value.length}` : shown(value);
  throw new TraceError(
    place,
    `hash_ids: expected ${count} block ids for ${inputTokens} tokens, found ${found}`,
  );
}

function isBlockId(id: unknown): id is number {
  return typeof id === "number" && Number.isSafeInteger(id) && id >= 0;
}
