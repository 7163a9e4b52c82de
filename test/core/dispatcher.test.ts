import { describe, expect, test } from "vitest";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import { tokenClasses } from "../../services/core/settlement/counting/usage.ts";
import type { Effect, Event, ReportResult } from "../../services/core/events.ts";
import { discrepancyRatios } from "../../services/core/health.ts";
import type { AttemptOutcome, Lease } from "../../services/core/lease.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import type { Pool, PoolReport, Served } from "../../services/core/pool.ts";
import type {
  AttemptId,
  ModelId,
  OriginId,
  PoolId,
  RegionId,
  ReplicaId,
  RowId,
  VendorId,
} from "../../services/core/units.ts";
import {
  chat,
  figure,
  geography,
  modelReport,
  northgrid,
  objectives,
  policy,
  priceBook,
  priceLine,
  registration,
  report,
  request,
  servedModel,
  shanghai,
} from "./fixtures.ts";

const a = "a" as PoolId;
const attempt = (id: string) => ({ attempt: id as AttemptId });

/** What happens to one replica, at whatever time the test says. */
class Run {
  now = 0;
  readonly dispatcher = new Dispatcher("control-0" as ReplicaId, policy());

  happen(event: DistributiveOmit<Event, "at">): Effect[] {
    return this.dispatcher.step({ ...event, at: this.now } as Event);
  }

  place(changes: Partial<PlacementRequest> = {}): Effect & { readonly kind: "answer" } {
    const effects = this.happen({ kind: "placement-requested", request: request(changes) });
    const answer = effects.find((effect) => effect.kind === "answer");
    return answer ?? expect.unreachable();
  }

  lease(changes: Partial<PlacementRequest> = {}): Lease {
    return this.place(changes).lease ?? expect.unreachable();
  }

  release({ id, fence }: Lease, outcome?: Partial<AttemptOutcome>): void {
    const full = outcome && { ...ok, ...outcome };
    this.happen({ kind: "lease-released", lease: id, fence, outcome: full });
  }

  report(changes: Partial<PoolReport> = {}, vendor: VendorId = northgrid): ReportResult {
    const [answer] = this.happen({
      kind: "pool-reported",
      vendor,
      report: report("a", changes),
    });
    return answer?.kind === "report-answered" ? answer.result : expect.unreachable();
  }

  pool(id: string = "a"): Pool {
    return this.dispatcher.pools.find((pool) => pool.id === id) ?? expect.unreachable();
  }

  served(id: string = "a"): Served {
    return this.pool(id).served.get(chat) ?? expect.unreachable();
  }
}

type DistributiveOmit<Union, Key extends PropertyKey> = Union extends unknown
  ? Omit<Union, Key>
  : never;

const ok: AttemptOutcome = {
  result: "ok",
  ttftMs: undefined,
  itlMsMean: undefined,
  headersMs: undefined,
  inputTokens: undefined,
  cachedTokens: undefined,
  outputTokens: undefined,
  durationMs: undefined,
};

/** Pools that are registered, priced, reported and ours to grant. */
function ready(...ids: string[]): Run {
  const run = new Run();
  run.happen({ kind: "geography-set", geography: geography() });
  run.happen({ kind: "prices-published", book: priceBook() });
  for (const id of ids) {
    run.happen({ kind: "pool-registered", registration: registration(id) });
    run.happen({ kind: "share-set", pool: id as PoolId, share: 1 });
    run.happen({ kind: "pool-reported", vendor: northgrid, report: report(id) });
  }
  return run;
}

