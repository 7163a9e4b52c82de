import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { tokenClasses } from "../../services/core/settlement/counting/usage.ts";
import type { BudgetReport } from "../../services/core/budgets.ts";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { Event } from "../../services/core/events.ts";
import type { AttemptOutcome, Lease } from "../../services/core/lease.ts";
import type { Budget } from "../../services/core/placement/budget.ts";
import type { Decision } from "../../services/core/placement/decide.ts";
import type { Policy } from "../../services/core/placement/policy.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import { randomFromSeed } from "../../services/core/random.ts";
import type {
  AttemptId,
  BookId,
  ModelId,
  PoolId,
  RegionId,
  ReplicaId,
  TenantId,
  VendorId,
} from "../../services/core/units.ts";
import {
  chat,
  figure,
  geography,
  modelReport,
  policy,
  priceBook,
  priceLine,
  region,
  registration,
  report,
  request,
  servedModel,
} from "./fixtures.ts";

/** What `request()` is expected to pay: 1,000 tokens at 2,000 nano and 200 at 8,000. */
const expectedNano = 3_600_000;

const hour: Budget = {
  id: "hour",
  when: {},
  unit: "cny",
  limit: 10 * expectedNano,
  windowMs: 3_600_000,
  isHard: true,
  dualNanoMax: 0,
};

type Body = Event extends infer Each ? (Each extends Event ? Omit<Each, "at"> : never) : never;

/** One replica with pools, and time that the test lets pass. */
class Run {
  now = 1_000_000;
  sequence = 0;
  readonly dispatcher: Dispatcher;

  constructor(budgets: readonly Budget[], options: { share?: number; pools?: number } = {}) {
    const { share = 1, pools = 1 } = options;
    this.dispatcher = new Dispatcher("control-1" as ReplicaId, underBudgets(budgets));
    this.happen({ kind: "geography-set", geography: geography() });
    this.happen({ kind: "prices-published", book: priceBook() });
    for (let index = 0; index < pools; index++) {
      const id = `pool-${index}`;
      const models = [servedModel({ slotsTotal: 1_000 })];
      this.happen({ kind: "pool-registered", registration: registration(id, { models }) });
      this.happen({ kind: "share-set", pool: id as PoolId, share });
    }
    this.report();
  }

  happen(body: Body) {
    return this.dispatcher.step({ ...body, at: this.now } as Event);
  }

  /** Every pool says that it is idle. */
  report(): void {
    for (const { id, vendor } of this.dispatcher.pools) {
      this.sequence += 1;
      const idle = figure(0, { observedAt: this.now });
      const model = modelReport({
        runningRequests: idle,
        waitingRequests: idle,
        kvUsedRatio: idle,
      });
      const each = report(id, { sequence: this.sequence, models: [model] });
      this.happen({ kind: "pool-reported", vendor, report: each });
    }
  }

  place(changes: Partial<PlacementRequest> = {}): {
    readonly decision: Decision;
    readonly lease: Lease | undefined;
  } {
    this.sequence += 1;
    const attempt = `r${this.sequence}/1` as AttemptId;
    const effects = this.happen({
      kind: "placement-requested",
      request: request({ attempt, ...changes }),
    });
    return effects.find((effect) => effect.kind === "answer") ?? expect.unreachable();
  }

  lease(changes: Partial<PlacementRequest> = {}): Lease {
    return this.place(changes).lease ?? expect.unreachable();
  }

  release({ id, fence }: Lease, outcome: AttemptOutcome | undefined): void {
    this.happen({ kind: "lease-released", lease: id, fence, outcome });
  }

  /** Time with reports, so that the pools stay fit. */
  pass(ms: number): void {
    this.now += ms;
    this.happen({ kind: "time-passed" });
    this.report();
  }

  account(id = "hour", tenant = "acme"): BudgetReport {
    const reports = this.dispatcher.budgets.reports(this.now);
    return (
      reports.find((each) => each.id === id && each.tenant === (tenant as TenantId)) ??
      expect.unreachable()
    );
  }
}

function underBudgets(budgets: readonly Budget[], changes: Partial<Policy> = {}): Policy {
  return policy({ budgets, ...changes });
}

const ended: AttemptOutcome = {
  result: "ok",
  ttftMs: undefined,
  itlMsMean: undefined,
  headersMs: undefined,
  inputTokens: 1_000,
  cachedTokens: 0,
  outputTokens: 200,
  durationMs: undefined,
};

