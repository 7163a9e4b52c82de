import type { Policy } from "../../services/core/placement/policy.ts";
import type { ServiceClass } from "../../services/core/placement/request.ts";
import type { Geography } from "../../services/core/region.ts";
import type { Instant } from "../../services/core/units.ts";
import type { Arrival } from "../../services/core/workload.ts";
import type { Fleet } from "../../services/sim/fleet.ts";
import type { Patience, WorldFault } from "../../services/sim/world-options.ts";
import type { Seat } from "./seats.ts";

/** The world in which nobody can do better: the same words as `WorldOptions` has. */
export interface BoundOptions {
  readonly arrivals: Iterable<Arrival>;
  readonly fleet: Fleet;
  readonly geography: Geography;
  readonly policy: Policy;
  /** Model or alias of arrivals that name none. */
  readonly model: string;
  readonly startAt: Instant;
  readonly faults: readonly WorldFault[];
  /** Absent: who finds no room is refused at once. */
  readonly patience?: Patience;
  /** As `WorldOptions` has it. */
  readonly outputTokensMaxOf?: (arrival: Arrival) => number;
  /** Default 1. */
  readonly speed?: number;
  /** Default: so that there are about `BINS` of them. */
  readonly binMs?: number;
}

/** What a class of requests pays for being late. */
export interface ClassTerms {
  readonly class: ServiceClass;
  readonly waitNanoPerMs: number;
  readonly missNano: number;
  readonly ttftMsMax: number;
  readonly tpotMsMax: number;
}

/** One request. Times in ms since the first was due. */
export interface Demand {
  readonly atMs: number;
  readonly bin: number;
  /** In `Problem.classes`. */
  readonly class: number;
  /** Tokens that are decoded: all of the answer but the first. */
  readonly steps: number;
  /** KV tokens that it holds in its first step of decoding: the prompt and one. */
  readonly kvTokens: number;
  /** How long it may be kept waiting before it is placed; longer only by an engine. */
  readonly waitMsMax: number;
  readonly refusedNano: number;
  readonly choices: readonly Choice[];
}

/** One way to serve a request: a seat, a price, and what a cache has of its prompt. */
export interface Choice {
  /** In `Problem.seats`. */
  readonly seat: number;
  readonly moneyNano: number;
  /** Before which it cannot be placed, from its arrival on: for a price to come, or a cache. */
  readonly delayMs: number;
  readonly roundTripMs: number;
  readonly prefillMs: number;
  /** The first token is late whatever happens. */
  readonly isTtftMissed: boolean;
  /** From arrival to end, if it never waits and all others that fit decode with it at no cost of their own. */
  readonly stayMsMax: number;
  /** Less than this it costs at no prices of capacity. */
  readonly floorNano: number;
}

/** What a joule costs, in nano-CNY, at each seat in each bin: `seat × bins + bin`. */
export interface Energy {
  readonly nanoPerJoule: Float64Array;
  readonly energyShare: Float64Array;
}

export interface Problem {
  readonly seats: readonly Seat[];
  readonly classes: readonly ClassTerms[];
  readonly demands: readonly Demand[];
  /** Where bins begin, in ms since the first request was due, and at last infinity. */
  readonly edges: Float64Array;
  readonly bins: number;
  /** Length of all but the last. */
  readonly binMs: number;
  /** `seat × bins + bin`. */
  readonly energy: Energy;
  /** How long there are replicas, `seat × bins + bin`. In the last bin: for ever. */
  readonly replicaMs: Float64Array;
  /** The least value of time of any who may sit there. */
  readonly waitNanoPerMsMin: Float64Array;
}
