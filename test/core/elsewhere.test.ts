import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { PlacementDigest } from "../../services/core/elsewhere.ts";
import { loadOf } from "../../services/core/placement/load.ts";
import { randomFromSeed } from "../../services/core/random.ts";
import type { AttemptId, LeaseId, PoolId, ReplicaId } from "../../services/core/units.ts";
import {
  chat,
  figure,
  geography,
  modelReport,
  northgrid,
  objectives,
  policy,
  priceBook,
  registration,
  report,
  request,
  servedModel,
} from "./fixtures.ts";

const ids = ["a", "b", "c", "d", "e", "f"];
/** Full slots cost, so that whoever sees them goes elsewhere. */
const minding = policy({
  ...objectives({ waitNanoPerMs: 100 }),
  congestion: { fullNanoPerSlotMs: 2_000, fullNanoPerKvTokenMs: 0, exponent: 1 },
});

interface Work {
  readonly pool: PoolId;
  readonly endsAt: number;
  readonly replica: number;
  readonly lease: LeaseId;
  readonly fence: number;
}

/** Replicas over the same pools, which serve each request for some seconds and report what they truly run. */
class Grid {
  now = 0;
  readonly replicas: Dispatcher[];
  readonly spreads: number[] = [];
  #work: Work[] = [];
  #sequence = 0;

  constructor(count: number) {
    this.replicas = Array.from({ length: count }, (_, index) => {
      const dispatcher = new Dispatcher(`control-${index}` as ReplicaId, minding);
      dispatcher.step({ at: 0, kind: "geography-set", geography: geography() });
      dispatcher.step({ at: 0, kind: "prices-published", book: priceBook() });
      for (const id of ids) {
        const models = [servedModel({ slotsTotal: 200 })];
        dispatcher.step({
          at: 0,
          kind: "pool-registered",
          registration: registration(id, { models }),
        });
        dispatcher.step({ at: 0, kind: "share-set", pool: id as PoolId, share: 1 / count });
      }
      return dispatcher;
    });
    this.report();
  }

  running(pool: string): number {
    return this.#work.filter((each) => each.pool === pool).length;
  }