/** How an attempt may end, and what its budget is charged for it. */
const endings: Readonly<Record<string, [(run: Run, lease: Lease) => void, number]>> = {
  "as expected": [(run, lease) => run.release(lease, ended), expectedNano],
  "with half the answer": [
    (run, lease) => run.release(lease, { ...ended, outputTokens: 100 }),
    2_800_000,
  ],
  "from the cache": [
    (run, lease) => run.release(lease, { ...ended, cachedTokens: 1_000 }),
    1_800_000,
  ],
  "with counts that nobody knows": [
    (run, lease) => run.release(lease, { ...ended, result: "reset", outputTokens: undefined }),
    expectedNano,
  ],
  "without a connection": [
    (run, lease) =>
      run.release(lease, { ...ended, result: "connect-error", outputTokens: undefined }),
    0,
  ],
  undispatched: [(run, lease) => run.release(lease, undefined), 0],
  "by expiry": [(run) => run.pass(30_000), expectedNano],
  "by a cut": [
    (run, { pool }) => {
      run.happen({ kind: "pool-cut", pool });
    },
    expectedNano,
  ],
};

describe("an account", () => {
  test.for(Object.entries(endings))("holds an attempt and settles it %s", ([, [end, spent]]) => {
    const run = new Run([hour]);
    const lease = run.lease();
    expect(run.account()).toMatchObject({ held: expectedNano, spent: 0 });
    end(run, lease);
    expect(run.account()).toMatchObject({ held: 0, spent });
    // Whoever ends it again changes nothing.
    run.release(lease, ended);
    run.pass(60_000);
    expect(run.account()).toMatchObject({ held: 0, spent });
  });

  test("counts an attempt once, whoever asks again", () => {
    const run = new Run([hour]);
    const attempt = "again/1" as AttemptId;
    const leases = [1, 2, 3].map(() => run.lease({ attempt }).id);
    expect(new Set(leases).size).toBe(1);
    expect(run.account().held).toBe(expectedNano);
  });

  test("counts energy and carbon as they were expected, scaled by the tokens that came", () => {
    const kwh = { ...hour, id: "kwh", unit: "kwh", limit: 1e12 } as const;
    const carbon = { ...hour, id: "carbon", unit: "gco2e", limit: 1e12 } as const;
    const run = new Run([kwh, carbon]);
    const { decision, lease } = run.place();
    const { joules, gramsCo2 } =
      decision.kind === "placed" ? decision.chosen.expected : expect.unreachable();
    expect(joules).toBeGreaterThan(0);
    expect(run.account("kwh").held).toBe(Math.round(joules * 1_000));
    expect(run.account("carbon").held).toBe(Math.round(gramsCo2 * 1_000_000));
    run.release(lease ?? expect.unreachable(), { ...ended, inputTokens: 2_000, outputTokens: 400 });
    expect(run.account("kwh").spent).toBeCloseTo(2_000 * joules, -1);
    expect(run.account("carbon").spent).toBeCloseTo(2_000_000 * gramsCo2, -1);
  });

  test("is each tenant's own, for the classes and models that the budget names", () => {
    const own: Budget = {
      ...hour,
      id: "own",
      when: { tenants: new Set(["acme" as TenantId]), classes: new Set(["llm-interactive"]) },
    };
    const other: Budget = { ...hour, id: "other", when: { models: new Set(["x" as ModelId]) } };
    const run = new Run([hour, own, other]);
    run.lease();
    run.lease({ class: "batch-offline" });
    run.lease({ tenant: "zenith" as TenantId });
    const held = run.dispatcher.budgets
      .reports(run.now)
      .map((each) => [each.id, each.tenant, each.held]);
    expect(new Set(held.map(String))).toEqual(
      new Set([
        `hour,acme,${2 * expectedNano}`,
        `own,acme,${expectedNano}`,
        `hour,zenith,${expectedNano}`,
      ]),
    );
  });
});

