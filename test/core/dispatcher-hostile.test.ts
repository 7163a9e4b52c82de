import fc from "fast-check";
import { expect, test } from "vitest";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { Effect, Event } from "../../services/core/events.ts";
import type { AttemptOutcome, AttemptResult, Lease } from "../../services/core/lease.ts";
import type { Candidate } from "../../services/core/placement/decide.ts";
import type { Budget } from "../../services/core/placement/budget.ts";
import type { Policy, PolicyOverride } from "../../services/core/placement/policy.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import type { ModelReport, PoolRegistration, PoolReport } from "../../services/core/pool.ts";
import type { AttemptId, PoolId, ReplicaId, RowId, TenantId } from "../../services/core/units.ts";
import { defaultPolicyYaml, parsePolicy } from "../../services/io/policy-file.ts";
import {
  chat,
  engineProfile,
  figure,
  geography,
  modelReport,
  powerModel,
  priceBook,
  registration,
  report,
  request,
  servedModel,
  shanghai,
} from "./fixtures.ts";

/** What the protocol lets through, whoever sends it: figures finite and at least 0, of outcomes any double. */
const anyAmount = fc.constantFrom(0, 1e-300, 1e-3, 0.5, 1, 7, 1e3, 1e9, 1e18, 1e300);
const anyCount = fc.constantFrom(0, 1, 100, 100_000, 2 ** 32 - 1);
const anyCountAbove0 = fc.constantFrom(1, 2, 100, 2 ** 32 - 1);
const anyTime = fc.oneof(anyAmount, fc.constantFrom(NaN, Infinity, -Infinity, -5, -1e300));
const ids = ["a", "b", "c"] as PoolId[];
const anyPoolId = fc.constantFrom(...ids);

