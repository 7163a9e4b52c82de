import { breachOf, isOutputClass, toleranceOf, type BoundReason, type Counts } from "./bounds.ts";
import {
  endingOf,
  type Contract,
  type CountRule,
  type Ending,
  type Owed,
} from "../terms/contract.ts";
import { soldOf } from "./sold.ts";
import {
  noTokens,
  tokenClasses,
  type Tokens,
  type TokenVariant,
  type UsageFlag,
  type UsageRecord,
} from "./usage.ts";

/** The evidence that decided, from the strongest to the weakest. */
export const countBases = [
  "engine-final",
  "engine-continuous",
  "engine-query",
  "token-ids",
  "gateway-tokenizer",
  "gateway-heuristic",
  /** The vendor's own, near enough to ours. */
  "vendor-claim",
  /** No byte of an answer went by. */
  "nothing-seen",
  /** The contract owes nothing for this ending, whatever was counted. */
  "not-owed",
] as const;

export type CountBasis = (typeof countBases)[number];
type Witness = Exclude<CountBasis, "vendor-claim" | "nothing-seen" | "not-owed">;

/** What the contract's count rule made of a record. */
export interface Usage {
  readonly kind: "settled";
  readonly record: UsageRecord;
  readonly tokens: Tokens;
  /** What the tenant pays for: never more than `tokens`, none unless it was served by this attempt. */
  readonly sold: Tokens;
  /** Parts of classes that have a price of their own, as far as the engine's counts decided. Sorted. */
  readonly variants: readonly TokenVariant[];
  /** The weaker of the two that gave input and output. */
  readonly basis: CountBasis;
  readonly ending: Ending;
  /** Sorted; those of the record and those that arose here. */
  readonly flags: readonly UsageFlag[];
}

export type CountReason = BoundReason | "no-count" | "cache-unknown" | "reasoning-unknown";

/** Kept aside with the reason. Nothing is paid, nothing is lost. */
export interface Doubt {
  readonly kind: "doubtful";
  readonly reason: CountReason;
  /** What was expected and what was found. */
  readonly detail: string;
}

/**
 * Chooses among the witnesses' counts; the only place that does. An unknown count stays unknown until a
 * declared capability says that absent means none, or the contract says what it means. The claim counts only where
 * the contract goes by it, and only near our own count.
 */
export function settleCounts(
  record: UsageRecord,
  contract: Contract,
  claim?: Tokens,
): Usage | Doubt {
  const ending = endingOf(record);
  const owed = contract.owed[ending];
  const usage = { kind: "settled", record, ending, variants: [] } as const;
  if (isNothingOwed(record, owed)) {
    const { flags } = record;
    return { ...usage, tokens: noTokens, sold: noTokens, basis: "not-owed", flags };
  }
  const chosen = choose(record, contract, owed);
  if (chosen.kind === "doubtful") return chosen;
  const { counts, unknown } = chosen;
  const breach = breachOf(record, counts, contract);
  if (breach !== undefined) return { kind: "doubtful", ...breach };
  const own = disjoint(counts, owed);
  const isClaimed = contract.countRule === "claim-in-tolerance" && isNear(own, claim, contract);
  const tokens = isClaimed ? claim : own;
  const flags = [...new Set([...record.flags, ...unknown])].toSorted();
  return {
    ...usage,
    tokens,
    sold: soldOf(record, { tokens, grace: counts.grace }, owed.tenant),
    variants: within(
      tokens,
      record.variants.filter((each) => isOwed(each, counts, owed)),
    ),
    basis: isClaimed ? "vendor-claim" : chosen.basis,
    flags,
  };
}

/** Each class within the contract's tolerance: what moves between classes moves money. */
function isNear(own: Tokens, claim: Tokens | undefined, contract: Contract): claim is Tokens {
  if (claim === undefined) return false;
  return tokenClasses.every((each) => {
    const tolerance = toleranceOf(own[each], contract);
    return claim[each] <= own[each] + tolerance && claim[each] >= own[each] - tolerance;
  });
}

/** No more of a class than there is of it: a claim may be below the engine's count. */
function within(tokens: Tokens, variants: readonly TokenVariant[]): readonly TokenVariant[] {
  const left = { ...tokens };
  return variants.flatMap((each) => {
    const most = left[each.tokenClass];
    const taken = each.tokens < most ? each.tokens : most;
    left[each.tokenClass] -= taken;
    return taken === 0n ? [] : [{ ...each, tokens: taken }];
  });
}

/** What another witness counted has no parts that the engine told. */
function isOwed({ tokenClass, tokens }: TokenVariant, counts: Counts, { vendor }: Owed): boolean {
  const isOutput = isOutputClass(tokenClass);
  const isCounted = isOutput ? counts.isOutputReported : counts.isInputReported;
  return tokens > 0n && isCounted && !(isOutput && vendor === "prompt-only");
}