  report(): void {
    this.#sequence += 1;
    for (const id of ids) {
      const runningRequests = figure(this.running(id), { observedAt: this.now });
      const models = [modelReport({ runningRequests, kvUsedRatio: undefined })];
      const said = report(id, { models, sequence: this.#sequence });
      for (const each of this.replicas) {
        each.step({ at: this.now, kind: "pool-reported", vendor: northgrid, report: said });
      }
    }
  }

  place(replica: number, attempt: number, forMs: number): void {
    const asked = request({ attempt: `r${attempt}/1` as AttemptId });
    const [effect] =
      this.replicas[replica]?.step({ at: this.now, kind: "placement-requested", request: asked }) ??
      [];
    if (effect?.kind !== "answer" || effect.lease === undefined) return;
    const { id: lease, pool, fence } = effect.lease;
    this.#work.push({ pool, lease, fence, replica, endsAt: this.now + forMs });
  }

  pass(ms: number): void {
    this.now += ms;
    for (const { replica, lease, fence } of this.#work.filter(({ endsAt }) => endsAt <= this.now)) {
      const released = { kind: "lease-released", lease, fence, outcome: undefined } as const;
      this.replicas[replica]?.step({ at: this.now, ...released });
    }
    this.#work = this.#work.filter(({ endsAt }) => endsAt > this.now);
    const counts = ids.map((id) => this.running(id));
    this.spreads.push(Math.max(...counts) - Math.min(...counts));
  }

  tell(pass: (digest: PlacementDigest, to: number) => void): void {
    for (const [from, each] of this.replicas.entries()) {
      const digest = each.digest(this.now);
      for (const [to] of this.replicas.entries()) if (to !== from) pass(digest, to);
    }
  }

  hear(digest: PlacementDigest, to: number): void {
    this.replicas[to]?.step({ at: this.now, kind: "placements-elsewhere", digest });
  }

  /** What a replica believes to be in flight at a pool. */
  believed(replica: number, id: string): number {
    const pool = this.replicas[replica]?.pools.find((each) => each.id === id);
    const served = pool?.served.get(chat);
    if (pool === undefined || served === undefined) return expect.unreachable();
    return loadOf(pool, served, this.now).inFlight;
  }
}

function meanSpread(isTold: boolean, seed: number): number {
  const random = randomFromSeed(seed);
  const grid = new Grid(4);
  for (let tick = 1; tick <= 1_200; tick++) {
    grid.pass(50);
    for (let each = 0; each < 4; each++) {
      grid.place(Math.floor(random() * 4), 4 * tick + each, 500 + 4_000 * random());
    }
    if (tick % 80 === 0) grid.report();
    if (isTold && tick % 5 === 0) grid.tell((digest, to) => grid.hear(digest, to));
  }
  const { spreads } = grid;
  return spreads.slice(200).reduce((sum, each) => sum + each, 0) / (spreads.length - 200);
}

describe("several replicas", () => {
  test("four that tell each other herd less between two reports than four that do not", () => {
    for (const seed of [1, 2, 3]) {
      expect(meanSpread(true, seed)).toBeLessThan(0.6 * meanSpread(false, seed));
    }
  });

  test("digests that are lost, late, doubled or out of order do no harm for longer than to the next", () => {
    const fates = fc.array(
      fc.record({ lost: fc.boolean(), doubled: fc.boolean(), late: fc.nat(6) }),
      { minLength: 40, maxLength: 40 },
    );
    fc.assert(
      fc.property(fates, fc.nat(1_000), (all, seed) => {
        const random = randomFromSeed(seed);
        const grid = new Grid(3);
        const onTheWay: {
          readonly at: number;
          readonly digest: PlacementDigest;
          readonly to: number;
        }[] = [];
        for (const [tick, { lost, doubled, late }] of all.entries()) {
          grid.pass(500);
          for (const due of onTheWay.filter(({ at }) => at === tick)) grid.hear(due.digest, due.to);
          grid.place(tick % 3, tick, 500 + 6_000 * random());
          if (tick % 10 === 0) grid.report();
          grid.tell((digest, to) => {
            if (!lost) onTheWay.push({ at: tick + late, digest, to });
            if (doubled) onTheWay.push({ at: tick + 1 + late, digest, to });
          });
        }
        // All hear of all once more: then each knows what is in flight, whatever came before.
        grid.tell((digest, to) => grid.hear(digest, to));
        for (const id of ids) {
          for (const replica of [0, 1, 2]) {
            expect(grid.believed(replica, id)).toBe(grid.running(id));
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  test("what a peer told is over when the next report has seen it, even if the peer is silent", () => {
    const grid = new Grid(2);
    grid.now = 100;
    for (let attempt = 0; attempt < 12; attempt++) grid.place(0, attempt, 1_000);
    grid.tell((digest, to) => grid.hear(digest, to));
    const before = ids.map((id) => grid.believed(1, id));
    expect(before.reduce((sum, each) => sum + each, 0)).toBe(12);
    grid.pass(2_000);
    grid.report();
    expect(ids.map((id) => grid.believed(1, id))).toEqual(ids.map(() => 0));
  });

  test("leases of a peer that is silent count no more after a while, though nobody else tells anything", () => {
    const grid = new Grid(2);
    grid.now = 100;
    for (let attempt = 0; attempt < 12; attempt++) grid.place(0, attempt, 1_000);
    grid.tell((digest, to) => grid.hear(digest, to));
    const [, alive = expect.unreachable()] = grid.replicas;
    const elsewhere = () =>
      alive.pools.reduce(
        (sum, { served }) => sum + (served.get(chat)?.slotsLeasedElsewhere ?? 0),
        0,
      );
    alive.step({ at: 30_000, kind: "time-passed" });
    expect(elsewhere()).toBe(12);
    alive.step({ at: 31_000, kind: "time-passed" });
    expect(elsewhere()).toBe(0);
  });

  test("an older digest, and one of a replica from before its restart, changes nothing", () => {
    const grid = new Grid(2);
    grid.now = 5_000;
    const early = grid.replicas[0]?.digest(grid.now) ?? expect.unreachable();
    grid.place(0, 1, 1_000);
    const late = grid.replicas[0]?.digest(grid.now) ?? expect.unreachable();
    grid.hear(late, 1);
    grid.hear(early, 1);
    expect(ids.map((id) => grid.believed(1, id)).toSorted((a, b) => a - b)).toEqual([
      0, 0, 0, 0, 0, 1,
    ]);
  });
});