describe("registration", () => {
  test("a pool joins with a share of 0, and with the paths that distance gives", () => {
    const run = new Run();
    run.happen({ kind: "geography-set", geography: geography() });
    run.happen({ kind: "pool-registered", registration: registration("a") });
    expect(run.pool()).toMatchObject({ share: 0, status: "ready", reportedAt: undefined });
    expect(run.pool().roundTripMsFrom.get(shanghai)).toMatchObject({
      value: 36,
      source: "estimated",
    });
  });

  test("a pool of a region that the map lacks waits for a map that has it", () => {
    const run = new Run();
    run.happen({ kind: "pool-registered", registration: registration("a") });
    expect(run.dispatcher.pools).toEqual([]);
    run.happen({ kind: "geography-set", geography: geography() });
    expect(run.dispatcher.pools).toHaveLength(1);
  });

  test("an older generation does not undo a newer one", () => {
    const run = ready("a");
    run.happen({
      kind: "pool-registered",
      registration: registration("a", { generation: 2, accelerator: "new" }),
    });
    run.happen({ kind: "pool-registered", registration: registration("a") });
    expect(run.pool()).toMatchObject({ generation: 2, accelerator: "new" });
  });

  test("leases, status and share outlive a new registration", () => {
    const run = ready("a");
    run.lease();
    run.happen({ kind: "pool-marked", pool: a, status: "cordoned" });
    run.happen({ kind: "pool-registered", registration: registration("a", { generation: 2 }) });
    expect(run.pool()).toMatchObject({ status: "cordoned", share: 1, reportSequence: 0 });
    expect(run.served().slotsLeased).toBe(1);
  });

  test("a model that is served no more is not placed on, and its lease still ends", () => {
    const run = ready("a");
    const lease = run.lease();
    const models = [servedModel({ model: "other" as ModelId })];
    run.happen({ kind: "pool-registered", registration: registration("a", { models }) });
    expect(run.place(attempt("r2/1")).decision).toMatchObject({ reason: "model-not-found" });
    run.release(lease);
    expect(run.dispatcher.leases).toEqual([]);
  });
});

/** What becomes of a second report, after one of generation 1 and sequence 1. */
const reports: [string, Partial<PoolReport>, VendorId, ReportResult][] = [
  ["is the next one", { sequence: 2 }, northgrid, "accepted"],
  ["skips one that was lost", { sequence: 9 }, northgrid, "accepted"],
  ["comes twice", { sequence: 1 }, northgrid, "out-of-order"],
  ["is of a newer run of the agent", { generation: 2, sequence: 1 }, northgrid, "accepted"],
  [
    "is of an older run of the agent",
    { generation: 0, sequence: 9 },
    northgrid,
    "stale-generation",
  ],
  ["is by another vendor", { sequence: 2 }, "other" as VendorId, "rejected-identity"],
  ["is of a pool nobody knows", { pool: "b" as PoolId }, northgrid, "rejected-identity"],
  [
    "names a model that is not registered",
    { sequence: 2, models: [modelReport({ model: "other" as ModelId })] },
    northgrid,
    "rejected-schema",
  ],
  [
    "names a model twice",
    { sequence: 2, models: [modelReport(), modelReport()] },
    northgrid,
    "rejected-schema",
  ],
  [
    "has a negative figure",
    { sequence: 2, models: [modelReport({ runningRequests: figure(-1) })] },
    northgrid,
    "rejected-schema",
  ],
  [
    "has a figure that is no number",
    { sequence: 2, powerWatts: figure(NaN) },
    northgrid,
    "rejected-schema",
  ],
  [
    "has a figure beyond all reason",
    { sequence: 2, powerWatts: figure(1e300) },
    northgrid,
    "rejected-schema",
  ],
  [
    "has more slots than may be registered",
    { sequence: 2, models: [modelReport({ slotsTotal: figure(1_000_001) })] },
    northgrid,
    "rejected-schema",
  ],
  ["has a ratio above 1", { sequence: 2, greenShare: figure(1.1) }, northgrid, "rejected-schema"],
  ["has a PUE below 1", { sequence: 2, pue: figure(0.9) }, northgrid, "rejected-schema"],
];

test.for(reports)("a report that %s", ([, changes, vendor, result]) => {
  const run = ready("a");
  const before = run.pool();
  run.now = 1_000;
  expect(run.report(changes, vendor)).toBe(result);
  const isChanged = run.pool() !== before;
  expect(isChanged).toBe(result === "accepted");
});

