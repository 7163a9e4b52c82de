import { solvedNonNegative, varianceOf } from "./least-squares.ts";
import type { EngineProfile } from "./pool.ts";

/** What is fitted, in this order. `scheduling` is what the time to first token has above the engine's own work, in ms. */
export const fittedCoefficients = [
  "stepBaseMs",
  "stepMsPerSequence",
  "stepMsPerKvToken",
  "prefillMsPerToken",
  "schedulingMs",
] as const;

export type FittedCoefficient = (typeof fittedCoefficients)[number];

/**
 * The coefficients of one replica as our own attempts show them, with what is needed to take in the next attempt. The
 * numbers stand for information: so much was seen, weighted by how sure it is and how long ago it was.
 */
export interface EngineFit {
  /** What the fit began from. */
  readonly prior: EngineProfile;
  /** The prior with the coefficients that were found. */
  readonly profile: EngineProfile;
  readonly schedulingMs: number;
  readonly observations: number;
  /** Row by row: a matrix of 5 × 5, in units of the scales. */
  readonly information: readonly number[];
  readonly weighted: readonly number[];
  /** Mean |ln(foretold / observed)| of this fit, and of the profile with a plain offset and ratio, of late. */
  readonly errorOfFit: number;
  readonly errorOfPlain: number;
}

/** One replica while an attempt was there, itself included unless it says otherwise. */
export interface EngineConditions {
  readonly batch: number;
  readonly kvTokens: number;
  /** Of others' prompts, what the prefix caches lacked. */
  readonly prefillTokensPerMs: number;
}

/** Times of one attempt, each with the conditions under which it came about. Undefined was not seen. */
export interface EngineObservation {
  readonly tpot: { readonly ms: number; readonly during: EngineConditions } | undefined;
  /** Without the way there, of one that did not wait for a place; the conditions are those of the others. */
  readonly ttft:
    | { readonly ms: number; readonly uncachedTokens: number; readonly others: EngineConditions }
    | undefined;
}

const COUNT = fittedCoefficients.length;
/** An attempt counts half as much when 140 more have come. */
const FORGETTING = 1 - 1 / 200;
/**
 * The prior's weight: each coefficient is taken to be off by so much of itself, one standard deviation, and a time to
 * be off by so much of itself. A declared profile then weighs as much as its first attempt or less.
 */
const PRIOR_DEVIATION = 0.7;
const TPOT_DEVIATION = 0.15;
const TTFT_DEVIATION = 0.4;
/** In steps of an empty engine: what scheduling may take. */
const SCHEDULING_DEVIATION_STEPS = 5;
/** Beyond so many deviations a time counts less and less, and beyond this ratio it is taken as this. */
const WILD_DEVIATIONS = 4;
const WILD_RATIO = 5;
/** A coefficient declared as less than this part of a step is looked for as if it were this. */
const SCALE_MIN_OF_STEP = [1, 0.002, 1e-6, 0.002, 1] as const;
/** A step declared as shorter is looked for as if it were this long. */
const STEP_MS_MIN = 10;
const FORETOLD_MS_MIN = 0.5;
const ERROR_WEIGHT_MIN = 0.05;
/** A day, and more tokens than any cache holds: what is beyond was not measured. */
const TIME_MS_MAX = 86_400_000;
const AMOUNT_MAX = 1e9;
const PREFILL_SHARE_MAX = 0.95;

/** A fit that has seen nothing. */
export function fitFrom(prior: EngineProfile): EngineFit {
  return {
    prior,
    profile: prior,
    schedulingMs: 0,
    observations: 0,
    information: Array<number>(COUNT * COUNT).fill(0),
    weighted: Array<number>(COUNT).fill(0),
    errorOfFit: 0,
    errorOfPlain: 0,
  };
}

/** The same profile, whoever made the object. */
export function isFittedTo(fit: EngineFit, prior: EngineProfile): boolean {
  const known = fit.prior;
  return (
    known === prior ||
    (known.stepBaseMs === prior.stepBaseMs &&
      known.stepMsPerSequence === prior.stepMsPerSequence &&
      known.stepMsPerKvToken === prior.stepMsPerKvToken &&
      known.prefillMsPerToken === prior.prefillMsPerToken &&
      known.prefillChunkTokens === prior.prefillChunkTokens)
  );
}

/**
 * Regularised recursive least squares in information form, non-negative (Ljung and Söderström, Theory and Practice of
 * Recursive Identification, 1983, section 2.2): with B and K rising together the data do not tell a from h, and the
 * prior then decides between them, while their sum is still learned.
 */
