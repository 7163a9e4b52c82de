import { expect, test } from "vitest";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { ReplicaId } from "../../services/core/units.ts";
import { collectionsOf } from "../private-state.ts";
import { policy } from "./fixtures.ts";
import { RandomEvents } from "./random-events.ts";

/** Collections that fill slowly, with the most that they may ever have. */
const boundOf: Readonly<Record<string, number>> = { "#buckets": 61 };

test("what a dispatcher remembers does not grow with what has happened", () => {
  const source = new RandomEvents(3);
  const dispatcher = new Dispatcher("control-1" as ReplicaId, policy());
  const sizesAfter = (events: number): ReadonlyMap<string, number> => {
    for (let index = 0; index < events; index++) {
      for (const effect of dispatcher.step(source.next())) {
        if (effect.kind === "answer" && effect.lease !== undefined) source.granted(effect.lease);
      }
    }
    return new Map(collectionsOf(dispatcher));
  };
  for (const event of source.first()) dispatcher.step(event);
  const before = sizesAfter(10_000);
  const after = sizesAfter(40_000);
  expect(before.size).toBeGreaterThan(8);
  const grown = [...after].filter(([path, size]) => {
    const most = boundOf[path.split(".").at(-1) ?? ""] ?? 1.3 * (before.get(path) ?? 0) + 5;
    return size > most;
  });
  expect(grown).toEqual([]);
});