describe("reports", () => {
  test("every result has a case above", () => {
    expect(new Set(reports.map(([, , , result]) => result))).toEqual(
      new Set<ReportResult>([
        "accepted",
        "out-of-order",
        "stale-generation",
        "rejected-identity",
        "rejected-schema",
      ]),
    );
  });

  test("rates come from the counters of two reports, that of prompts smoothed, and a restarted engine begins at 0", () => {
    const run = ready("a");
    const counted = (sequence: number, at: number, prompt: number, cached: number) => ({
      sequence,
      models: [
        modelReport({
          promptTokensTotal: figure(prompt, { observedAt: at }),
          cachedPromptTokensTotal: figure(cached, { observedAt: at }),
          outputTokensTotal: figure(prompt / 10, { observedAt: at }),
        }),
      ],
    });
    run.report(counted(2, 0, 10_000, 4_000));
    expect(run.served().promptTokensPerSecond).toBeUndefined();
    run.report(counted(3, 2_000, 16_000, 6_000));
    expect(run.served()).toMatchObject({
      promptTokensPerSecond: 2_000,
      outputTokensPerSecond: 300,
    });
    run.report(counted(4, 4_000, 1_000, 0));
    const { promptTokensPerSecond, outputTokensPerSecond } = run.served();
    expect(outputTokensPerSecond).toBe(50);
    // 500 in these two seconds, of eight that count.
    expect(promptTokensPerSecond).toBeCloseTo(2_000 - 1_500 * (1 - Math.exp(-0.25)), 6);
  });

  test("what came and went since the scrape corrects it, however late the report is", () => {
    const run = ready("a");
    run.now = 1_000;
    const first = run.lease(attempt("r1/1"));
    run.now = 2_000;
    run.lease(attempt("r2/1"));
    run.now = 3_000;
    run.release(first);
    expect(run.served()).toMatchObject({ grantedSinceReport: 2, endedSinceReport: 1 });
    run.now = 4_000;
    const models = [modelReport({ runningRequests: figure(1, { observedAt: 1_500 }) })];
    run.report({ sequence: 2, models });
    expect(run.served()).toMatchObject({ grantedSinceReport: 1, endedSinceReport: 1 });
  });

  test("a pool that stops reporting shrinks, then is lost", () => {
    const run = ready("a");
    const grantable = (now: number) => {
      const { candidates, rejections } = run.dispatcher.plan(request(), now);
      return candidates.length > 0 ? "candidate" : rejections[0]?.reason;
    };
    for (let index = 0; index < 4; index++) run.lease(attempt(`r${index}/1`));
    expect([5_000, 6_000, 7_500, 10_000].map(grantable)).toEqual([
      "candidate",
      "candidate",
      "no-capacity",
      "figures-stale",
    ]);
  });
});

