import type { NanoByPart } from "../../services/core/run-cost.ts";
import { problemOf } from "./formulate.ts";
import type { Duals } from "./lagrangian.ts";
import type { BoundOptions, Problem } from "./problem.ts";
import { solve } from "./program.ts";
import { raised } from "./raise.ts";

/** A certificate that no policy costs less, and how it was found. */
export interface Bound {
  /** No dispatch policy, online or clairvoyant, costs less: `valued(problem, duals)`, for anybody to check. */
  readonly boundNano: number;
  readonly duals: Duals;
  readonly problem: Problem;
  /** What the bound is made of, by the program's solution: an estimate. */
  readonly byPart: NanoByPart;
  /** Optimum of the linear program over mean requests: near the bound, but none. */
  readonly lpNano: number;
  /** What the best steady spreading of the load would cost, prompts of others included: an estimate, not a bound. */
  readonly fluidNano: number;
  readonly solveMs: number;
}

export interface SolveOptions {
  /** How often prices are improved after the program; each round goes over all requests. */
  readonly rounds?: number;
  readonly timeLimitSeconds?: number;
}

/** Requests that all rounds together go over, and rounds at least and at most. */
const REQUESTS_PRICED = 4_000_000;
const ROUNDS = { least: 20, most: 100 } as const;
const TIME_LIMIT_SECONDS = 30;

/** The bound on the cost of a run of these arrivals in this world. See `valued` for what it rests on. */
export async function boundOf(options: BoundOptions & SolveOptions): Promise<Bound> {
  const { timeLimitSeconds = TIME_LIMIT_SECONDS } = options;
  const beganMs = performance.now();
  const problem = problemOf(options);
  const { rounds = roundsFor(problem.demands.length) } = options;
  const plain = await solve(problem, { isSteady: false, timeLimitSeconds });
  const steady = await solve(problem, { isSteady: true, timeLimitSeconds });
  const { duals, boundNano } = raised(problem, plain.duals, rounds);
  return {
    boundNano,
    duals,
    problem,
    byPart: plain.parts,
    lpNano: plain.nano,
    fluidNano: boundNano + Math.max(0, steady.nano - plain.nano),
    solveMs: performance.now() - beganMs,
  };
}

function roundsFor(requests: number): number {
  const affordable = Math.floor(REQUESTS_PRICED / Math.max(1, requests));
  return Math.min(ROUNDS.most, Math.max(ROUNDS.least, affordable));
}
