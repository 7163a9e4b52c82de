import type { EngineKind } from "../core/pool.ts";
import { defaultContract } from "../core/settlement/terms/contract.ts";
import {
  tokenClasses,
  type Endpoint,
  type EngineCounts,
  type TokenClass,
  type TokenVariant,
  type TokenVariantKind,
} from "../core/settlement/counting/usage.ts";
import { countIn, isObject, objectIn, type JsonObject } from "./json-value.ts";

const tokensMax = Number(defaultContract.attemptTokensMax);
const depthMax = 4;

/**
 * True of a member `usage` that is there and says what no count is: a negative one, a fraction, a word, more than any
 * attempt has. It is not shown to clients, and settlement looks at it before anybody is paid.
 */
export function isMalformedUsage(usage: unknown): boolean {
  if (usage === undefined || usage === null) return false;
  return !isObject(usage) || !areCounts(usage, depthMax);
}

/** Engines also say times and rates, which may be what they like. */
function areCounts(object: JsonObject, depthLeft: number): boolean {
  for (const key in object) {
    const value = object[key];
    if (key.endsWith("_tokens") && !isCount(value)) return false;
    if (isObject(value) && (depthLeft === 0 || !areCounts(value, depthLeft - 1))) return false;
  }
  return true;
}

function isCount(value: unknown): boolean {
  if (value === null) return true;
  return (
    typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= tokensMax
  );
}

/** What an engine said of its counts, its own totals: reference/settlement.md 4. Undefined is unknown. */
export interface SaidUsage {
  readonly counts: Omit<EngineCounts, "source">;
  /** Sorted. */
  readonly variants: readonly TokenVariant[];
  /** It says what changed since the statement before, and leaves out what did not. */
  readonly isPartial: boolean;
  /** Its own sum, or its own parts, are not what they should add up to. */
  readonly isMismatched: boolean;
}

/** The one place that knows how engines name their counts. */
export function saidUsage(usage: JsonObject, engine: EngineKind, endpoint: Endpoint): SaidUsage {
  if (!("input_tokens" in usage || "output_tokens" in usage)) return chatUsage(usage, engine);
  const isMessages = endpoint === "messages" || engine === "anthropic";
  return isMessages ? messagesUsage(usage) : responsesUsage(usage);
}

/** llama.cpp tells its counts with its times too, also where nobody asked for usage. */
export function timingsUsage(timings: JsonObject): SaidUsage | undefined {
  const fresh = countIn(timings, "prompt_n");
  const cacheRead = countIn(timings, "cache_n");
  const output = countIn(timings, "predicted_n");
  if (fresh === undefined || output === undefined) return undefined;
  const input = cacheRead === undefined ? undefined : fresh + cacheRead;
  const counts = { input, cacheRead, cacheWrite: undefined, output, reasoning: undefined };
  return { counts, variants: [], isPartial: false, isMismatched: false };
}

/** OpenAI chat, vLLM, SGLang, TensorRT-LLM, llama.cpp, DeepSeek, Bailian: one shape with differences. */
function chatUsage(usage: JsonObject, engine: EngineKind): SaidUsage {
  const prompt = objectIn(usage, "prompt_tokens_details");
  // What SGLang keeps under this name is speculative decoding, which nobody is billed for.
  const completion = engine === "sglang" ? undefined : objectIn(usage, "completion_tokens_details");
  const hit = countIn(usage, "prompt_cache_hit_tokens");
  const miss = countIn(usage, "prompt_cache_miss_tokens");
  const sum = hit === undefined || miss === undefined ? undefined : hit + miss;
  const counts = {
    input: countIn(usage, "prompt_tokens") ?? sum,
    cacheRead: countIn(prompt, "cached_tokens") ?? hit,
    cacheWrite: cacheWriteIn(prompt),
    output: countIn(usage, "completion_tokens"),
    reasoning: countIn(completion, "reasoning_tokens") ?? countIn(usage, "reasoning_tokens"),
  };
  const isSplit = sum === undefined || counts.input === sum;
  return {
    counts,
    variants: sorted([
      ...cacheVariants(prompt, counts, engine),
      ...modalities(prompt, completion, counts),
    ]),
    isPartial: false,
    isMismatched: !isSplit || isTotalOff(usage, counts),
  };
}