describe("leases", () => {
  test("the same attempt gets the same answer while its lease lives, and a new one after", () => {
    const run = ready("a");
    const first = run.place();
    run.now = 29_999;
    expect(run.place()).toBe(first);
    run.report({
      sequence: 2,
      models: [modelReport({ runningRequests: figure(0, { observedAt: 29_999 }) })],
    });
    run.now = 30_000;
    const effects = run.happen({ kind: "placement-requested", request: request() });
    expect(effects.map(({ kind }) => kind)).toEqual(["revoke", "answer"]);
    expect(run.dispatcher.leases).toHaveLength(1);
    expect(run.dispatcher.leases[0]?.fence).toBeGreaterThan(first.lease?.fence ?? Infinity);
  });

  test("a pool grants its slots and not one more", () => {
    const run = ready("a");
    const kinds = Array.from({ length: 9 }, (_, index) => run.place(attempt(`r${index}/1`)));
    expect(kinds.map(({ decision }) => decision.kind)).toEqual([
      ...Array.from({ length: 8 }, () => "placed"),
      "unplaceable",
    ]);
    expect(kinds[8]?.decision.rejections[0]?.reason).toBe("no-capacity");
  });

  test("a renewed lease lives longer, with the same fence", () => {
    const run = ready("a");
    const { id, fence } = run.lease();
    run.now = 20_000;
    const [renewed] = run.happen({ kind: "lease-renewed", lease: id, fence });
    expect(renewed).toMatchObject({ kind: "renewed", lease: { fence, expiresAt: 50_000 } });
    run.now = 40_000;
    expect(run.happen({ kind: "time-passed" })).toEqual([]);
    run.now = 50_000;
    expect(run.happen({ kind: "time-passed" })).toMatchObject([
      { kind: "revoke", reason: "expired", lease: { id } },
    ]);
  });

  test("an expired lease, one that is not there and an older fence are refused", () => {
    const run = ready("a");
    const { id, fence } = run.lease();
    const refused = [{ kind: "refused", lease: id, reason: "lease-gone" }];
    expect(run.happen({ kind: "lease-renewed", lease: id, fence: fence - 1 })).toEqual(refused);
    run.now = 30_000;
    expect(run.happen({ kind: "lease-renewed", lease: id, fence })).toEqual(refused);
    run.happen({ kind: "time-passed" });
    expect(run.happen({ kind: "lease-renewed", lease: id, fence })).toEqual(refused);
  });

  test("a release with an older fence, or twice, changes nothing", () => {
    const run = ready("a");
    const lease = run.lease();
    run.release({ ...lease, fence: lease.fence - 1 });
    expect(run.served().slotsLeased).toBe(1);
    run.release(lease);
    run.release(lease);
    expect(run.served().slotsLeased).toBe(0);
  });

  test("a cordon takes no new lease and leaves the old; a cut revokes them", () => {
    const run = ready("a");
    const { id, fence } = run.lease();
    run.happen({ kind: "pool-marked", pool: a, status: "draining" });
    expect(run.place(attempt("r2/1")).decision.rejections[0]?.reason).toBe("not-ready");
    expect(run.happen({ kind: "lease-renewed", lease: id, fence })[0]?.kind).toBe("renewed");
    expect(run.happen({ kind: "pool-cut", pool: a })).toMatchObject([
      { kind: "revoke", reason: "cut", lease: { id } },
    ]);
    expect(run.served().slotsLeased).toBe(0);
  });

  test("leases of the same instant have fences of their own", () => {
    const run = ready("a");
    const fences = Array.from({ length: 5 }, (_, index) => run.lease(attempt(`r${index}/1`)).fence);
    expect(fences).toEqual([1, 2, 3, 4, 5]);
  });

  test("fences start from the clock, so that a replica that starts again goes on above", () => {
    const [before, after] = [ready("a"), ready("a")];
    before.now = after.now = 1_000;
    const old = before.lease();
    after.now = 1_001;
    expect(after.lease().fence).toBeGreaterThan(old.fence);
  });
});