export function fitted(
  before: EngineFit,
  told: EngineObservation,
  errorOfPlain: number,
): EngineFit {
  const seen = soundOf(told);
  const rows = rowsOf(before, seen);
  if (rows.length === 0) return before;
  const scales = scalesOf(before.prior);
  const information = faded(before.information);
  const weighted = faded(before.weighted);
  for (const row of rows) take(row, { scales, information, weighted });
  const found = solved(before.prior, scales, information, weighted);
  const observations = before.observations + 1;
  const weight = Math.max(ERROR_WEIGHT_MIN, 1 / observations);
  return {
    ...before,
    ...found,
    observations,
    information,
    weighted,
    errorOfFit: before.errorOfFit + weight * (meanErrorOf(rows) - before.errorOfFit),
    errorOfPlain: before.errorOfPlain + weight * (errorOfPlain - before.errorOfPlain),
  };
}

/** Standard deviation of each coefficient, in its unit: how far it may be off, by what was seen. */
export function deviationsOf(fit: EngineFit): Readonly<Record<FittedCoefficient, number>> {
  const scales = scalesOf(fit.prior);
  const matrix = withPrior(fit.information);
  const deviation = (index: number): number =>
    Math.sqrt(varianceOf(matrix, COUNT, index)) * (scales[index] ?? 0);
  return {
    stepBaseMs: deviation(0),
    stepMsPerSequence: deviation(1),
    stepMsPerKvToken: deviation(2),
    prefillMsPerToken: deviation(3),
    schedulingMs: deviation(4),
  };
}

/** Mean |ln(foretold / observed)| over the times that were seen. */
export function errorOf(
  by: Pick<EngineFit, "profile" | "schedulingMs">,
  told: EngineObservation,
): number {
  return meanErrorOf(rowsOf(by, soundOf(told)));
}

/** (W + a·B + h·K) / (1 − u). */
export function foretoldTpotMs(profile: EngineProfile, during: EngineConditions): number {
  return stepMsOf(profile, during) / (1 - prefillShareOf(profile, during));
}

/**
 * Time from admission to the first token, in ms, before scheduling: the prompt's own prefill and its turn among others',
 * and a step of those who decode for each chunk, with half a step before the first and half a chunk left of the last.
 */
export function foretoldTtftMs(
  profile: EngineProfile,
  uncachedTokens: number,
  others: EngineConditions,
): number {
  const share = prefillShareOf(profile, others);
  return (
    uncachedTokens * profile.prefillMsPerToken * queueFactor(share) +
    stepsOf(profile, uncachedTokens, others) * stepMsOf(profile, others)
  );
}

interface Row {
  readonly factors: readonly number[];
  readonly ms: number;
  readonly foretoldMs: number;
  readonly deviation: number;
}

function rowsOf(
  { profile, schedulingMs }: Pick<EngineFit, "profile" | "schedulingMs">,
  seen: EngineObservation,
): Row[] {
  const rows: Row[] = [];
  if (seen.tpot !== undefined) {
    const { ms, during } = seen.tpot;
    const { batch, kvTokens, prefillTokensPerMs } = during;
    // Of each step, what others' prompts took: u · TPOT.
    const factors = [1, batch, kvTokens, Math.min(prefillTokensPerMs * ms, AMOUNT_MAX), 0];
    const foretoldMs = foretoldTpotMs(profile, during);
    rows.push({ factors, ms, foretoldMs, deviation: TPOT_DEVIATION });
  }
  if (seen.ttft !== undefined) {
    const { ms, uncachedTokens, others } = seen.ttft;
    const steps = stepsOf(profile, uncachedTokens, others);
    const queued = uncachedTokens * queueFactor(prefillShareOf(profile, others));
    const factors = [steps, steps * others.batch, steps * others.kvTokens, queued, 1];
    const foretoldMs = foretoldTtftMs(profile, uncachedTokens, others) + schedulingMs;
    rows.push({ factors, ms, foretoldMs, deviation: TTFT_DEVIATION });
  }
  return rows;
}

function meanErrorOf(rows: readonly Row[]): number {
  let sum = 0;
  for (const { foretoldMs, ms } of rows) sum += logRatio(foretoldMs, ms);
  return rows.length === 0 ? 0 : sum / rows.length;
}

/** Without what no engine can have shown. */
function soundOf({ tpot, ttft }: EngineObservation): EngineObservation {
  const isTpotSound = tpot !== undefined && isTime(tpot.ms) && isPossible(tpot.during);
  const isTtftSound =
    ttft !== undefined &&
    isTime(ttft.ms) &&
    isAmount(ttft.uncachedTokens) &&
    isPossible(ttft.others);
  return { tpot: isTpotSound ? tpot : undefined, ttft: isTtftSound ? ttft : undefined };
}

function isTime(ms: number): boolean {
  return ms > 0 && ms <= TIME_MS_MAX;
}

function isAmount(amount: number): boolean {
  return amount >= 0 && amount <= AMOUNT_MAX;
}

function isPossible({ batch, kvTokens, prefillTokensPerMs }: EngineConditions): boolean {
  return isAmount(batch) && isAmount(kvTokens) && isAmount(prefillTokensPerMs);
}