/** Of a broken attempt the vendor is owed from the first byte on. */
function isNothingOwed({ firstByteUs }: UsageRecord, { vendor }: Owed): boolean {
  return vendor === "nothing" || (vendor !== "counts" && firstByteUs === undefined);
}

interface Chosen {
  readonly kind: "chosen";
  readonly counts: Counts;
  readonly basis: CountBasis;
  /** What was unknown and the contract decided. */
  readonly unknown: readonly UsageFlag[];
}

/** One side of a record as one witness counted it. */
interface Count {
  readonly witness: CountBasis;
  readonly tokens: bigint;
}

function choose(record: UsageRecord, contract: Contract, owed: Owed): Chosen | Doubt {
  const input = inputCount(record, contract);
  const seen = outputCount(record, contract) ?? nothingSeen(record);
  if (input === undefined || seen === undefined) {
    const side = input === undefined ? "prompt" : "output";
    return doubt("no-count", `expected a count of the ${side} from any witness, found none`);
  }
  const cache = cacheCounts(record, input, contract);
  if (cache === undefined) {
    return doubt("cache-unknown", "expected cached tokens, found neither count nor capability");
  }
  const reasoning = reasoningCount(record, seen, contract);
  if (reasoning === undefined) {
    return doubt("reasoning-unknown", "expected reasoning tokens, found no count nor capability");
  }
  const unpaid = unseenBeyond(record, reasoning.tokens, contract);
  const shown = { ...seen, tokens: seen.tokens - unpaid };
  const output = granted(record, shown, contract, owed);
  const total = excludesCache(record) && isFromEngine(input) ? cache.read + cache.write : 0n;
  const counts: Counts = {
    input: input.tokens + total,
    cacheRead: cache.read,
    cacheWrite: cache.write,
    output,
    reasoning: reasoning.tokens - unpaid,
    grace: output - shown.tokens,
    unseen: isReasoningSeen(record) ? 0n : reasoning.tokens - unpaid,
    isEstimate: seen.witness === "gateway-heuristic",
    isInputReported: isFromEngine(input),
    isOutputReported: isFromEngine(seen),
  };
  const unknown: UsageFlag[] = [];
  if (cache.isUnknown) unknown.push("cache-unknown");
  if (reasoning.isUnknown) unknown.push("reasoning-unknown");
  return {
    kind: "chosen",
    counts,
    basis: weaker(input.witness, seen.witness),
    unknown,
  };
}

/** What each witness says of a side. Undefined is unknown. */
type Reading = (record: UsageRecord, side: "input" | "output") => bigint | undefined;

const readings: Readonly<Record<Witness, Reading>> = {
  "engine-final": ({ engineCounts: counts }, side) =>
    counts.source === "final" || counts.source === "non-stream" ? counts[side] : undefined,
  "engine-continuous": ({ engineCounts: counts }, side) =>
    counts.source === "continuous" ? counts[side] : undefined,
  "engine-query": ({ engineCounts: counts }, side) =>
    counts.source === "query" ? counts[side] : undefined,
  "token-ids": ({ idsInput, idsOutput }, side) => (side === "input" ? idsInput : idsOutput),
  "gateway-tokenizer": ({ gatewayCounts: counts }, side) =>
    counts.source === "tokenizer" ? counts[side] : undefined,
  // An estimate never exceeds what was reserved.
  "gateway-heuristic": ({ gatewayCounts: counts, outputTokensMax }, side) => {
    const estimate = counts.source === "heuristic" ? counts[side] : undefined;
    if (estimate === undefined || side === "input" || outputTokensMax === undefined)
      return estimate;
    return estimate > outputTokensMax ? outputTokensMax : estimate;
  },
};

const strongestFirst: readonly Witness[] = [
  "engine-final",
  "engine-continuous",
  "engine-query",
  "token-ids",
  "gateway-tokenizer",
  "gateway-heuristic",
];

type Choice = (record: UsageRecord, side: "input" | "output") => Count | undefined;

const countRules: Readonly<Record<CountRule, Choice>> = {
  "engine-final": (record, side) => counted(record, side, strongestFirst)[0],
  // The claim is compared with what this gives.
  "claim-in-tolerance": (record, side) => counted(record, side, strongestFirst)[0],
  "ids-first": (record, side) => counted(record, side, ["token-ids", ...strongestFirst])[0],
  // An estimate takes part only where nobody counted.
  "lower-of-witnesses": (record, side) =>
    lowest(counted(record, side, strongestFirst.slice(0, -1))) ??
    counted(record, side, ["gateway-heuristic"])[0],
};

function counted(
  record: UsageRecord,
  side: "input" | "output",
  witnesses: readonly Witness[],
): Count[] {
  const counts: Count[] = [];
  for (const witness of witnesses) {
    const tokens = readings[witness](record, side);
    if (tokens !== undefined) counts.push({ witness, tokens });
  }
  return counts;
}

