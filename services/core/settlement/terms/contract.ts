import { mapped } from "../../table.ts";
import type { BookId, ModelId, Nano } from "../../units.ts";
import { defaultPairTerms, type PairTerms } from "./pair-terms.ts";
import type { UsageRecord } from "../counting/usage.ts";

/** How an attempt ended, as far as it matters for who pays. */
export type Ending = keyof typeof endings;

/**
 * What the vendor is owed for:
 * - `counts`: what was settled by the count rule.
 * - `generated`: the same, with the grace for what the engine made while the cancel travelled.
 * - `lower-bound`: what was seen; a claim with evidence may raise it.
 * - `prompt-only`: the input.
 */
export type VendorGets = "counts" | "generated" | "lower-bound" | "prompt-only" | "nothing";

/**
 * What the tenant pays for, if the attempt's bytes served it:
 * - `counts`: what was settled.
 * - `generated`: the same without the grace after the cancel.
 * - `delivered`: input, and output as far as the client took it.
 * - `nothing`.
 */
export type TenantPays = "counts" | "generated" | "delivered" | "nothing";

/** Where the cost goes: to the cost of what was sold, or to an account that nobody pays. */
export type CostSide = "cogs" | "audit" | Leakage;

/** What nobody pays, by why. */
export const leakages = ["abort", "hedge", "orphan", "insurance", "unmetered"] as const;
export type Leakage = (typeof leakages)[number];

export interface Owed {
  readonly vendor: VendorGets;
  readonly tenant: TenantPays;
  readonly cost: CostSide;
  /** Where the cost goes if the attempt's bytes did not serve the tenant. */
  readonly costUnlessWinner: CostSide;
}

export type CountRule = "engine-final" | "ids-first" | "lower-of-witnesses" | "claim-in-tolerance";

/** What a vendor is owed of an attempt that was given up: what it made until then, all that it makes, or nothing. */
export const cancelPolicies = ["bill-generated", "bill-full", "no-bill"] as const;
export type CancelPolicy = (typeof cancelPolicies)[number];

/** What a vendor is owed of an attempt that it lost itself, after the first token. */
export const cutPolicies = ["none", "prompt-only", "generated"] as const;
export type CutPolicy = (typeof cutPolicies)[number];

/** Of an attempt that nobody closed: what was seen, or up to the reservation with evidence, or nothing. */
export const crashPolicies = ["lower-bound", "evidence", "none"] as const;
export type CrashPolicy = (typeof crashPolicies)[number];

/** What the vendor keeps and shows in a dispute. */
export const evidenceKinds = [
  "token-ids",
  "ids-digest",
  "out-digest",
  "continuous-usage",
  "engine-log",
] as const;
export type EvidenceKind = (typeof evidenceKinds)[number];

/** How long, how much and how many at once is drained of pools whose clients have gone, where all is billed. */
export interface DrainLimit {
  readonly seconds: number;
  readonly tokens: bigint;
  readonly concurrent: number;
}

/** What an operator and a vendor agreed. One per pair, versioned. */
export interface Contract extends PairTerms {
  readonly countRule: CountRule;
  readonly cancelPolicy: CancelPolicy;
  readonly drainLimit: DrainLimit;
  readonly onUpstreamCut: CutPolicy;
  /** Of hedges that lost, and of attempts that were given up to try elsewhere. */
  readonly hedgePolicy: CancelPolicy;
  readonly crashPolicy: CrashPolicy;
  /** Follows from the policies, but for cells that the contract names. */
  readonly owed: Readonly<Record<Ending, Owed>>;
  /** Tokens granted on top of the last count seen before a cancel. */
  readonly cancelGraceTokens: bigint;
  readonly onCacheUnknown: "uncached" | "quarantine";
  readonly onReasoningUnknown: "response" | "quarantine";
  /** Reasoning that nobody saw, neither text nor ids, is owed up to so many tokens. Undefined: it must show its bytes. */
  readonly maxReasoningTokens: bigint | undefined;
  /** Which instant of an attempt chooses the slot of use. */
  readonly touBasis: "opened" | "first-token" | "closed";
  /** Nearer to the end of a slot than this and the clock's error, the cheaper slot applies. */
  readonly touGraceUs: bigint;
  /** Tokens without text of their own: end marks, tool marks, role events. */
  readonly boundSlackTokens: bigint;
  /** Tokens of a prompt that are not in the request: what the model's chat template writes by itself. */
  readonly promptSlackTokens: bigint;
  /** Between two counts of the same prompt. */
  readonly toleranceTokens: bigint;
  readonly tolerancePpm: bigint;
  /** Between the sums of a pool, a model and a day, however small each difference. */
  readonly aggregatePpm: bigint;
  /** Of one stream. Undefined: the contract sets no bound. */
  readonly rateTokensPerSecondMax: bigint | undefined;
  /** Of one stream of a model, before the bound for all. */
  readonly rateTokensPerSecondMaxByModel: ReadonlyMap<ModelId, bigint>;
  readonly evidence: readonly EvidenceKind[];
  /** By which what is sold of its pools is divided; undefined: the operator's. */
  readonly splitRule: string | undefined;
  /** Pays attempts that did not serve the tenant, where the vendor has a share of what is sold. */
  readonly loserBook: BookId | undefined;
  /** Of one attempt, input or output. More is a defect, and would not fit where totals are kept. */
  readonly attemptTokensMax: bigint;
  /** Owed for one attempt. More is a defect of a price or a count. */
  readonly attemptNanoMax: Nano;
}

