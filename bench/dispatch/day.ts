/** A whole day of ServeGen, thinned to what the fleet can carry, and what power and tokens cost in its hours. */

import { Dispatcher } from "../../services/core/dispatcher.ts";
import { localHour } from "../../services/core/energy.ts";
import type { Side } from "../../services/core/region.ts";
import { randomFromSeed } from "../../services/core/random.ts";
import type { ModelId, ReplicaId } from "../../services/core/units.ts";
import { testedFleet } from "../../services/sim/fleets.ts";
import { capacityOf, shapeOf } from "../../services/sim/load.ts";
import { operatorMix } from "../../services/sim/mix.ts";
import { benchPolicy, cellAsIs, type Cell, type CellSpec } from "./cell.ts";
import { traceRows } from "./traces.ts";

const HOUR_MS = 3_600_000;
export const DAY_MS: number = 24 * HOUR_MS;

/**
 * Each request of the day stays with the same chance, so that its hours keep their busy and their quiet. Load is the
 * mean over the day: at the busiest ten minutes it is 2.7 times as much.
 */
export async function dayOf(spec: CellSpec): Promise<Cell> {
  const { load, seed, at, fleet: name, scale, durationMs, trace } = spec;
  const all = await traceRows(trace, durationMs);
  const shape = shapeOf(all);
  const { fleet } = testedFleet(name, { startAt: Date.parse(at), scale });
  const stays = (load * capacityOf(fleet, shape, operatorMix.models)) / shape.requestsPerSecond;
  const random = randomFromSeed(seed);
  const rows = all.filter(() => random() < stays);
  return cellAsIs(rows, spec);
}

/** What an hour of the day costs on one side, mean over its pools. */
export interface HourPrice {
  readonly localHour: number;
  readonly side: Side;
  readonly powerCnyPerKwh: number;
  /** Of a typical answer of 1,000 tokens in and 300 out. */
  readonly answerCny: number;
}

const NANO_PER_CNY = 1e9;
const PICO_PER_CNY = 1e12;
const typical = { inputTokens: 1_000, outputTokens: 300 };

/** By the preset's own tables. `at` says on which day. */
export function hourPrices(at: string): HourPrice[] {
  const firstAt = Math.floor(Date.parse(at) / HOUR_MS) * HOUR_MS;
  const { fleet, geography } = testedFleet("east-west", { startAt: firstAt });
  const dispatcher = new Dispatcher("hours" as ReplicaId, benchPolicy());
  dispatcher.step({ kind: "geography-set", at: firstAt, geography });
  for (const book of fleet.priceBooks) {
    dispatcher.step({ kind: "prices-published", at: firstAt, book });
  }
  for (const { registration } of fleet.pools) {
    const known = { ...registration, endpoint: "http://hours", generation: 1 };
    dispatcher.step({ kind: "pool-registered", at: firstAt, registration: known });
  }
  return Array.from({ length: 24 }, (_, hour) => firstAt + hour * HOUR_MS).flatMap((now) => {
    dispatcher.step({ kind: "time-passed", at: now });
    return sides.map((side) => hourOf(dispatcher, side, localHour(now)));
  });
}

const sides: readonly Side[] = ["east", "west"];

function hourOf({ pools }: Dispatcher, side: Side, hour: number): HourPrice {
  const there = pools.filter(({ region }) => region.side === side);
  const prices = there.flatMap(({ served }) =>
    [...operatorMix.models.keys()].flatMap((model: ModelId) => served.get(model)?.price ?? []),
  );
  return {
    localHour: hour,
    side,
    powerCnyPerKwh:
      mean(there.map(({ region }) => region.powerNanoPerKwhByHour[hour] ?? 0)) / NANO_PER_CNY,
    answerCny:
      mean(
        prices.map(
          ({ uncachedInputPicoPerToken, outputPicoPerToken }) =>
            typical.inputTokens * uncachedInputPicoPerToken +
            typical.outputTokens * outputPicoPerToken,
        ),
      ) / PICO_PER_CNY,
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