describe("a hard budget", () => {
  test("refuses what does not fit, says when it does, and takes it then", () => {
    const run = new Run([hour]);
    const leases = Array.from({ length: 10 }, () => run.lease());
    for (const each of leases) run.release(each, ended);
    const refused = run.place();
    expect(refused.decision).toMatchObject({ kind: "unplaceable", reason: "budget-exhausted" });
    const [rejection] = refused.decision.rejections;
    const inMs = rejection?.roomInMs ?? expect.unreachable();
    expect(inMs).toBeGreaterThan(hour.windowMs - 1);
    expect(inMs).toBeLessThanOrEqual(hour.windowMs + hour.windowMs / 60);
    run.pass(inMs - 1);
    expect(run.place().lease).toBeUndefined();
    run.pass(1);
    expect(run.place().lease).toBeDefined();
  });

  test("is opened by who spends of it, and by nobody who asks", () => {
    const run = new Run([hour]);
    const before = run.dispatcher.image();
    const asked = request({ tenant: "passer-by" as TenantId });
    expect(run.dispatcher.plan(asked, run.now).request.budgets?.standings).toHaveLength(1);
    const refused = request({
      tenant: "passer-by" as TenantId,
      excluded: new Set(["pool-0" as PoolId]),
    });
    run.dispatcher.step({ kind: "placement-requested", request: refused, at: run.now });
    expect(run.dispatcher.image().budgets).toEqual(before.budgets);
  });

  test("leaves other tenants alone", () => {
    const run = new Run([hour]);
    for (let index = 0; index < 10; index++) run.lease();
    expect(run.place().lease).toBeUndefined();
    expect(run.place({ tenant: "zenith" as TenantId }).lease).toBeDefined();
  });

  test("that is only priced refuses nothing", () => {
    const run = new Run([{ ...hour, isHard: false, limit: 1, dualNanoMax: 4 }]);
    run.lease();
    expect(run.place().lease).toBeDefined();
    expect(run.account().dualNano).toBe(4);
  });

  test("is never exceeded by expectations, and by no more than what was under way came to above its own", () => {
    const steps = fc.array(
      fc.record({
        passedMs: fc.constantFrom(0, 0, 500, 4_000, 90_000, 700_000),
        output: fc.constantFrom(undefined, 1, 200, 200, 1_000),
        ends: fc.boolean(),
      }),
      { minLength: 20, maxLength: 150 },
    );
    fc.assert(
      fc.property(steps, (all) => {
        const run = new Run([hour]);
        const live: Lease[] = [];
        for (const { passedMs, output, ends } of all) {
          if (passedMs > 0) run.pass(passedMs);
          const before = run.dispatcher.budgets.reports(run.now)[0];
          const { lease } = run.place();
          const { held, spent, limit } = run.account();
          if (lease !== undefined) {
            expect(spent + held).toBeLessThanOrEqual(limit);
            live.push(lease);
          } else {
            const { spent: had = 0, held: holding = 0 } = before ?? {};
            expect(had + holding + expectedNano).toBeGreaterThan(limit);
          }
          const [first] = live;
          if (ends && first !== undefined) {
            live.shift();
            run.release(first, { ...ended, outputTokens: output });
          }
          const alive = run.dispatcher.leases.length;
          expect(run.account().held).toBe(alive * expectedNano);
          // An answer of 1,000 tokens costs 6,400,000 nano more than was expected of it.
          const atMost = limit + 10 * 6_400_000;
          expect(run.account().spent + run.account().held).toBeLessThanOrEqual(atMost);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("is shared by replicas as the pools are: together they stay within it", () => {
    const replicas = [0.5, 0.3, 0.2].map((share) => new Run([hour], { share, pools: 3 }));
    let granted = 0;
    for (const run of replicas) {
      expect(run.place().lease === undefined).toBe(run.account().limit < expectedNano);
      while (run.place().lease !== undefined) granted += 1;
      granted += 1;
      expect(run.account().held).toBeLessThanOrEqual(run.account().limit);
    }
    expect(granted).toBeLessThanOrEqual(10);
    const limits = replicas.map((run) => run.account().limit);
    expect(limits.reduce((sum, each) => sum + each)).toBeLessThanOrEqual(hour.limit);
  });

  test("with another limit counts at once; one that is gone frees its leases, and comes back empty", () => {
    const run = new Run([hour]);
    const lease = run.lease();
    const set = (budgets: readonly Budget[]) =>
      run.happen({ kind: "policy-set", policy: underBudgets(budgets) });
    set([{ ...hour, limit: expectedNano }]);
    expect(run.place().decision).toMatchObject({ reason: "budget-exhausted" });
    set([]);
    expect(run.place().lease).toBeDefined();
    set([hour]);
    run.release(lease, ended);
    run.lease();
    expect(run.account()).toMatchObject({ held: expectedNano, spent: 0 });
  });
});

test("a replica goes on from the accounts of the one before, with what was under way as spent", () => {
  const before = new Run([hour]);
  before.release(before.lease(), ended);
  before.lease();
  const after = new Run([hour]);
  after.now = before.now + 1_000;
  after.report();
  const { accounts } = before.dispatcher.budgets.image();
  after.happen({ kind: "budgets-inherited", accounts });
  expect(after.account()).toMatchObject({ spent: 2 * expectedNano, held: 0 });
  for (let index = 0; index < 8; index++) after.lease();
  expect(after.place().decision).toMatchObject({ reason: "budget-exhausted" });
});

/** Two pools: one cheap where power is dirty, one dear where it is clean. */
function cheapAndClean(budgets: readonly Budget[]): Run {
  const run = new Run(budgets, { pools: 0 });
  const sites = ["dirty", "clean"].map((id) =>
    region(id, { gridGramsPerKwh: id === "dirty" ? 900 : 45 }),
  );
  const paths = new Map(sites.map(({ id }) => [id, 30]));
  const { origins, ...rest } = geography();
  const roundTripMsPrior = new Map([...origins.keys()].map((origin) => [origin, paths]));
  const regions = new Map(sites.map((site) => [site.id, site]));
  run.happen({
    kind: "geography-set",
    geography: { ...rest, origins, regions, roundTripMsPrior },
  });
  for (const [id, pico] of [
    ["dirty", 8_000_000n],
    ["clean", 12_000_000n],
  ] as const) {
    const vendor = `${id}-vendor` as VendorId;
    const lines = tokenClasses.map((tokenClass) =>
      priceLine(tokenClass, { tiers: [{ fromTokens: 0n, pricePicoPerToken: pico }] }),
    );
    run.happen({
      kind: "prices-published",
      book: priceBook({ id: `${id}-book` as BookId, vendor, lines }),
    });
    const models = [servedModel({ slotsTotal: 1_000 })];
    run.happen({
      kind: "pool-registered",
      registration: registration(id, { vendor, region: id as RegionId, models }),
    });
    run.happen({ kind: "share-set", pool: id as PoolId, share: 1 });
  }
  return run;
}

test("a tenant that is short of carbon is led to clean pools before it is stopped, and nobody else is", () => {
  const windowMs = 3_600_000;
  const everyMs = 4_000;
  const perRequest = gramsAt("dirty");
  // Half of what all requests at the dirty pool would emit.
  const limit = Math.round(((perRequest * windowMs) / everyMs) * 0.5 * 1_000_000);
  const carbon: Budget = {
    id: "carbon",
    when: { tenants: new Set(["acme" as TenantId]) },
    unit: "gco2e",
    limit,
    windowMs,
    isHard: true,
    dualNanoMax: 40_000_000,
  };
  const run = cheapAndClean([carbon]);
  const random = randomFromSeed(7);
  const counts = { clean: 0, dirty: 0, refused: 0, others: 0 };
  const hours = 4;
  const prices: number[] = [];
  for (let step = 0; step < (hours * windowMs) / everyMs; step++) {
    run.now += everyMs;
    run.report();
    const { decision, lease } = run.place();
    const other = run.place({ tenant: "zenith" as TenantId });
    if (other.decision.kind === "placed" && other.decision.pool === ("dirty" as PoolId)) {
      counts.others += 1;
    }
    if (other.lease !== undefined) run.release(other.lease, ended);
    if (lease === undefined || decision.kind !== "placed") counts.refused += 1;
    else {
      counts[decision.pool === ("clean" as PoolId) ? "clean" : "dirty"] += 1;
      // Answers are longer or shorter than was thought.
      run.release(lease, { ...ended, outputTokens: 100 + Math.floor(random() * 200) });
    }
    const { spent, held, dualNano } = run.account("carbon");
    expect(spent + held).toBeLessThanOrEqual(limit * 1.01);
    if (step > windowMs / everyMs) prices.push(dualNano);
  }
  const asked = counts.clean + counts.dirty + counts.refused;
  expect(counts.refused).toBe(0);
  expect(counts.others).toBe(asked);
  // All of the clean pool alone would be safe, and dear: most of what the budget allows is used.
  expect(counts.dirty / asked).toBeGreaterThan(0.3);
  expect(run.account("carbon").spent).toBeGreaterThan(0.7 * limit);
  expect(Math.min(...prices)).toBeGreaterThan(0);
  expect(Math.max(...prices)).toBeLessThan(carbon.dualNanoMax);
});

function gramsAt(pool: string): number {
  const run = cheapAndClean([]);
  run.report();
  const { decision } = run.place({ model: chat });
  const found = decision.candidates.find((each) => each.pool === (pool as PoolId));
  return found?.expected.gramsCo2 ?? expect.unreachable();
}
