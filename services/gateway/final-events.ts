import type { Answer } from "./answer.ts";
import type { ChunkReader } from "./chunk-reader.ts";
import { asciiJson } from "./json-text.ts";
import { isObject, type JsonObject } from "./json-value.ts";
import { isMalformedUsage } from "./usage-shape.ts";

/** Clients that asked for the counts get them, also where the engine said them beside text. */
export function usageEvent({ rewrite }: Answer, reader: ChunkReader, usage: unknown): string {
  if (rewrite.usage !== "final" || reader.hasShownUsage) return "";
  if (!isObject(usage) || isMalformedUsage(usage)) return "";
  return event({ ...head(reader, rewrite.alias), choices: [], usage });
}

/** The end of choices that nobody pays for any further. */
export function quotaEvents(
  answer: Answer,
  reader: ChunkReader,
  openChoices: readonly number[],
): string {
  let events = "";
  for (const index of openChoices) {
    const choices = [{ index, delta: {}, logprobs: null, finish_reason: "quota" }];
    const chunk = { ...head(reader, answer.rewrite.alias), choices };
    answer.chunk(chunk);
    if (answer.rewrite.isShown) events += event(chunk);
  }
  return events;
}

function head({ lastChunk }: ChunkReader, alias: string): JsonObject {
  const { id, created } = lastChunk ?? {};
  return { id, object: "chat.completion.chunk", created, model: alias };
}

function event(chunk: JsonObject): string {
  return `data: ${asciiJson(chunk)}\n\n`;
}
