import { assert } from "../../services/core/assert.ts";
import { OptionFinder } from "./choices.ts";
import type { BoundOptions, ClassTerms, Demand, Energy, Problem } from "./problem.ts";
import { aliveMs, nanoPerJouleMin, type Seat } from "./seats.ts";

/** House default: fine enough for the peaks of a minute in an hour. */
const BINS = 120;
const BIN_MS_MIN = 10_000;

export function problemOf(options: BoundOptions): Problem {
  const { speed = 1, policy } = options;
  const arrivals = [...options.arrivals]
    .map((arrival) => ({ arrival, atMs: arrival.atMs / speed }))
    .toSorted((a, b) => a.atMs - b.atMs);
  const lastMs = arrivals.at(-1)?.atMs ?? 0;
  const edges = edgesOf(lastMs, options.binMs);
  const finder = new OptionFinder(arrivals, options);
  const classes = [...new Set(arrivals.map(({ arrival }) => arrival.class))].map(
    (each): ClassTerms => ({ class: each, ...policy.objectives[each] }),
  );
  let bin = 0;
  const demands = arrivals.map(({ arrival, atMs }, index): Demand => {
    while ((edges[bin + 1] ?? Infinity) <= atMs) bin += 1;
    const terms = classes.findIndex((each) => each.class === arrival.class);
    return {
      atMs,
      bin,
      class: terms,
      steps: arrival.outputTokens - 1,
      kvTokens: arrival.inputTokens + 1,
      ...finder.of(index),
    };
  });
  const { seats } = finder;
  const bins = edges.length - 1;
  const energy = energyOf(seats, edges, options);
  const replicaMs = Float64Array.from({ length: seats.length * bins }, (_, at) => {
    const seat = seats[Math.floor(at / bins)];
    assert(seat !== undefined, "every seat has its bins");
    const [fromMs, toMs] = [edges[at % bins] ?? 0, edges[(at % bins) + 1] ?? Infinity];
    return seat.replicas * aliveMs(seat, { fromMs, toMs });
  });
  return {
    seats,
    classes,
    demands,
    edges,
    bins,
    binMs: edges[1] ?? Infinity,
    energy,
    replicaMs,
    waitNanoPerMsMin: leastWait(seats, demands, classes),
  };
}

function edgesOf(lastMs: number, binMs = Math.max(BIN_MS_MIN, lastMs / BINS)): Float64Array {
  const bins = Math.floor(lastMs / binMs) + 1;
  return Float64Array.from([...Array.from({ length: bins + 1 }, (_, at) => at * binMs), Infinity]);
}

function energyOf(seats: readonly Seat[], edges: Float64Array, options: BoundOptions): Energy {
  const bins = edges.length - 1;
  const nanoPerJoule = new Float64Array(seats.length * bins);
  const energyShare = new Float64Array(seats.length * bins);
  for (const [index, seat] of seats.entries()) {
    for (let bin = 0; bin < bins; bin++) {
      const from = options.startAt + (edges[bin] ?? 0);
      const to = options.startAt + (edges[bin + 1] ?? Infinity);
      const { energy, carbon } = nanoPerJouleMin(seat, options, { from, to });
      nanoPerJoule[index * bins + bin] = energy + carbon;
      energyShare[index * bins + bin] = energy + carbon > 0 ? energy / (energy + carbon) : 0;
    }
  }
  return { nanoPerJoule, energyShare };
}

function leastWait(
  seats: readonly Seat[],
  demands: readonly Demand[],
  classes: readonly ClassTerms[],
): Float64Array {
  const least = new Float64Array(seats.length).fill(Infinity);
  for (const demand of demands) {
    const wait = classes[demand.class]?.waitNanoPerMs ?? 0;
    for (const { seat } of demand.choices) least[seat] = Math.min(least[seat] ?? Infinity, wait);
  }
  return least.map((each) => (each === Infinity ? 0 : each));
}
