import { randomFromSeed } from "../../services/core/random.ts";
import type { Arrival } from "../../services/core/workload.ts";
import { loadGeography } from "../../services/io/preset.ts";
import { cityOf } from "../../services/sim/demand.ts";
import { loadFleet, type Fleet } from "../../services/sim/fleet.ts";
import type { WorldOptions } from "../../services/sim/world-options.ts";
import { policy } from "../core/fixtures.ts";

export const startAt = Date.parse("2026-11-20T10:00:00+08:00");
export const fleet = small(loadFleet(undefined, startAt));
export const geography = loadGeography();
export function options(seed: number, changes: Partial<WorldOptions> = {}): WorldOptions {
  return {
    run: { id: "w", mode: "virtual", trace: "drawn", speed: 1, seed, class: "llm-interactive" },
    fleet,
    geography,
    policy: policy(),
    model: "sim-chat",
    startAt,
    inFlightMax: 1_000,
    reportLoss: 0.05,
    faults: [],
    onAnswer: () => undefined,
    ...changes,
  };
}

/** A quarter of the slots, so that a few hundred requests can fill it. */
function small(whole: Fleet): Fleet {
  const quarter = (slots: number): number => Math.ceil(slots / 4);
  const pools = whole.pools.map(({ registration, engines }) => ({
    registration: {
      ...registration,
      models: registration.models.map((model) => ({
        ...model,
        slotsTotal: quarter(model.slotsTotal),
      })),
    },
    engines: new Map(
      [...engines].map(([model, { profile, ...engine }]) => [
        model,
        { ...engine, profile: { ...profile, sequencesMax: quarter(profile.sequencesMax) } },
      ]),
    ),
  }));
  return { ...whole, pools };
}

/** Two minutes of requests, sometimes more than the fleet can hold. */
export function drawn(seed: number): Arrival[] {
  const random = randomFromSeed(seed);
  const perSecond = 2 + 10 * random();
  let atMs = 0;
  return Array.from({ length: 400 }, (_, index) => {
    atMs += (-Math.log(1 - random()) * 1_000) / perSecond;
    return {
      index,
      atMs,
      inputTokens: 1 + Math.floor(4_000 * random() ** 2),
      outputTokens: 1 + Math.floor(400 * random() ** 2),
      blocks: [],
      origin: cityOf(seed, index),
      class: "llm-interactive",
    };
  });
}