/** The first that fits is the ending. */
export const endings = {
  "not-dispatched": ({ end }) => end === "not-dispatched",
  checked: ({ role }) => role === "audit" || role === "canary",
  crashed: ({ end }) => end === "gateway-crash",
  refused: ({ end, firstByteUs }) =>
    end === "upstream-error" || (end === "upstream-cut" && firstByteUs === undefined),
  cut: ({ end }) => end === "upstream-cut",
  lost: ({ end, cancelCause, isWinner }) =>
    cancelCause === "hedge-lost" ||
    (end === "gateway-cancel" && cancelCause === undefined && !isWinner),
  "client-left": ({ end }) => end === "client-cancel",
  stopped: ({ end }) => end === "gateway-cancel",
  empty: (record) => record.finishReason === undefined && isWithoutOutput(record),
  complete: () => true,
} as const satisfies Record<string, (record: UsageRecord) => boolean>;

export function endingOf(record: UsageRecord): Ending {
  for (const ending of endingNames) if (endings[ending](record)) return ending;
  return "complete";
}

const endingNames = Object.keys(endings) as Ending[];

/** House default of every cell; a contract may say otherwise. */
export const defaultOwed: Readonly<Record<Ending, Owed>> = {
  "not-dispatched": {
    vendor: "nothing",
    tenant: "nothing",
    cost: "cogs",
    costUnlessWinner: "cogs",
  },
  checked: { vendor: "counts", tenant: "nothing", cost: "audit", costUnlessWinner: "audit" },
  crashed: { vendor: "lower-bound", tenant: "delivered", cost: "cogs", costUnlessWinner: "orphan" },
  refused: { vendor: "nothing", tenant: "nothing", cost: "cogs", costUnlessWinner: "cogs" },
  cut: { vendor: "generated", tenant: "delivered", cost: "cogs", costUnlessWinner: "abort" },
  lost: { vendor: "generated", tenant: "nothing", cost: "hedge", costUnlessWinner: "hedge" },
  "client-left": {
    vendor: "generated",
    tenant: "generated",
    cost: "cogs",
    costUnlessWinner: "abort",
  },
  stopped: { vendor: "generated", tenant: "generated", cost: "cogs", costUnlessWinner: "abort" },
  empty: { vendor: "nothing", tenant: "nothing", cost: "insurance", costUnlessWinner: "insurance" },
  complete: { vendor: "counts", tenant: "counts", cost: "cogs", costUnlessWinner: "hedge" },
};

/**
 * What the chat templates of known open models add by themselves at most: a system prompt of their own, and how to call
 * tools. Marks around messages need none of it, since their JSON is longer.
 */
const templateTokensMax = 1_024n;

export const defaultContract: Contract = {
  ...defaultPairTerms,
  countRule: "engine-final",
  cancelPolicy: "bill-generated",
  drainLimit: { seconds: 30, tokens: 8_192n, concurrent: 64 },
  onUpstreamCut: "generated",
  hedgePolicy: "bill-generated",
  crashPolicy: "lower-bound",
  owed: defaultOwed,
  cancelGraceTokens: 0n,
  onCacheUnknown: "uncached",
  onReasoningUnknown: "response",
  maxReasoningTokens: undefined,
  touBasis: "opened",
  touGraceUs: 0n,
  boundSlackTokens: 32n,
  promptSlackTokens: templateTokensMax,
  toleranceTokens: 3n,
  tolerancePpm: 5_000n,
  aggregatePpm: 1_000n,
  rateTokensPerSecondMax: undefined,
  rateTokensPerSecondMaxByModel: new Map(),
  evidence: ["out-digest"],
  splitRule: undefined,
  loserBook: undefined,
  attemptTokensMax: 100_000_000n,
  // 10,000 CNY.
  attemptNanoMax: 10_000_000_000_000n,
};

const vendorGetsByCancel: Readonly<Record<CancelPolicy, VendorGets>> = {
  "bill-generated": "generated",
  "bill-full": "counts",
  "no-bill": "nothing",
};

const vendorGetsByCut: Readonly<Record<CutPolicy, VendorGets>> = {
  none: "nothing",
  "prompt-only": "prompt-only",
  generated: "generated",
};

/** The table that the policies of a contract stand for. The house's policies stand for the house's table. */
export function owedBy(
  contract: Pick<Contract, "cancelPolicy" | "onUpstreamCut" | "hedgePolicy" | "crashPolicy">,
): Readonly<Record<Ending, Owed>> {
  const { cancelPolicy, onUpstreamCut, hedgePolicy, crashPolicy } = contract;
  const stopped = vendorGetsByCancel[cancelPolicy];
  const changed: Partial<Record<Ending, VendorGets>> = {
    "client-left": stopped,
    stopped,
    cut: vendorGetsByCut[onUpstreamCut],
    lost: vendorGetsByCancel[hedgePolicy],
    crashed: crashPolicy === "none" ? "nothing" : "lower-bound",
  };
  return mapped(defaultOwed, (owed, ending) => ({
    ...owed,
    vendor: changed[ending] ?? owed.vendor,
  }));
}

/** Tokens per second that one stream of a model can have. Undefined: the contract sets no bound. */
export function rateMaxOf(
  { rateTokensPerSecondMaxByModel, rateTokensPerSecondMax }: Contract,
  model: ModelId,
): bigint | undefined {
  return rateTokensPerSecondMaxByModel.get(model) ?? rateTokensPerSecondMax;
}

function isWithoutOutput({ evidence, engineCounts }: UsageRecord): boolean {
  const { outBytes, reasoningBytes, toolBytes } = evidence;
  const hasOutput = engineCounts.output !== undefined && engineCounts.output > 0n;
  return outBytes + reasoningBytes + toolBytes === 0n && !hasOutput;
}