function maybe<Value>(of: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> {
  return fc.option(of, { nil: undefined, freq: 2 });
}

const anyFigure = fc.record({ value: anyAmount, validMs: fc.constantFrom(1, 5_000, 2 ** 32 - 1) });
const aged = (each: { value: number; validMs: number } | undefined, at: number) =>
  each && figure(each.value, { observedAt: at, validMs: each.validMs });

const anyOutcome: fc.Arbitrary<AttemptOutcome> = fc.record({
  result: fc.constantFrom<AttemptResult>("ok", "ok", "ok", "reset", "cancelled", "upstream-5xx"),
  ttftMs: maybe(anyTime),
  itlMsMean: maybe(anyTime),
  headersMs: maybe(anyTime),
  inputTokens: maybe(anyCount),
  cachedTokens: maybe(anyCount),
  outputTokens: maybe(anyCount),
  durationMs: maybe(anyTime),
});

const anyProfile = fc.record({
  stepBaseMs: anyAmount,
  stepMsPerSequence: anyAmount,
  stepMsPerKvToken: anyAmount,
  prefillMsPerToken: anyAmount.filter((each) => each > 0),
  prefillChunkTokens: anyCountAbove0,
  kvTokensTotal: anyCountAbove0,
  sequencesMax: anyCountAbove0,
});

const anyPower = fc.record({
  accelerators: anyCountAbove0,
  idleWatts: anyAmount,
  nominalWatts: anyAmount,
  steepness: anyAmount.filter((each) => each > 0),
  midpointLog2: anyAmount.chain((each) => fc.constantFrom(each, -each)),
  hostWatts: anyAmount,
});

const anyRegistration = fc
  .record({
    id: anyPoolId,
    generation: fc.nat(3),
    engineProfile: fc.oneof(fc.constant(engineProfile), anyProfile, fc.constant(undefined)),
    powerModel: fc.oneof(fc.constant(powerModel), anyPower, fc.constant(undefined)),
    slotsTotal: fc.constantFrom(1, 4, 8, 1_000_000),
    replicas: fc.constantFrom(1, 2, 100_000),
    pue: maybe(anyAmount),
    greenShare: maybe(anyAmount),
  })
  .map(({ id, generation, pue, greenShare, powerModel: power, ...model }): PoolRegistration =>
    registration(id, {
      generation,
      powerModel: power,
      pue: pue === undefined ? undefined : figure(pue),
      greenShare: greenShare === undefined ? undefined : figure(greenShare),
      models: [servedModel(model)],
    }),
  );

const figureNames = [
  "runningRequests",
  "waitingRequests",
  "kvUsedRatio",
  "promptTokensTotal",
  "cachedPromptTokensTotal",
  "outputTokensTotal",
  "ttftMsP50",
  "ttftMsP95",
  "itlMsMean",
  "slotsTotal",
  "kvTokensTotal",
] as const;

const anyReport = fc.record({
  id: anyPoolId,
  generation: fc.nat(3),
  isUsual: fc.boolean(),
  isSilent: fc.boolean(),
  powerWatts: maybe(anyFigure),
  figures: fc.tuple(...figureNames.map(() => maybe(anyFigure))),
});

const anyRequest = fc.record({
  class: fc.constantFrom<PlacementRequest["class"]>("llm-interactive", "batch-offline", "archival"),
  tenant: fc.constantFrom("acme", "other"),
  inputTokens: fc.constantFrom(0, 1, 1_000, 30_000, 100_000_000),
  outputTokensExpected: maybe(anyCount),
  outputTokensMax: maybe(anyCount),
  deadlineMs: maybe(anyCount),
  waitedMs: maybe(fc.constantFrom(0, 3_000, 2 ** 32 - 1)),
  prefixBlocks: maybe(fc.constantFrom([], [1, 2, 3], [2 ** 53 - 1, 0, 5])),
});

const anyStep = fc.oneof(
  { weight: 8, arbitrary: anyRequest.map((asked) => ({ kind: "place", asked }) as const) },
  {
    weight: 6,
    arbitrary: fc
      .tuple(fc.nat(), maybe(anyOutcome))
      .map(([nth, outcome]) => ({ kind: "release", nth, outcome }) as const),
  },
  { weight: 3, arbitrary: anyReport.map((told) => ({ kind: "report", told }) as const) },
  { weight: 2, arbitrary: anyRegistration.map((each) => ({ kind: "register", each }) as const) },
  {
    weight: 1,
    arbitrary: fc
      .tuple(anyPoolId, fc.constantFrom(0, 0.01, 0.5, 1))
      .map(([id, share]) => ({ kind: "share", id, share }) as const),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(anyPoolId, anyFigure)
      .map(([id, each]) => ({ kind: "path", id, each }) as const),
  },
  { weight: 1, arbitrary: fc.nat(1).map((nth) => ({ kind: "policy", nth }) as const) },
  { weight: 1, arbitrary: fc.constant({ kind: "time" } as const) },
);

const parsed = parsePolicy(defaultPolicyYaml(), 1);
const shipped = "policy" in parsed ? parsed.policy : expect.unreachable();

const hour: Budget = {
  id: "hour",
  when: {},
  unit: "cny",
  limit: 1e15,
  windowMs: 3_600_000,
  isHard: true,
  dualNanoMax: 4,
};

const forOther: PolicyOverride = {
  id: "O1" as RowId,
  textEn: "",
  textZh: "",
  basis: "house default",
  sources: [],
  when: { tenants: new Set(["other" as TenantId]) },
  objectives: { slotsUsedRatioMax: 0.5, waitNanoPerMs: 0.7 },
  powerShare: 0.3,
  priceNanoMax: 1e12,
};

const policies: readonly Policy[] = [
  { ...shipped, rows: [], powerShare: 1, carbonAccount: "market-based" },
  {
    ...shipped,
    rows: shipped.rows.filter(({ kind }) => kind === "tariff"),
    powerShare: 1,
    budgets: [hour, { ...hour, id: "carbon", unit: "gco2e", isHard: false, limit: 1e9 }],
    overrides: [forOther],
  },
];

/** A dispatcher to which anybody may say anything, checked after each event. */
class Fair {
  readonly dispatcher = new Dispatcher(
    "control-1" as ReplicaId,
    policies[0] ?? expect.unreachable(),
  );
  readonly #held: Lease[] = [];
  #at = 1_000_000;
  #sequence = 0;

  constructor() {
    this.#happen({ kind: "geography-set", geography: geography() });
    this.#happen({ kind: "prices-published", book: priceBook() });
    for (const id of ids) {
      this.#happen({ kind: "pool-registered", registration: registration(id) });
      this.#happen({ kind: "share-set", pool: id, share: 1 });
      this.#told({ pool: id, models: [this.#usual()] });
    }
  }

  step(each: Step, passedMs: number): void {
    this.#at += passedMs;
    switch (each.kind) {
      case "place":
        return this.#place(each.asked);
      case "release":
        return this.#release(each.nth, each.outcome);
      case "report":
        return this.#report(each.told);
      case "register":
        return this.#happen({ kind: "pool-registered", registration: each.each });
      case "share":
        return this.#happen({ kind: "share-set", pool: each.id, share: each.share });
      case "path": {
        const found = figure(each.each.value, { observedAt: this.#at });
        const roundTripMsByPool = new Map([[each.id, found]]);
        return this.#happen({ kind: "paths-observed", origin: shanghai, roundTripMsByPool });
      }
      case "policy":
        return this.#happen({ kind: "policy-set", policy: policies[each.nth] ?? shipped });
      case "time":
        return this.#happen({ kind: "time-passed" });
    }
  }

  #place({ tenant, prefixBlocks, ...asked }: Of<typeof anyRequest>): void {
    this.#sequence += 1;
    const attempt = `r${this.#sequence}/1` as AttemptId;
    const rest = prefixBlocks === undefined ? {} : { prefixBlocks };
    const full = request({ ...asked, ...rest, tenant: tenant as TenantId, attempt });
    const effects = this.#happened({ kind: "placement-requested", request: full });
    const answer = effects.find(({ kind }) => kind === "answer");
    if (answer?.kind !== "answer") return expect.unreachable();
    const { decision, lease } = answer;
    // The lists are those of the plain way, over the pools as they were.
    const { candidates } = decision;
    for (const each of candidates) soundBill(each);
    if (decision.kind !== "placed") return expect(candidates).toEqual([]);
    expect(decision.costNano).toBe(Math.min(...candidates.map(({ costNano }) => costNano)));
    expect(candidates).toContainEqual(decision.chosen);
    if (lease !== undefined) this.#held.push(lease);
  }

  #release(nth: number, outcome: AttemptOutcome | undefined): void {
    const [lease] = this.#held.splice(nth % Math.max(1, this.#held.length), 1);
    if (lease === undefined) return;
    const { id, fence } = lease;
    this.#happen({ kind: "lease-released", lease: id, fence, outcome });
  }

  #report({ id, generation, isUsual, isSilent, powerWatts, figures }: Of<typeof anyReport>) {
    const said = Object.fromEntries(
      figureNames.map((name, at) => [name, aged(figures[at], this.#at)]),
    );
    const models = isSilent ? [] : [isUsual ? this.#usual() : modelReport(said)];
    this.#told({ pool: id, generation, models, powerWatts: aged(powerWatts, this.#at) });
  }

  #usual(): ModelReport {
    const at = { observedAt: this.#at };
    return modelReport({
      runningRequests: figure(1, at),
      waitingRequests: figure(0, at),
      kvUsedRatio: figure(0.1, at),
    });
  }

  #told({ pool, ...said }: Partial<PoolReport> & { readonly pool: PoolId }): void {
    this.#sequence += 1;
    const { vendor } = registration(pool);
    const full = report(pool, { ...said, sequence: this.#sequence });
    this.#happen({ kind: "pool-reported", vendor, report: full });
  }

  #happen(event: DistributiveOmit<Event, "at">): void {
    this.#happened(event);
  }

  #happened(event: DistributiveOmit<Event, "at">): readonly Effect[] {
    const effects = this.dispatcher.step({ ...event, at: this.#at } as Event);
    for (const { id, served } of this.dispatcher.pools) {
      const leased = this.dispatcher.leases.filter(({ pool }) => pool === id).length;
      expect(served.get(chat)?.slotsLeased).toBe(leased);
      for (const [origin, path] of this.dispatcher.pools.find((each) => each.id === id)
        ?.roundTripMsFrom ?? []) {
        expect(path.value, `the path from ${origin}`).toBeGreaterThanOrEqual(0);
      }
      expect(unsound(served.get(chat)), `${event.kind}: numbers of ${id}`).toEqual([]);
    }
    return effects;
  }
}

type Step = Of<typeof anyStep>;

type Of<Arbitrary> = Arbitrary extends fc.Arbitrary<infer Value> ? Value : never;

type DistributiveOmit<Union, Key extends PropertyKey> = Union extends unknown
  ? Omit<Union, Key>
  : never;

function soundBill({ terms, costNano, tariffs, expected }: Candidate): void {
  const parts = Object.entries(terms);
  for (const [term, nano] of parts) {
    expect(nano, term).toSatisfy(Number.isSafeInteger);
    if (term !== "preference") expect(nano, term).toBeGreaterThanOrEqual(0);
  }
  expect(parts.reduce((sum, [, nano]) => sum + nano, 0)).toBe(costNano);
  expect(tariffs.reduce((sum, each) => sum + each.costNano, 0)).toBe(terms.preference);
  expect(unsound(expected)).toEqual([]);
}

/** Where a NaN is, at any depth. */
function unsound(value: unknown, path = ""): readonly string[] {
  if (typeof value === "number") return Number.isNaN(value) ? [path] : [];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([name, each]) => unsound(each, `${path}.${name}`));
}

test("whatever is said to a dispatcher, bills add up, no number is lost, and the quick way is the plain one", () => {
  const steps = fc.array(fc.tuple(anyStep, fc.constantFrom(0, 1, 50, 900, 6_000)), {
    minLength: 5,
    maxLength: 60,
  });
  fc.assert(
    fc.property(steps, (all) => {
      const fair = new Fair();
      for (const [each, passedMs] of all) fair.step(each, passedMs);
      const image = fair.dispatcher.image();
      expect(Dispatcher.restored(image).image()).toEqual(image);
    }),
    { numRuns: 300 },
  );
});