describe("prices", () => {
  const dayAndNight = priceBook({
    slots: [
      { slot: "day", dayKinds: allDays(), startMin: 480, endMin: 1_320 },
      { slot: "night", dayKinds: allDays(), startMin: 1_320, endMin: 480 },
    ],
    lines: ["day", "night"].flatMap((slot) =>
      tokenClasses.map((tokenClass) =>
        priceLine(tokenClass, {
          id: `${tokenClass}-${slot}`,
          slot,
          tiers: priceLine(tokenClass).tiers.map((tier) => ({
            ...tier,
            pricePicoPerToken: tier.pricePicoPerToken / (slot === "day" ? 1n : 2n),
          })),
        }),
      ),
    ),
  });

  test("the slot in force changes with the clock, at the placement itself", () => {
    const run = new Run();
    run.happen({ kind: "geography-set", geography: geography() });
    run.happen({ kind: "prices-published", book: dayAndNight });
    // 21:59 in Shanghai.
    run.now = (21 * 60 + 59) * 60_000 - 8 * 3_600_000;
    join(run);
    expect(run.served().price).toMatchObject({ slot: "day", until: 14 * 3_600_000 });
    run.now += 60_000;
    rejoin(run);
    expect(run.place().decision).toMatchObject({
      chosen: { terms: { price: 1_800_000 } },
    });
    expect(run.served().price).toMatchObject({ slot: "night", until: 16 * 3_600_000 });
  });

  test("a plan sees the slot of its time and changes nothing", () => {
    const run = ready("a");
    run.happen({
      kind: "prices-published",
      book: { ...dayAndNight, version: 2n, effectiveFromUs: 1_000_000n },
    });
    const before = run.served().price;
    const [now, later] = [0, 15 * 3_600_000].map(
      (at) => run.dispatcher.plan(request(), at).rejections.length,
    );
    expect([now, later]).toEqual([0, 1]);
    expect(run.served().price).toBe(before);
  });

  test("a new version begins when it says, and ends the one before", () => {
    const run = ready("a");
    const lines = priceBook().lines.map((line) => ({
      ...line,
      tiers: [{ fromTokens: 0n, pricePicoPerToken: 1_000_000n }],
    }));
    run.happen({
      kind: "prices-published",
      book: priceBook({ version: 2n, effectiveFromUs: 3_000_000n, lines }),
    });
    expect(run.served().price).toMatchObject({ version: 1, until: 3_000 });
    run.now = 3_000;
    run.lease();
    expect(run.served().price).toMatchObject({ version: 2, outputPicoPerToken: 1_000_000 });
  });

  test("without a price in force a pool is out, until there is one", () => {
    const run = new Run();
    run.happen({ kind: "geography-set", geography: geography() });
    join(run);
    expect(run.place().decision.rejections[0]?.reason).toBe("price-cap");
    run.happen({ kind: "prices-published", book: priceBook({ effectiveFromUs: 1_000_000n }) });
    expect(run.place().decision.kind).toBe("unplaceable");
    run.now = 1_000;
    expect(run.place().decision.kind).toBe("placed");
  });

  test("ranges of lengths have prices of their own", () => {
    const run = ready("a");
    const long = { from: 1_000n, to: undefined };
    const lines = [
      ...priceBook().lines.filter(({ tokenClass }) => tokenClass !== "response"),
      priceLine("response", { id: "short", input: { from: 0n, to: 999n } }),
      priceLine("response", {
        id: "long",
        input: long,
        tiers: [{ fromTokens: 0n, pricePicoPerToken: 9_000_000n }],
      }),
    ];
    run.happen({ kind: "prices-published", book: priceBook({ version: 2n, lines }) });
    expect(run.served().price?.brackets).toMatchObject([
      { inputTokensFrom: 0, inputTokensTo: 999, outputPicoPerToken: 8_000_000 },
      { inputTokensFrom: 1_000, outputPicoPerToken: 9_000_000 },
    ]);
    expect(run.served().price).toMatchObject({ outputPicoPerToken: 8_000_000 });
  });

  function join(run: Run): void {
    run.happen({ kind: "pool-registered", registration: registration("a") });
    run.happen({ kind: "share-set", pool: a, share: 1 });
    rejoin(run);
  }

  function rejoin(run: Run): void {
    const models = [modelReport({ runningRequests: figure(0, { observedAt: run.now }) })];
    run.report({ models, sequence: run.pool().reportSequence + 1 });
  }
});

test("the time of who holds a lease is worth what the overrides of his request say", () => {
  const run = ready("a");
  const head = {
    id: "O1" as RowId,
    textEn: "",
    textZh: "",
    basis: "house default",
    sources: [],
  } as const;
  const rules = policy(objectives({ waitNanoPerMs: 100 }));
  const dearer = { ...head, when: { models: new Set([chat]) }, objectives: { waitNanoPerMs: 700 } };
  run.happen({ kind: "policy-set", policy: { ...rules, overrides: [dearer] } });
  const lease = run.lease(attempt("r1/1"));
  run.lease(attempt("r2/1"));
  expect(run.served().waitNanoPerMsLeased).toBe(1_400);
  run.happen({ kind: "policy-set", policy: rules });
  run.release(lease);
  expect(run.served().waitNanoPerMsLeased).toBe(700);
});

