import type { Effect, Event } from "../core/events.ts";
import type { Choose } from "../core/placement/decide.ts";
import type { Policy } from "../core/placement/policy.ts";
import type { ServiceClass } from "../core/placement/request.ts";
import type { PredictionQuality } from "../core/prediction-check.ts";
import type { Geography } from "../core/region.ts";
import type { Answer, Report, Run } from "../core/report.ts";
import type { RunCost } from "../core/run-cost.ts";
import type { PriceBook } from "../core/settlement/pricing/price-book.ts";
import type { Instant, PoolId, ReplicaId, VendorId } from "../core/units.ts";
import type { Arrival } from "../core/workload.ts";
import type { Fleet } from "./fleet.ts";

/** What a vendor says of its pools that is not so. */
export const lies = {
  /** Slots and KV cache, as declared and as reported. */
  capacity: "times the slots that there are",
  /** The coefficients of the declared engine profile. */
  speed: "times as fast as it is",
  /** Running and waiting requests, and the part of the KV cache in use, as reported. */
  load: "times the load that there is",
  waiting: "times the requests that wait",
} as const;

export type Lie = keyof typeof lies;

/** What goes wrong, and when, in ms since the first request was due. */
export type WorldFault =
  /** Everything in the pool is cut; it comes back with empty engines. */
  | {
      readonly kind: "pool-dies";
      readonly pool: PoolId;
      readonly atMs: number;
      readonly forMs: number;
    }
  /** No report of any pool arrives. */
  | { readonly kind: "reports-lost"; readonly atMs: number; readonly forMs: number }
  | { readonly kind: "prices-change"; readonly book: PriceBook; readonly atMs: number }
  /** From the start to the end: the truth times the factor. */
  | {
      readonly kind: "vendor-lies";
      readonly vendor: VendorId;
      readonly about: Lie;
      readonly factor: number;
    };

/** Another way to place, one for each dispatcher. What it knows it keeps between the two calls. */
export interface Rival {
  readonly choose: Choose;
  /** Told of all that happens to its dispatcher, in order, with what came of it. */
  readonly see?: (event: Event, effects: readonly Effect[]) => void;
}

/** Callers who are told that there is no room ask again until they have waited too long. */
export interface Patience {
  /** Mean pause between two questions; each is drawn from half of it to one and a half times it. */
  readonly retryMs: number;
  /** How long a caller waits for a pool, since it first asked. */
  readonly waitMsMax: Readonly<Record<ServiceClass, number>>;
}

export interface WorldOptions {
  readonly run: Run;
  readonly fleet: Fleet;
  readonly geography: Geography;
  readonly policy: Policy;
  /** Model or alias of all requests that do not name their own. */
  readonly model: string;
  /** Epoch time at which the first request is due: prices depend on the hour. */
  readonly startAt: Instant;
  /** Requests that wait or run: who comes when there are so many is not sent. */
  readonly inFlightMax: number;
  /** Part of all reports that get lost, 0..1. */
  readonly reportLoss: number;
  readonly faults: readonly WorldFault[];
  /** Told of every answer, for a progress bar. */
  readonly onAnswer: (answer: Answer) => void;
  /** False: nothing is rated or ledgered, and there are no statements. Default true. */
  readonly books?: boolean;
  /** Default: our own way. */
  readonly makeRival?: (replica: ReplicaId) => Rival;
  /**
   * Control replicas with an equal share of each pool. All hear all reports, each knows only its own grants; a
   * request belongs to one by the hash of its id. Default 1.
   */
  readonly dispatchers?: number;
  /** Default 1 s. */
  readonly reportIntervalMs?: number;
  /** From the scrape to the dispatchers, drawn evenly: figures are those of the scrape. Default 1 to 30 ms. */
  readonly reportDelayMs?: { readonly least: number; readonly most: number };
  /** Default: who finds no room is refused at once. */
  readonly patience?: Patience;
  /** What a caller says that the answer may have at most, at least what it will have. Default: that. */
  readonly outputTokensMaxOf?: (arrival: Arrival) => number;
}

export interface WorldResult {
  readonly report: Report;
  readonly cost: RunCost;
  readonly prediction: PredictionQuality;
  /** Over all decisions and ends of attempts: the same for the same options. */
  readonly digest: string;
}
