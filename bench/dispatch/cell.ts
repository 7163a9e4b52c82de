/** A cell: one workload on one fleet at one load. All policies get the same one. */

import type { Policy } from "../../services/core/placement/policy.ts";
import type { Arrival, TraceRow } from "../../services/core/workload.ts";
import { defaultPolicyYaml, parsePolicy } from "../../services/io/policy-file.ts";
import { testedFleet, type FleetName, type TestedFleet } from "../../services/sim/fleets.ts";
import { atRate, capacityOf, shapeOf } from "../../services/sim/load.ts";
import { mixedArrivals, operatorMix } from "../../services/sim/mix.ts";
import type { Patience, WorldOptions } from "../../services/sim/world-options.ts";
import { Reach } from "./reach.ts";
import { windowOf, type TraceName } from "./traces.ts";

export interface CellSpec {
  readonly trace: TraceName;
  readonly fleet: FleetName;
  /** Of `capacityOf`. */
  readonly load: number;
  readonly seed: number;
  /** In which requests come. */
  readonly durationMs: number;
  /** When the first request is due, with its zone. */
  readonly at: string;
  /** Times the replicas of the fleet. */
  readonly scale: number;
}

/** What a run in this cell has in common with all others. */
export interface Cell {
  readonly arrivals: readonly Arrival[];
  readonly world: Omit<WorldOptions, "run" | "onAnswer"> & { readonly patience: Patience };
  /** 100 % of the fleet for this trace. */
  readonly capacityPerSecond: number;
  /** What came, those that were left out among them. */
  readonly offeredPerSecond: number;
  /** Requests that no pool of the fleet may ever serve. They are in no run. */
  readonly leftOut: number;
}

/** House defaults: who is in a hurry gives up sooner. */
export const patience: Patience = {
  retryMs: 250,
  waitMsMax: {
    "metro-realtime": 2_000,
    "realtime-interactive": 4_000,
    "llm-interactive": 10_000,
    "batch-offline": 60_000,
    archival: 600_000,
  },
};

/** More than any cell has open at once: nobody is kept from asking. */
const IN_FLIGHT_MAX = 1_000_000;

/** Never asked for: every arrival of the mix names its model. */
const unnamedModel = "sim-chat";

/**
 * The shipped policy without its tariffs and with the whole power bill, so that what decides and what is counted
 * afterwards are the same.
 */
export function benchPolicy(): Policy {
  const parsed = parsePolicy(defaultPolicyYaml(), 1);
  if ("mistakes" in parsed) throw new Error("expected the shipped policy to be valid");
  const rows = parsed.policy.rows.filter(({ kind }) => kind !== "tariff");
  return { ...parsed.policy, rows, powerShare: 1 };
}

/**
 * Of the rows of its trace. Of one that is longer than needed a window is taken, and its own mean request
 * says what the fleet can do: so a load is the same load wherever in the trace a seed begins.
 */
export function cellFrom(all: readonly TraceRow[], spec: CellSpec): Cell {
  const { load, seed, durationMs } = spec;
  const tested = testedOf(spec);
  const wanted = Math.ceil((load * capacityIn(tested, all) * durationMs) / 1_000);
  const rows = wanted < all.length ? windowOf(all, Math.max(2, wanted), seed) : all;
  const capacityPerSecond = capacityIn(tested, rows);
  const requestsPerSecond = load * capacityPerSecond;
  return cellWith(atRate(rows, { requestsPerSecond, durationMs, seed }), {
    spec,
    tested,
    capacityPerSecond,
    outputTokensMax: longestIn(all),
  });
}

/** The rows as they were recorded, at their own rate. */
export function cellAsIs(rows: readonly TraceRow[], spec: CellSpec): Cell {
  const tested = testedOf(spec);
  const capacityPerSecond = capacityIn(tested, rows);
  return cellWith(rows, { spec, tested, capacityPerSecond, outputTokensMax: longestIn(rows) });
}

function cellWith(
  rows: Iterable<TraceRow>,
  options: {
    readonly spec: CellSpec;
    readonly tested: TestedFleet;
    readonly capacityPerSecond: number;
    readonly outputTokensMax: number;
  },
): Cell {
  const { spec, tested, capacityPerSecond, outputTokensMax } = options;
  const { seed, durationMs, at } = spec;
  const { fleet, geography, faults } = tested;
  const now = Date.parse(at);
  const policy = benchPolicy();
  const came = [...mixedArrivals(rows, operatorMix, seed)];
  const reach = new Reach({ fleet, geography, policy, now, outputTokensMax });
  const arrivals = came.filter((each) => reach.admits(each));
  return {
    arrivals,
    capacityPerSecond,
    offeredPerSecond: (came.length * 1_000) / durationMs,
    leftOut: came.length - arrivals.length,
    world: {
      fleet,
      geography,
      policy,
      model: unnamedModel,
      startAt: now,
      inFlightMax: IN_FLIGHT_MAX,
      reportLoss: 0,
      faults: faults(durationMs),
      books: false,
      patience,
      outputTokensMaxOf: () => outputTokensMax,
    },
  };
}

function testedOf({ fleet, at, scale }: CellSpec): TestedFleet {
  return testedFleet(fleet, { startAt: Date.parse(at), scale });
}

function capacityIn({ fleet }: TestedFleet, rows: readonly TraceRow[]): number {
  return capacityOf(fleet, shapeOf(rows), operatorMix.models);
}

function longestIn(rows: readonly TraceRow[]): number {
  return rows.reduce((most, { outputTokens }) => Math.max(most, outputTokens), 1);
}
