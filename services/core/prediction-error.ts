import { keys } from "./table.ts";

/** What is foretold of an attempt and can be held against what came. */
export type PredictedFigure = "ttft" | "tpot" | "finish";

/** How far predictions were off, of late. */
export interface PredictionError {
  readonly attempts: number;
  /** Mean of |foretold − observed| / observed. */
  readonly relative: number;
  /** Mean of (foretold − observed) / observed: above 0, things came sooner than foretold. */
  readonly bias: number;
}

export type PredictionErrors = Readonly<Record<PredictedFigure, PredictionError | undefined>>;

export const noErrors: PredictionErrors = { ttft: undefined, tpot: undefined, finish: undefined };

/** Foretold and observed, in ms. Undefined was not seen. */
export type Foretold = Readonly<
  Record<PredictedFigure, { readonly foretoldMs: number; readonly observedMs: number | undefined }>
>;

/** The newest counts at least so much; the first ones are a plain mean. */
const WEIGHT_MIN = 0.05;
/** A single wild time counts as no more than this. */
const RELATIVE_MAX = 10;

export function withErrorsOf(before: PredictionErrors, foretold: Foretold): PredictionErrors {
  const errors = { ...before };
  for (const figure of keys(foretold)) {
    const { foretoldMs, observedMs } = foretold[figure];
    if (observedMs === undefined || !(observedMs > 0)) continue;
    errors[figure] = withError(before[figure], (foretoldMs - observedMs) / observedMs);
  }
  return errors;
}

function withError(before: PredictionError | undefined, found: number): PredictionError {
  const signed = Math.max(-RELATIVE_MAX, Math.min(RELATIVE_MAX, found));
  const attempts = (before?.attempts ?? 0) + 1;
  const weight = Math.max(WEIGHT_MIN, 1 / attempts);
  const { relative, bias } = before ?? { relative: 0, bias: 0 };
  return {
    attempts,
    relative: relative + weight * (Math.abs(signed) - relative),
    bias: bias + weight * (signed - bias),
  };
}
