import type { InstantUs } from "../../units.ts";
import { rateMaxOf, type Contract } from "../terms/contract.ts";
import { textBytesOf } from "./sold.ts";
import { noTokens, tokenClasses, type TokenClass, type Tokens, type UsageRecord } from "./usage.ts";

/** The totals that a count rule chose, before they are made disjoint. */
export interface Counts {
  /** All of the prompt, cached or not. */
  readonly input: bigint;
  readonly cacheRead: bigint;
  readonly cacheWrite: bigint;
  /** All that was generated. */
  readonly output: bigint;
  readonly reasoning: bigint;
  /** What of `output` the contract grants without having been seen. */
  readonly grace: bigint;
  /** What of `reasoning` showed neither text nor token ids. */
  readonly unseen: bigint;
  /** The gateway's own estimate, which needs no check against the gateway's evidence. */
  readonly isEstimate: boolean;
  /** The engine's own count of the prompt was chosen; of the output. */
  readonly isInputReported: boolean;
  readonly isOutputReported: boolean;
}

export interface Breach {
  readonly reason: BoundReason;
  readonly detail: string;
}

/** What must be true of the counts, given what went by. Undefined if it is, else what was found instead. */
type Bound = (record: UsageRecord, counts: Counts, contract: Contract) => string | undefined;

const usPerSecond = 1_000_000n;

/** What a gateway says of its own clock's error is believed up to so much. */
const clockErrUsMax = 3_300_000_000n;
/** Beyond the error that the gateway tells, for the way and for ours. */
const aheadUsMax = 300_000_000n;
/** No record that counts is of a later instant than this after it came. */
export const futureUsMax = clockErrUsMax + aheadUsMax;
const million = 1_000_000n;