function responsesUsage(usage: JsonObject): SaidUsage {
  const input = objectIn(usage, "input_tokens_details");
  const counts = {
    input: countIn(usage, "input_tokens"),
    cacheRead: countIn(input, "cached_tokens"),
    cacheWrite: cacheWriteIn(input),
    output: countIn(usage, "output_tokens"),
    reasoning: countIn(objectIn(usage, "output_tokens_details"), "reasoning_tokens"),
  };
  return { counts, variants: [], isPartial: false, isMismatched: isTotalOff(usage, counts) };
}

/** The input leaves both caches out. `message_start` has the input, each `message_delta` the output so far. */
function messagesUsage(usage: JsonObject): SaidUsage {
  const created = objectIn(usage, "cache_creation");
  const counts = {
    input: countIn(usage, "input_tokens"),
    cacheRead: countIn(usage, "cache_read_input_tokens"),
    cacheWrite: cacheWriteIn(usage),
    output: countIn(usage, "output_tokens"),
    reasoning: undefined,
  };
  const variants = sorted([
    ...variant("cacheWrite", "write_5m", countIn(created, "ephemeral_5m_input_tokens")),
    ...variant("cacheWrite", "write_1h", countIn(created, "ephemeral_1h_input_tokens")),
  ]);
  return { counts, variants, isPartial: true, isMismatched: false };
}

function cacheWriteIn(details: JsonObject | undefined): bigint | undefined {
  const created = objectIn(details, "cache_creation");
  const short = countIn(created, "ephemeral_5m_input_tokens");
  const long = countIn(created, "ephemeral_1h_input_tokens");
  const parts =
    short === undefined && long === undefined ? undefined : (short ?? 0n) + (long ?? 0n);
  return (
    countIn(details, "cache_creation_input_tokens") ??
    countIn(details, "cache_write_tokens") ??
    parts
  );
}

/** Bailian says `cache_type` where the caller marked what to cache; other hosted caches find it by themselves. */
function cacheVariants(
  prompt: JsonObject | undefined,
  { cacheRead, cacheWrite }: Pick<EngineCounts, "cacheRead" | "cacheWrite">,
  engine: EngineKind,
): TokenVariant[] {
  const isExplicit = prompt?.["cache_type"] === "ephemeral" || isObject(prompt?.["cache_creation"]);
  const isHosted = engine === "openai" || engine === "other";
  if (!isExplicit && !isHosted) return [];
  const kind = isExplicit ? "explicit" : "implicit";
  return [
    ...variant("cacheRead", kind, cacheRead),
    ...(isExplicit ? variant("cacheWrite", kind, cacheWrite) : []),
  ];
}

/** Which of the cached tokens were pictures nobody says, so that the split is known only without a cache. */
function modalities(
  prompt: JsonObject | undefined,
  completion: JsonObject | undefined,
  { cacheRead = 0n, cacheWrite = 0n }: Pick<EngineCounts, "cacheRead" | "cacheWrite">,
): TokenVariant[] {
  const isUncached = cacheRead + cacheWrite === 0n;
  return [
    ...(isUncached ? variant("uncachedInput", "image", countIn(prompt, "image_tokens")) : []),
    ...(isUncached ? variant("uncachedInput", "audio", countIn(prompt, "audio_tokens")) : []),
    ...variant("response", "audio", countIn(completion, "audio_tokens")),
  ];
}

function variant(
  tokenClass: TokenClass,
  kind: TokenVariantKind,
  tokens: bigint | undefined,
): TokenVariant[] {
  return tokens === undefined || tokens === 0n ? [] : [{ tokenClass, variant: kind, tokens }];
}

function sorted(variants: readonly TokenVariant[]): TokenVariant[] {
  return variants.toSorted(
    (one, other) =>
      tokenClasses.indexOf(one.tokenClass) - tokenClasses.indexOf(other.tokenClass) ||
      (one.variant < other.variant ? -1 : 1),
  );
}

function isTotalOff(
  usage: JsonObject,
  { input = 0n, output = 0n }: Pick<EngineCounts, "input" | "output">,
): boolean {
  const total = countIn(usage, "total_tokens");
  return total !== undefined && total !== input + output;
}