describe("prompts ahead", () => {
  const aheadMs = (run: Run, now = 0) => {
    const { candidates } = run.dispatcher.plan(request(attempt("next/1")), now);
    return candidates[0]?.expected.promptsAheadMs;
  };

  test("a prompt is waited for until it is filled in, and others behind it queue up", () => {
    const run = ready("a");
    expect(aheadMs(run)).toBe(0);
    run.lease(attempt("r1/1"));
    // 1,000 tokens at 0.05 ms.
    expect(aheadMs(run)).toBeCloseTo(50);
    expect(aheadMs(run, 20)).toBeCloseTo(30);
    expect(aheadMs(run, 60)).toBe(0);
    run.lease(attempt("r2/1"));
    expect(aheadMs(run)).toBeGreaterThan(100);
  });

  test("one that was given up before its first token is computed no more; one that had it changes nothing", () => {
    const run = ready("a");
    const [first, second] = [run.lease(attempt("r1/1")), run.lease(attempt("r2/1"))];
    const before = aheadMs(run) ?? 0;
    run.release(first, { result: "cancelled" });
    expect(aheadMs(run)).toBeCloseTo(before - 50);
    run.lease(attempt("r3/1"));
    const withThird = aheadMs(run);
    run.release(second, { ttftMs: 90 });
    expect(aheadMs(run)).toBe(withThird);
  });

  test("without leases there is none", () => {
    const run = ready("a");
    const lease = run.lease(attempt("r1/1"));
    run.release(lease, { ttftMs: 90 });
    expect(aheadMs(run)).toBe(0);
    expect(run.served().waitNanoPerMsLeased).toBe(0);
  });
});

