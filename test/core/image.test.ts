import { expect, test } from "vitest";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { DispatcherImage } from "../../services/core/dispatcher-image.ts";
import { effectsText } from "../../services/core/effect-text.ts";
import type { Effect, Event } from "../../services/core/events.ts";
import { heldDecision } from "../../services/core/held-decision.ts";
import type { Decision } from "../../services/core/placement/decide.ts";
import { randomFromSeed } from "../../services/core/random.ts";
import type { ReplicaId } from "../../services/core/units.ts";
import { imageLines, LineReader } from "../../services/io/journal-image.ts";
import { collectionsOf, stateOf } from "../private-state.ts";
import { policy } from "./fixtures.ts";
import { RandomEvents } from "./random-events.ts";

const seeds = process.env.SEED
  ? [Number(process.env.SEED)]
  : Array.from({ length: 12 }, (_, index) => index + 1);

const events = 1_500;

/** Goes on with what happens to `dispatcher`, and returns all that it gave. */
function steps(dispatcher: Dispatcher, source: RandomEvents, count: number): readonly string[] {
  return Array.from({ length: count }, () => step(dispatcher, source.next(), source));
}

function step(dispatcher: Dispatcher, event: Event, source: RandomEvents): string {
  const effects = dispatcher.step(event);
  for (const effect of effects) {
    if (effect.kind === "answer" && effect.lease !== undefined) source.granted(effect.lease);
  }
  return `${event.kind} ${effectsText(effects)} ${billsOf(effects)}`;
}

/** What a decision says of the pool that was chosen, as a record has it. */
function billsOf(effects: readonly Effect[]): string {
  return effects
    .map((effect) =>
      effect.kind === "answer" && effect.decision.kind === "placed"
        ? JSON.stringify([effect.decision.chosen.terms, effect.decision.chosen.expected])
        : "",
    )
    .join();
}

function begun(seed: number): { readonly dispatcher: Dispatcher; readonly source: RandomEvents } {
  const source = new RandomEvents(seed);
  const dispatcher = new Dispatcher("control-1" as ReplicaId, policy());
  for (const event of source.first()) step(dispatcher, event, source);
  return { dispatcher, source };
}

/** As it comes back from the text of a journal. */
function throughText(image: DispatcherImage): DispatcherImage {
  const reader = new LineReader();
  const records = [...imageLines(image)].map((line) => reader.record(line));
  const record = records.at(-1);
  if (record?.kind !== "image") throw new Error("expected an image, found none");
  return record.image as DispatcherImage;
}

/**
 * What is no state, or the same state in another form, with the reason. Everything else that a dispatcher can reach is
 * compared: a new field is, without being named here.
 */
const others: Readonly<Record<string, (value: unknown) => unknown>> = {
  // Copy on write: says only who else holds the list.
  isLent: () => undefined,
  // A decision that is held has what its answer and its end need.
  decision: (value) => heldDecision(value as Decision & { kind: "placed" }),
  // Found by its key alone; the order of leases is that of #byLease.
  "#byAttempt": (value) => new Map([...(value as Map<string, unknown>)].toSorted(byKey)),
  // Found by its key alone as well; the order of use is that of each shelf.
  "#holders": (value) => new Map([...(value as Map<number, unknown>)].toSorted(byKey)),
};

function byKey<Key extends string | number>(
  [a]: readonly [Key, unknown],
  [b]: readonly [Key, unknown],
): number {
  return a < b ? -1 : 1;
}

function comparable(dispatcher: Dispatcher): unknown {
  return stateOf(dispatcher, (value, path) => {
    const name = /\.([#\w]+)$/.exec(path)?.[1] ?? "";
    const other = others[name];
    return other === undefined || value === undefined ? value : other(value);
  });
}

for (const seed of seeds) {
  test(`a dispatcher restored at any point is the same to its last private field, and goes on as if nothing had been (SEED=${seed})`, () => {
    const at = Math.floor(randomFromSeed(seed)() * events);
    const { dispatcher, source } = begun(seed);
    steps(dispatcher, source, at);
    const restored = Dispatcher.restored(throughText(dispatcher.image()));
    expect(comparable(restored)).toEqual(comparable(dispatcher));
    expect(restored.image()).toEqual(dispatcher.image());

    const left = Array.from({ length: events - at });
    for (const _ of left) {
      const event = source.next();
      const given = step(dispatcher, event, source);
      expect(step(restored, event, source)).toBe(given);
    }
    expect(restored.leases).toEqual(dispatcher.leases);
    expect(comparable(restored)).toEqual(comparable(dispatcher));
  });
}

test("an image shares nothing that is changed later", () => {
  const { dispatcher, source } = begun(7);
  steps(dispatcher, source, 500);
  const image = dispatcher.image();
  const before = structuredClone(image);
  steps(dispatcher, source, 500);
  expect(image).toEqual(before);
  const restored = Dispatcher.restored(image);
  steps(restored, source, 500);
  expect(image).toEqual(before);
});

test("the random events fill every collection that a dispatcher remembers things in", () => {
  const largest = new Map<string, number>();
  for (const seed of [1, 2, 3]) {
    const { dispatcher, source } = begun(seed);
    for (let round = 0; round < 10; round++) {
      steps(dispatcher, source, 200);
      for (const [path, size] of collectionsOf(dispatcher)) {
        largest.set(path, Math.max(size, largest.get(path) ?? 0));
      }
    }
  }
  expect(largest.size).toBeGreaterThan(8);
  expect([...largest].filter(([, size]) => size === 0).map(([path]) => path)).toEqual([]);
});

test("the comparison sees private fields, also those of private parts", () => {
  const { dispatcher } = begun(1);
  const state = comparable(dispatcher) as Record<string, unknown>;
  expect(Object.keys(state)).toEqual(expect.arrayContaining(["#fence", "#grants", "#policy"]));
  const other = { ...dispatcher.image(), fence: dispatcher.image().fence + 1 };
  expect(comparable(Dispatcher.restored(other))).not.toEqual(state);
});