interface Sums {
  readonly scales: readonly number[];
  readonly information: number[];
  readonly weighted: number[];
}

/** Wild times count less (the weights of a t distribution), and never as more than a bounded ratio. */
function take(row: Row, { scales, information, weighted }: Sums): void {
  const foretoldMs = Math.max(FORETOLD_MS_MIN, row.foretoldMs);
  const ms = Math.min(Math.max(row.ms, foretoldMs / WILD_RATIO), foretoldMs * WILD_RATIO);
  // Of the larger of both: what a prediction that is far too low made of a time is no sure knowledge.
  const deviationMs = row.deviation * Math.max(foretoldMs, row.ms);
  const deviations = (ms - foretoldMs) / deviationMs;
  const weight = 1 / (1 + (deviations / WILD_DEVIATIONS) ** 2) / deviationMs ** 2;
  const scaled = row.factors.slice();
  for (let at = 0; at < COUNT; at++) scaled[at] = (scaled[at] ?? 0) * (scales[at] ?? 0);
  for (let at = 0; at < COUNT; at++) {
    const left = (scaled[at] ?? 0) * weight;
    weighted[at] = (weighted[at] ?? 0) + left * ms;
    for (let other = 0; other < COUNT; other++) {
      const place = at * COUNT + other;
      information[place] = (information[place] ?? 0) + left * (scaled[other] ?? 0);
    }
  }
}

function solved(
  prior: EngineProfile,
  scales: readonly number[],
  information: readonly number[],
  weighted: readonly number[],
): Pick<EngineFit, "profile" | "schedulingMs"> {
  const begin = coefficientsOf(prior);
  const wanted = weighted.slice();
  for (let index = 0; index < COUNT; index++) {
    const own = priorWeight(index) * ((begin[index] ?? 0) / (scales[index] ?? 1));
    wanted[index] = (wanted[index] ?? 0) + own;
  }
  const units = solvedNonNegative(withPrior(information), wanted);
  const found = (index: number): number => (units[index] ?? 0) * (scales[index] ?? 0);
  return {
    profile: {
      ...prior,
      stepBaseMs: found(0),
      stepMsPerSequence: found(1),
      stepMsPerKvToken: found(2),
      prefillMsPerToken: found(3),
    },
    schedulingMs: found(4),
  };
}

function withPrior(information: readonly number[]): number[] {
  const matrix = information.slice();
  for (let index = 0; index < COUNT; index++) {
    const diagonal = index * (COUNT + 1);
    matrix[diagonal] = (matrix[diagonal] ?? 0) + priorWeight(index);
  }
  return matrix;
}

function priorWeight(index: number): number {
  const deviation = index === 4 ? SCHEDULING_DEVIATION_STEPS : PRIOR_DEVIATION;
  return 1 / deviation ** 2;
}

function faded(sums: readonly number[]): number[] {
  const after = sums.slice();
  for (let index = 0; index < after.length; index++) {
    after[index] = (after[index] ?? 0) * FORGETTING;
  }
  return after;
}

function coefficientsOf(profile: EngineProfile): number[] {
  const { stepBaseMs, stepMsPerSequence, stepMsPerKvToken, prefillMsPerToken } = profile;
  return [stepBaseMs, stepMsPerSequence, stepMsPerKvToken, prefillMsPerToken, 0];
}

/** A profile of zeros has a scale all the same, so that what it hides can be found. */
function scalesOf(prior: EngineProfile): number[] {
  const stepMs = Math.max(prior.stepBaseMs, STEP_MS_MIN);
  const scales = coefficientsOf(prior);
  for (let index = 0; index < COUNT; index++) {
    scales[index] = Math.max(scales[index] ?? 0, stepMs * (SCALE_MIN_OF_STEP[index] ?? 1));
  }
  return scales;
}

function stepMsOf(profile: EngineProfile, { batch, kvTokens }: EngineConditions): number {
  const { stepBaseMs, stepMsPerSequence, stepMsPerKvToken } = profile;
  return stepBaseMs + stepMsPerSequence * batch + stepMsPerKvToken * kvTokens;
}

/** Steps of others that a prompt goes through; with less than one other on the mean, now and then none. */
export function stepsOf(
  { prefillChunkTokens }: EngineProfile,
  uncachedTokens: number,
  { batch }: EngineConditions,
): number {
  return Math.min(1, batch) * (1 + uncachedTokens / prefillChunkTokens);
}

function prefillShareOf(profile: EngineProfile, { prefillTokensPerMs }: EngineConditions): number {
  return Math.min(PREFILL_SHARE_MAX, prefillTokensPerMs * profile.prefillMsPerToken);
}

/** As in `engine.ts`. */
function queueFactor(share: number): number {
  return 1 + share / (2 * (1 - share));
}

function logRatio(foretoldMs: number, observedMs: number): number {
  return Math.abs(Math.log(Math.max(foretoldMs, 1e-3) / Math.max(observedMs, 1e-3)));
}
