import type { Expected } from "./placement/expect.ts";

/** How far predictions of a time were from what came, over a run. */
export interface TimeError {
  readonly count: number;
  /** Mean of |predicted − realised| / realised. */
  readonly meanRelativeError: number;
  /** (Sum of predicted − sum of realised) / sum of realised: above 0 was predicted too long. */
  readonly bias: number;
  /** Mean of predicted − realised, in ms. */
  readonly meanErrorMs: number;
}

export const predictedTimes = ["ttftMs", "tpotMs", "finishMs"] as const;

export type PredictedTime = (typeof predictedTimes)[number];

/** Undefined: no attempt showed it. */
export type PredictionQuality = Readonly<Record<PredictedTime, TimeError | undefined>>;

/** Times of an attempt since its dispatch. Undefined is unknown. */
export type RealisedTimes = Readonly<Record<PredictedTime, number | undefined>>;

class ErrorSum {
  #count = 0;
  #relative = 0;
  #predictedMs = 0;
  #realisedMs = 0;

  add(predictedMs: number, realisedMs: number): void {
    if (!(realisedMs > 0)) return;
    this.#count += 1;
    this.#relative += Math.abs(predictedMs - realisedMs) / realisedMs;
    this.#predictedMs += predictedMs;
    this.#realisedMs += realisedMs;
  }

  get result(): TimeError | undefined {
    if (this.#count === 0) return undefined;
    const errorMs = this.#predictedMs - this.#realisedMs;
    return {
      count: this.#count,
      meanRelativeError: this.#relative / this.#count,
      bias: errorMs / this.#realisedMs,
      meanErrorMs: errorMs / this.#count,
    };
  }
}

/** Compares what was expected of attempts when they were placed with how they went. */
export class PredictionCheck {
  readonly #sums: Readonly<Record<PredictedTime, ErrorSum>> = {
    ttftMs: new ErrorSum(),
    tpotMs: new ErrorSum(),
    finishMs: new ErrorSum(),
  };

  add(expected: Pick<Expected, PredictedTime>, realised: RealisedTimes): void {
    for (const time of predictedTimes) {
      const realisedMs = realised[time];
      if (realisedMs !== undefined) this.#sums[time].add(expected[time], realisedMs);
    }
  }

  get quality(): PredictionQuality {
    const { ttftMs, tpotMs, finishMs } = this.#sums;
    return { ttftMs: ttftMs.result, tpotMs: tpotMs.result, finishMs: finishMs.result };
  }
}
