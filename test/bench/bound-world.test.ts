import { expect, test } from "vitest";
import { baselines } from "../../bench/baselines/baselines.ts";
import { boundOf } from "../../bench/bound/bound.ts";
import { cellFrom } from "../../bench/dispatch/cell.ts";
import { traceRows, type TraceName } from "../../bench/dispatch/traces.ts";
import { fleetNames, type FleetName } from "../../services/sim/fleets.ts";
import type { Rival } from "../../services/sim/world-options.ts";
import { runWorld } from "../../services/sim/world.ts";

/** Just before an hour in which power and some vendors are dearer. */
const at = "2026-11-20T08:59:45+08:00";
const durationMs = 30_000;

interface Case {
  readonly fleet: FleetName;
  readonly trace: TraceName;
  readonly load: number;
  /** False: who finds no room is refused at once. */
  readonly isPatient: boolean;
}

const cases: readonly Case[] = [
  { fleet: "homogeneous", trace: "azure", load: 0.5, isPatient: false },
  { fleet: "east-west", trace: "azure", load: 1.05, isPatient: true },
  { fleet: "east-west", trace: "mooncake", load: 0.8, isPatient: false },
  { fleet: "faults", trace: "azure", load: 0.8, isPatient: true },
];

const policies: Readonly<Record<string, (() => Rival) | undefined>> = {
  ours: undefined,
  "cheapest first": () => baselines["cheapest-first"].variants["as published"](rivalOptions),
  "round robin": () => baselines["round-robin"].variants["as published"](rivalOptions),
};

const rivalOptions = { seed: 1, replica: "control-1" };

for (const { fleet, trace, load, isPatient } of cases) {
  test(`boundOf() is below what policies cost: ${fleet}, ${trace} at ${load}`, async () => {
    const rows = await traceRows(trace);
    const spec = { trace, fleet, load, seed: 1, durationMs, at, scale: 1 };
    const { arrivals, world } = cellFrom(rows, spec);
    const { patience, ...impatient } = world;
    const options = isPatient ? { ...impatient, patience } : impatient;
    const { boundNano, fluidNano } = await boundOf({ ...options, arrivals, rounds: 5 });
    const costs = Object.entries(policies).map(async ([name, makeRival]) => {
      const { cost } = await runWorld(arrivals, {
        ...options,
        ...(makeRival === undefined ? {} : { makeRival }),
        run: { id: name, mode: "virtual", trace, speed: 1, seed: 1, class: "llm-interactive" },
        onAnswer: () => undefined,
      });
      return cost.totalNano;
    });
    expect(boundNano).toBeGreaterThan(0);
    expect(fluidNano).toBeGreaterThanOrEqual(boundNano);
    expect(Math.min(...(await Promise.all(costs)))).toBeGreaterThan(boundNano);
  });
}

test("every fleet has a case above", () => {
  expect(new Set(cases.map(({ fleet }) => fleet))).toEqual(new Set(fleetNames));
});