function lowest(counts: readonly Count[]): Count | undefined {
  return counts.reduce<Count | undefined>(
    (low, each) => (low === undefined || each.tokens < low.tokens ? each : low),
    undefined,
  );
}

function inputCount(record: UsageRecord, { countRule }: Contract): Count | undefined {
  return countRules[countRule](record, "input");
}

function outputCount(record: UsageRecord, { countRule }: Contract): Count | undefined {
  return countRules[countRule](record, "output");
}

/** Bytes that were counted and are none are evidence, where no token count is. */
function nothingSeen({ evidence, end }: UsageRecord): Count | undefined {
  const bytes = evidence.outBytes + evidence.reasoningBytes + evidence.toolBytes;
  return bytes === 0n && end !== "complete" ? { witness: "nothing-seen", tokens: 0n } : undefined;
}

/** Anthropic's input leaves both caches out; the others' totals hold them. */
function excludesCache({ engine, endpoint }: UsageRecord): boolean {
  return engine === "anthropic" || endpoint === "messages";
}

function isFromEngine({ witness }: Count): boolean {
  return witness.startsWith("engine-");
}

/** Where the prompt was not counted by the engine, its cache figures do not belong to that count. */
function cacheCounts(
  record: UsageRecord,
  input: Count,
  { onCacheUnknown }: Contract,
): { read: bigint; write: bigint; isUnknown: boolean } | undefined {
  const { cacheRead, cacheWrite } = record.engineCounts;
  const isReported = isFromEngine(input);
  const [read, write] = isReported ? [cacheRead, cacheWrite] : [undefined, undefined];
  const isAbsentNone = isReported && record.capabilities.has("cache-report");
  // Where the cache is part of the input, writes are no class of their own: only reads can be missing.
  const isMissing = read === undefined || (excludesCache(record) && write === undefined);
  const isUnknown = isMissing && !isAbsentNone;
  if (isUnknown && onCacheUnknown === "quarantine") return undefined;
  return { read: read ?? 0n, write: write ?? 0n, isUnknown };
}

function reasoningCount(
  { engineCounts, capabilities }: UsageRecord,
  output: Count,
  { onReasoningUnknown }: Contract,
): { tokens: bigint; isUnknown: boolean } | undefined {
  const reported = isFromEngine(output) ? engineCounts.reasoning : undefined;
  if (reported !== undefined) return { tokens: reported, isUnknown: false };
  const isAbsentNone = isFromEngine(output) && capabilities.has("reasoning-count");
  if (isAbsentNone || output.tokens === 0n) return { tokens: 0n, isUnknown: false };
  return onReasoningUnknown === "response" ? { tokens: 0n, isUnknown: true } : undefined;
}

/** Reasoning tokens that the contract does not pay: nobody saw them, and they are more than its cap. */
function unseenBeyond(
  record: UsageRecord,
  reasoning: bigint,
  { maxReasoningTokens }: Contract,
): bigint {
  if (maxReasoningTokens === undefined || isReasoningSeen(record)) return 0n;
  return reasoning > maxReasoningTokens ? reasoning - maxReasoningTokens : 0n;
}

/** As text or as token ids. */
function isReasoningSeen({ evidence, idsOutput }: UsageRecord): boolean {
  return evidence.reasoningBytes > 0n || idsOutput !== undefined;
}

/** After a cancel the engine runs on until it hears of it; a final count has seen that itself. */
function granted(
  { outputTokensMax }: UsageRecord,
  { witness, tokens }: Count,
  { cancelGraceTokens }: Contract,
  { vendor }: Owed,
): bigint {
  const isFinal = witness === "engine-final" || witness === "engine-query";
  if (vendor !== "generated" || isFinal || cancelGraceTokens === 0n) return tokens;
  const most = tokens + cancelGraceTokens;
  const isOver = outputTokensMax !== undefined && most > outputTokensMax;
  return isOver ? (tokens > outputTokensMax ? tokens : outputTokensMax) : most;
}

function weaker(a: CountBasis, b: CountBasis): CountBasis {
  return countBases.indexOf(a) > countBases.indexOf(b) ? a : b;
}

function disjoint(counts: Counts, { vendor }: Owed): Tokens {
  const isPromptOnly = vendor === "prompt-only";
  return {
    uncachedInput: counts.input - counts.cacheRead - counts.cacheWrite,
    cacheRead: counts.cacheRead,
    cacheWrite: counts.cacheWrite,
    response: isPromptOnly ? 0n : counts.output - counts.reasoning,
    reasoning: isPromptOnly ? 0n : counts.reasoning,
  };
}

function doubt(reason: CountReason, detail: string): Doubt {
  return { kind: "doubtful", reason, detail };
}
