import { rewritten, type ChunkRewrite } from "./chunk-rewrite.ts";
import { closingQuote, scanObject } from "./json-text.ts";
import { isObject, objectIn, objectsIn, type JsonObject } from "./json-value.ts";
import type { TextKind } from "./meter.ts";

/** What the events around a piece of text have in common, as bytes in `latin1`. */
export interface Pattern {
  readonly choice: number;
  readonly kind: TextKind;
  readonly before: string;
  /** Up to the end of the event, or up to the counts. */
  readonly after: string;
  /** From the counts to the end of the event; undefined where there are none. */
  readonly afterUsage: string | undefined;
  /** The same as the client shall see it. */
  readonly shownBefore: string;
  readonly shownAfter: string;
}

const kindByKey: Readonly<Record<string, TextKind>> = {
  content: "content",
  reasoning_content: "reasoning",
  reasoning: "reasoning",
};

const limits = { depthMax: 64, keysMax: 10_000 };

/**
 * The pattern of a chunk that adds text to one choice and says nothing else. That the text is where it seems to be
 * is proved by putting another there and reading the chunk again.
 */
export function learn(json: string, chunk: JsonObject, rewrite: ChunkRewrite): Pattern | undefined {
  const found = onlyText(chunk);
  if (found === undefined || rewrite.usage === "continuous") return undefined;
  const { choice, key, kind } = found;
  const start = json.indexOf(`"${key}":"`) + key.length + 4;
  const end = closingQuote(json, start);
  if (start < key.length + 4 || end < 0) return undefined;
  const [before, after] = [json.slice(0, start), json.slice(end)];
  if (!isTextAt(before, after, key)) return undefined;
  const shown = rewritten(before + probe + after, chunk, { ...rewrite, isShown: true })?.split(
    probe,
  );
  const [shownBefore, shownAfter] = shown ?? [];
  if (shown?.length !== 2 || shownBefore === undefined || shownAfter === undefined)
    return undefined;
  const cut = isObject(chunk["usage"])
    ? aroundUsage(json, end)
    : { after: `${after}\n\n`, afterUsage: undefined };
  return (
    cut && {
      choice,
      kind,
      before: `data: ${before}`,
      ...cut,
      shownBefore: `data: ${shownBefore}`,
      shownAfter: `${shownAfter}\n\n`,
    }
  );
}

const probe = "tokengrid-probe-8d1f5c";

/** Nothing but one text differs from chunk to chunk, as far as a reader of the stream minds. */
function onlyText(chunk: JsonObject): { choice: number; key: string; kind: TextKind } | undefined {
  const choices = objectsIn(chunk, "choices");
  const [choice] = choices;
  const delta = objectIn(choice, "delta");
  if (choices.length !== 1 || choice === undefined || delta === undefined) return undefined;
  const texts = Object.keys(delta).filter((key) => key !== "role" && isSaid(delta[key]));
  const rest = Object.keys(choice).filter((key) => key !== "delta" && key !== "index");
  const others = Object.keys(chunk).filter((key) => !plainMembers.has(key));
  if (texts.length !== 1 || rest.some((key) => isSaid(choice[key]))) return undefined;
  if (others.some((key) => isSaid(chunk[key]))) return undefined;
  const [key = ""] = texts;
  const kind = kindByKey[key];
  const index = choice["index"];
  return kind === undefined || typeof index !== "number" || typeof delta[key] !== "string"
    ? undefined
    : { choice: index, key, kind };
}

/** The same in all chunks of a stream, or, the counts, told apart. */
const plainMembers = new Set([
  "id",
  "object",
  "created",
  "model",
  "choices",
  "system_fingerprint",
  "service_tier",
  "usage",
]);

function isSaid(value: unknown): boolean {
  return value !== null && value !== undefined;
}

function isTextAt(before: string, after: string, key: string): boolean {
  try {
    const value: unknown = JSON.parse(before + probe + after);
    const [choice] = isObject(value) ? objectsIn(value, "choices") : [];
    return objectIn(choice, "delta")?.[key] === probe;
  } catch {
    return false;
  }
}

/** The counts must come after the text: then what is before and behind them is the same in each event. */
function aroundUsage(
  json: string,
  textEnd: number,
): { after: string; afterUsage: string } | undefined {
  const scan = scanObject(json, limits);
  const usage = scan.kind === "object" ? scan.members.get("usage") : undefined;
  if (usage === undefined || usage.start < textEnd) return undefined;
  return { after: json.slice(textEnd, usage.start), afterUsage: `${json.slice(usage.end)}\n\n` };
}