/** The key is the reason. A defect of an engine and a lie of a vendor look the same from here. */
export const bounds = {
  "count-negative": (_record, counts) => {
    const negative = countNames.find((name) => counts[name] < 0n);
    return negative && `expected 0 or more, found ${negative} ${counts[negative]}`;
  },
  "count-over-limit": (_record, counts, { attemptTokensMax }) => {
    const large = countNames.find((name) => counts[name] > attemptTokensMax);
    return large && excess("tokens", counts[large], attemptTokensMax, `of an attempt's ${large}`);
  },
  "cached-over-prompt": (_record, { input, cacheRead, cacheWrite }) =>
    excess("cached tokens", cacheRead + cacheWrite, input, "of the prompt"),
  "reasoning-over-output": (_record, { output, reasoning }) =>
    excess("reasoning tokens", reasoning, output, "of the output"),
  "prompt-over-bytes": ({ promptBytes }, { input }, { promptSlackTokens }) =>
    promptBytes === undefined
      ? undefined
      : excess("prompt tokens", input, promptBytes + promptSlackTokens, "for its bytes"),
  "output-over-bytes": ({ evidence }, { output, grace, unseen }, contract) => {
    // A contract that caps what nobody saw pays it up to the cap.
    const hidden = contract.maxReasoningTokens === undefined ? 0n : unseen;
    const most = textBytesOf(evidence) + hidden + contract.boundSlackTokens;
    return excess("output tokens", output - grace, most, "for its bytes");
  },
  "output-over-max": ({ outputTokensMax }, { output }) =>
    outputTokensMax === undefined
      ? undefined
      : excess("output tokens", output, outputTokensMax, "as asked"),
  "chunks-over-output": ({ evidence }, { output, isEstimate }, { boundSlackTokens }) =>
    isEstimate
      ? undefined
      : excess("chunks", evidence.chunks, output + boundSlackTokens, "for the output tokens"),
  "prompt-off-recount": ({ gatewayCounts, flags }, { input }, contract) => {
    const recount = gatewayCounts.source === "tokenizer" ? gatewayCounts.input : undefined;
    if (recount === undefined) return undefined;
    const near = toleranceOf(recount, contract);
    // The texts alone were counted: what the template writes comes on top.
    const above = flags.includes("template-unknown") ? near + contract.promptSlackTokens : near;
    const isNear = input <= recount + above && input >= recount - near;
    return isNear
      ? undefined
      : `expected ${recount - near} to ${recount + above} prompt tokens, found ${input}`;
  },
  "output-over-rate": (record, { output }, contract) => {
    const { firstByteUs, lastByteUs } = record;
    const rateMax = rateMaxOf(contract, record.model);
    const isStreamed = record.evidence.chunks > 1n;
    if (rateMax === undefined || !isStreamed) return undefined;
    if (firstByteUs === undefined || lastByteUs === undefined) return undefined;
    const most = (rateMax * (lastByteUs - firstByteUs)) / usPerSecond;
    return excess("output tokens", output, most + contract.boundSlackTokens, "in its time");
  },
  /** It was set aside by the gateway's estimate of the prompt: what that lacks is not held against the output. */
  "settled-over-reserved": (record, { input, output, grace }, { boundSlackTokens }) => {
    const { reservedTokens, gatewayCounts, flags } = record;
    if (reservedTokens === undefined || flags.includes("overage")) return undefined;
    const own = gatewayCounts.source === "heuristic" ? (gatewayCounts.input ?? 0n) : 0n;
    const used = (own < input ? own : input) + output - grace;
    return excess("tokens", used, reservedTokens + boundSlackTokens, "as reserved");
  },
  "output-under-watermark": ({ watermarkOutput, engineCounts }) =>
    watermarkOutput !== undefined &&
    engineCounts.output !== undefined &&
    engineCounts.output < watermarkOutput
      ? `expected at least ${watermarkOutput} output tokens, as counted before, found ${engineCounts.output}`
      : undefined,
  "variants-over-class": ({ variants }, counts) => {
    const { input, cacheRead, cacheWrite, output, reasoning } = counts;
    const most: Tokens = {
      uncachedInput: input - cacheRead - cacheWrite,
      cacheRead,
      cacheWrite,
      response: output - reasoning,
      reasoning,
    };
    const found = { ...noTokens };
    for (const { tokenClass, tokens } of variants) {
      // What another witness counted has no parts.
      const isOutput = isOutputClass(tokenClass);
      if (isOutput ? counts.isOutputReported : counts.isInputReported) found[tokenClass] += tokens;
    }
    const large = tokenClasses.find((each) => found[each] > most[each]);
    return (
      large && excess(`${large} tokens of one kind`, found[large], most[large], "of all kinds")
    );
  },
  "usage-decreased": ({ flags }) =>
    flags.includes("usage-decreased") ? "expected growing counts, found a falling one" : undefined,
  "usage-malformed": ({ flags }) =>
    flags.includes("usage-malformed")
      ? "expected whole numbers of tokens from 0 on, found other counts"
      : undefined,
  "instants-disordered": ({ openedUs, closedUs, firstByteUs, lastByteUs }) => {
    const instants = [openedUs, firstByteUs, lastByteUs, closedUs].filter((us) => us !== undefined);
    const isInOrder = instants.every((us, index) => us >= (instants[index - 1] ?? us));
    return isInOrder
      ? undefined
      : `expected opened <= first byte <= last byte <= closed, found ${instants.join(", ")}`;
  },
} as const satisfies Record<string, Bound>;

export type BoundReason = keyof typeof bounds;

/** The first bound that the counts break. */
export function breachOf(
  record: UsageRecord,
  counts: Counts,
  contract: Contract,
): Breach | undefined {
  for (const reason of reasons) {
    const bound: Bound = bounds[reason];
    const detail = bound(record, counts, contract);
    if (detail !== undefined) return { reason, detail };
  }
  return undefined;
}

const reasons = Object.keys(bounds) as BoundReason[];
const countNames = ["input", "cacheRead", "cacheWrite", "output", "reasoning"] as const;

function excess(what: string, found: bigint, most: bigint, why: string): string | undefined {
  return found <= most ? undefined : `expected at most ${most} ${what} ${why}, found ${found}`;
}

/** What is wrong with the instants of a record by the clock of whoever receives it. */
export function fromFuture(
  { openedUs, closedUs, clockErrUs }: UsageRecord,
  nowUs: InstantUs,
): string | undefined {
  const error = clockErrUs < clockErrUsMax ? clockErrUs : clockErrUsMax;
  const latest = nowUs + error + aheadUsMax;
  const found = larger(openedUs, closedUs);
  return found <= latest
    ? undefined
    : `expected opened_us and closed_us up to ${latest}, found ${found}`;
}

export function isOutputClass(tokenClass: TokenClass): boolean {
  return tokenClass === "response" || tokenClass === "reasoning";
}

/** Between two counts of the same. */
export function toleranceOf(
  tokens: bigint,
  { toleranceTokens, tolerancePpm }: Pick<Contract, "toleranceTokens" | "tolerancePpm">,
): bigint {
  return larger(toleranceTokens, (tokens * tolerancePpm) / million);
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