describe("observation", () => {
  test("times are smoothed, and what the model lacked is learned", () => {
    const run = ready("a");
    const expected =
      run.dispatcher.plan(request(), 0).candidates[0]?.expected ?? expect.unreachable();
    const lease = run.lease();
    run.release(lease, { ttftMs: 300, itlMsMean: 40, outputTokens: 100, durationMs: 4_000 });
    expect(run.served().observed).toMatchObject({
      attempts: 1,
      ttftMs: 300,
      itlMs: 40,
      errorRatio: 0,
      tokensPerSecond: 25,
      failuresInRow: 0,
    });
    const after = run.dispatcher.plan(request(), 0).candidates[0]?.expected;
    expect(after?.ttftMs).toBeGreaterThan(expected.ttftMs);
    expect(after?.tpotMs).toBeGreaterThan(expected.tpotMs);
    expect(after?.tpotMs).toBeLessThan(40);
  });

  test("after many attempts what is expected is what is observed", () => {
    const run = ready("a");
    for (let index = 0; index < 400; index++) {
      run.release(run.lease(attempt(`r${index}/1`)), { ttftMs: 300, itlMsMean: 40 });
    }
    const expected = run.dispatcher.plan(request(), 0).candidates[0]?.expected;
    expect(Math.round(expected?.tpotMs ?? 0)).toBe(40);
    expect(Math.abs((expected?.ttftMs ?? 0) - 300)).toBeLessThan(10);
  });

  test("a failure that took no time leaves the times unknown", () => {
    const run = ready("a");
    run.release(run.lease(), { result: "connect-error" });
    expect(run.served().observed).toMatchObject({
      attempts: 1,
      ttftMs: undefined,
      itlMs: undefined,
      errorRatio: 1,
      failuresInRow: 1,
    });
  });

  test("lengths are learned as far as an answer can be long", () => {
    const run = ready("a");
    run.release(run.lease(), { outputTokens: 4_000_000_000 });
    const { candidates } = run.dispatcher.plan(request({ outputTokensExpected: undefined }), 0);
    expect(candidates[0]?.expected.outputTokens).toBeLessThanOrEqual(32_768);
  });

  test("the time to first token is compared with the declared profile, without the way there", () => {
    const run = ready("a");
    for (const index of [0, 1, 2]) {
      const lease = run.lease(attempt(`r${index}/1`));
      // 1,000 tokens at 0.05 ms, and 36 ms there and back.
      run.release(lease, { ttftMs: 36 + 3 * 50 });
    }
    expect(discrepancyRatios(run.served()).get("ttft")).toBeCloseTo(2);
  });

  test("lengths of answers are learned per tenant, model and class, and lean on what is wider", () => {
    const run = ready("a");
    run.release(run.lease(), { outputTokens: 700 });
    const expectedFor = (changes: Partial<PlacementRequest>) =>
      run.dispatcher.plan(request({ outputTokensExpected: undefined, ...changes }), 0).candidates[0]
        ?.expected.outputTokens;
    expect(expectedFor({})).toBe(700);
    expect(expectedFor({ outputTokensMax: 500 })).toBe(500);
    expect(expectedFor({ class: "batch-offline" })).toBe(700);
    expect(expectedFor({ model: "other" as ModelId })).toBeUndefined();
    expect(expectedFor({ outputTokensExpected: 30 })).toBe(30);
  });

  test("a request's headers bound the round trip from above, and never raise it", () => {
    const run = ready("a");
    const roundTrip = () => run.pool().roundTripMsFrom.get(shanghai);
    run.release(run.lease(attempt("r1/1")), { headersMs: 80 });
    expect(roundTrip()).toMatchObject({ value: 36, source: "estimated" });
    run.release(run.lease(attempt("r2/1")), { headersMs: 31 });
    expect(roundTrip()).toMatchObject({ value: 31, source: "measured" });
    run.now = 3_000;
    run.release(run.lease(attempt("r3/1")), { headersMs: 60 });
    expect(roundTrip()).toMatchObject({ value: 31, observedAt: 0 });
    const lease = run.lease(attempt("r4/1"));
    run.now = 200_000;
    run.release(lease, { headersMs: 60 });
    expect(roundTrip()).toMatchObject({ value: 36, source: "estimated" });
  });

  test("of two measurements that are valid the lower one counts, and then the newer one", () => {
    const run = ready("a");
    const observe = (value: number): number | undefined => {
      const path = figure(value, { observedAt: run.now, validMs: 5_000 });
      const roundTripMsByPool = new Map([[a, path]]);
      run.happen({ kind: "paths-observed", origin: shanghai, roundTripMsByPool });
      return run.pool().roundTripMsFrom.get(shanghai)?.value;
    };
    expect(observe(30)).toBe(30);
    run.now = 4_000;
    expect(observe(900)).toBe(30);
    expect(observe(31)).toBe(30);
    run.now = 6_000;
    expect(observe(31)).toBe(31);
  });

  test("paths are kept from so many origins and no more", () => {
    const run = ready("a");
    const roundTripMsByPool = new Map([[a, figure(9)]]);
    for (let index = 0; index < 1_000; index++) {
      run.happen({
        kind: "paths-observed",
        origin: `origin-${index}` as OriginId,
        roundTripMsByPool,
      });
    }
    expect(run.pool().roundTripMsFrom.size).toBe(256);
    run.happen({ kind: "paths-observed", origin: shanghai, roundTripMsByPool });
    expect(run.pool().roundTripMsFrom.get(shanghai)?.value).toBe(9);
  });

  test("a measured path replaces an estimate, and an older one does not replace it", () => {
    const run = ready("a");
    const observe = (value: number, observedAt: number, origin = shanghai) => {
      const roundTripMsByPool = new Map([[a, figure(value, { observedAt })]]);
      run.happen({ kind: "paths-observed", origin, roundTripMsByPool });
      return run.pool().roundTripMsFrom.get(origin)?.value;
    };
    expect(observe(46, 1_000)).toBe(46);
    expect(observe(50, 500)).toBe(46);
    run.now = 7_000;
    expect(observe(48, 7_000)).toBe(48);
    expect(observe(9, 0, "elsewhere" as OriginId)).toBe(9);
    run.happen({ kind: "pool-registered", registration: registration("a", { generation: 2 }) });
    expect(run.pool().roundTripMsFrom.get(shanghai)?.value).toBe(48);
  });
});

