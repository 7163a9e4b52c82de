import type { Nano } from "../units.ts";
import type { TimeZone } from "./period.ts";
import type { UsageRecord } from "./usage.ts";

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

/** What an operator and a vendor agreed. One per pair, versioned. */
export interface Contract {
  readonly id: string;
  readonly version: bigint;
  readonly countRule: CountRule;
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
  /** Of one stream. Undefined: the contract sets no bound. */
  readonly rateTokensPerSecondMax: bigint | undefined;
  /** Of one attempt, input or output. More is a defect, and would not fit where totals are kept. */
  readonly attemptTokensMax: bigint;
  /** Owed for one attempt. More is a defect of a price or a count. */
  readonly attemptNanoMax: Nano;
  /** The period over which tiers and rounding run. */
  readonly period: "daily" | "monthly";
  readonly timeZone: TimeZone;
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
  id: "house-default",
  version: 1n,
  countRule: "engine-final",
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
  rateTokensPerSecondMax: undefined,
  attemptTokensMax: 100_000_000n,
  // 10,000 CNY.
  attemptNanoMax: 10_000_000_000_000n,
  period: "daily",
  timeZone: "Asia/Shanghai",
};

function isWithoutOutput({ evidence, engineCounts }: UsageRecord): boolean {
  const { outBytes, reasoningBytes, toolBytes } = evidence;
  const hasOutput = engineCounts.output !== undefined && engineCounts.output > 0n;
  return outBytes + reasoningBytes + toolBytes === 0n && !hasOutput;
}