describe("ejection", () => {
  function fail(run: Run, times: number, pool = "a"): void {
    const others = run.dispatcher.pools.map(({ id }) => id).filter((id) => id !== pool);
    for (let index = 0; index < times; index++) {
      const id = `${pool}-${run.now}-${index}/1`;
      const lease = run.lease({ ...attempt(id), excluded: new Set(others) });
      run.release(lease, { result: "upstream-5xx" });
    }
  }

  function keepReporting(run: Run): void {
    for (const { id, reportSequence } of run.dispatcher.pools) {
      const models = [modelReport({ runningRequests: figure(0, { observedAt: run.now }) })];
      const next = report(id, { models, sequence: reportSequence + 1 });
      run.happen({ kind: "pool-reported", vendor: northgrid, report: next });
    }
  }

  test("five failures in a row put a pool out for 30 s, then the next one for twice that", () => {
    const run = ready("a", "b");
    fail(run, 4);
    expect(run.pool().ejectedUntil).toBeUndefined();
    fail(run, 1);
    expect(run.pool().ejectedUntil).toBe(30_000);
    run.now = 30_000;
    keepReporting(run);
    fail(run, 1);
    expect(run.pool().ejectedUntil).toBe(90_000);
  });

  test("never for longer than 300 s", () => {
    const run = ready("a");
    fail(run, 4);
    for (let index = 0; index < 12; index++) {
      keepReporting(run);
      fail(run, 1);
      run.now = run.pool().ejectedUntil ?? expect.unreachable();
    }
    keepReporting(run);
    fail(run, 1);
    expect((run.pool().ejectedUntil ?? 0) - run.now).toBe(300_000);
  });

  test("a success in between begins the count anew; a caller who hangs up says nothing", () => {
    const run = ready("a");
    fail(run, 4);
    run.release(run.lease(attempt("ok/1")), {});
    fail(run, 4);
    run.release(run.lease(attempt("gone/1")), { result: "cancelled" });
    expect(run.pool().ejectedUntil).toBeUndefined();
    expect(run.served().observed?.failuresInRow).toBe(4);
  });

  test("at most a tenth of the pools, but at least one", () => {
    const ids = Array.from({ length: 20 }, (_, index) => `pool-${index}`);
    const run = ready(...ids);
    for (const id of ids) fail(run, 5, id);
    const out = run.dispatcher.pools.filter(({ ejectedUntil }) => ejectedUntil !== undefined);
    expect(out).toHaveLength(2);
  });
});

test("plan() changes nothing, and lists pools that do not serve the model", () => {
  const run = ready("a");
  const models = [servedModel({ model: "other" as ModelId })];
  run.happen({ kind: "pool-registered", registration: registration("b", { models }) });
  const { revision, pools, leases } = run.dispatcher;
  const decision = run.dispatcher.plan(request(), 0);
  expect(decision).toMatchObject({ kind: "placed", pool: "a", poolsElsewhere: 0 });
  expect(decision.rejections).toMatchObject([{ pool: "b", reason: "model-not-served" }]);
  expect(run.dispatcher.revision).toBe(revision);
  expect(run.dispatcher.pools).toEqual(pools);
  expect(run.dispatcher.leases).toEqual(leases);
  expect(run.place().decision).toMatchObject({ pool: "a", poolsElsewhere: 1, rejections: [] });
});

test("a new policy holds from the next placement on", () => {
  const run = ready("a");
  run.happen({ kind: "policy-set", policy: policy({ revision: 2, leaseMs: 5_000 }) });
  expect(run.place().decision.policyRevision).toBe(2);
  expect(run.dispatcher.leases[0]?.expiresAt).toBe(5_000);
  expect(run.dispatcher.policy.revision).toBe(2);
});

test("a request may name regions that nothing is in", () => {
  const run = ready("a");
  const { decision } = run.place({ regions: new Set(["guian" as RegionId]) });
  expect(decision).toMatchObject({ kind: "unplaceable", reason: "unsatisfiable" });
});

function allDays() {
  return new Set(["workday", "weekend", "holiday", "makeup"] as const);
}
