/** Values of the core as they may come from the wire, for properties that convert there and back. */

import fc from "fast-check";
import type { Figure } from "../../services/core/figure.ts";
import type { PlaceOutcome, AttemptOutcome } from "../../services/core/lease.ts";
import {
  criticalities,
  serviceClasses,
  type ModelChoice,
  type PlacementRequest,
} from "../../services/core/placement/request.ts";
import type { ModelReport, PoolRegistration, PoolReport } from "../../services/core/pool.ts";
import { tokenClasses } from "../../services/core/settlement/counting/usage.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";

/** When the message is read; figures are at most this old. */
export const now = 2_000_000_000;

export const calendar = { id: "cn", offsetMinutes: 480, kindByDate: new Map(), coversToUs: 0n };

/** The brand of an id is a promise of the compiler: any text will do here. */
const id = <Id>() => fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/).map((text) => text as Id);
const ids = <Id>() => fc.uniqueArray(id<Id>(), { maxLength: 4 }).map((all) => new Set(all));
const count = fc.nat({ max: 2 ** 31 - 1 });
const quantity = fc.double({ min: 0, max: 1e12, noNaN: true });
const maybe = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });

export const figure: fc.Arbitrary<Figure> = fc.record({
  value: quantity,
  source: fc.constantFrom("measured", "declared", "estimated"),
  observedAt: fc.integer({ min: 0, max: now }),
  validMs: fc.integer({ min: 1, max: 1_000_000 }),
});

const profile = fc.record({
  stepBaseMs: quantity,
  stepMsPerSequence: quantity,
  stepMsPerKvToken: quantity,
  prefillMsPerToken: quantity,
  prefillChunkTokens: count,
  kvTokensTotal: count,
  sequencesMax: count,
});

const powerModel = fc.record({
  accelerators: count,
  idleWatts: quantity,
  nominalWatts: quantity,
  steepness: quantity,
  midpointLog2: quantity,
  hostWatts: quantity,
});

export const registration: fc.Arbitrary<PoolRegistration> = fc.record({
  id: id<PoolRegistration["id"]>(),
  vendor: id<PoolRegistration["vendor"]>(),
  region: id<PoolRegistration["region"]>(),
  endpoint: fc.webUrl(),
  engine: fc.constantFrom("vllm", "sglang", "trtllm", "llamacpp", "openai", "anthropic", "other"),
  models: fc.array(
    fc.record({
      model: id<PoolRegistration["models"][number]["model"]>(),
      engineModelName: id<string>(),
      version: fc.string(),
      contextTokensMax: count,
      slotsTotal: count,
      replicas: count,
      engineProfile: maybe(profile),
      capabilities: fc
        .uniqueArray(
          fc.constantFrom(
            "continuous-usage",
            "cache-report",
            "reasoning-count",
            "token-ids",
            "usage-query",
          ),
        )
        .map((all) => new Set(all)),
    }),
    { maxLength: 3 },
  ),
  tags: ids<string>(),
  accelerator: fc.string(),
  pue: maybe(figure),
  greenShare: maybe(figure),
  dataClasses: fc
    .uniqueArray(fc.constantFrom("general", "personal", "important", "core"))
    .map((all) => new Set(all)),
  mlpsLevel: fc.integer({ min: 1, max: 5 }),
  generation: fc.nat(),
  powerModel: maybe(powerModel),
});

const modelReport: fc.Arbitrary<ModelReport> = fc.record({
  model: id<ModelReport["model"]>(),
  runningRequests: maybe(figure),
  waitingRequests: maybe(figure),
  kvUsedRatio: maybe(figure),
  promptTokensTotal: maybe(figure),
  cachedPromptTokensTotal: maybe(figure),
  outputTokensTotal: maybe(figure),
  ttftMsP50: maybe(figure),
  ttftMsP95: maybe(figure),
  itlMsMean: maybe(figure),
  slotsTotal: maybe(figure),
  kvTokensTotal: maybe(figure),
});

export const report: fc.Arbitrary<PoolReport> = fc.record({
  pool: id<PoolReport["pool"]>(),
  generation: fc.nat(),
  sequence: fc.nat(),
  models: fc.array(modelReport, { maxLength: 3 }),
  powerWatts: maybe(figure),
  energyJoulesTotal: maybe(figure),
  pue: maybe(figure),
  greenShare: maybe(figure),
});

/** Without cached tokens: on the wire they are hashes of the prompt. */
const requestWithoutBlocks: fc.Arbitrary<PlacementRequest> = fc.record({
  request: id<PlacementRequest["request"]>(),
  attempt: id<PlacementRequest["attempt"]>(),
  tenant: id<PlacementRequest["tenant"]>(),
  model: id<PlacementRequest["model"]>(),
  class: fc.constantFrom(...serviceClasses),
  criticality: fc.constantFrom(...criticalities),
  origin: id<PlacementRequest["origin"]>(),
  regions: ids(),
  dataClass: fc.constantFrom("general", "personal", "important", "core"),
  mlpsLevelMin: fc.integer({ min: 0, max: 5 }),
  vendorsAllowed: ids(),
  vendorsDenied: ids(),
  excluded: ids(),
  inputTokens: fc.nat({ max: 100_000_000 }),
  cachedTokensAt: fc.constant(new Map()),
  outputTokensExpected: maybe(count),
  outputTokensMax: maybe(count),
  waitedMs: maybe(count),
  deadlineMs: maybe(count),
  priceNanoMax: maybe(fc.maxSafeNat()),
  budgetNanoLeft: maybe(fc.maxSafeInteger()),
});

const choices: fc.Arbitrary<readonly ModelChoice[]> = fc.array(
  fc.record({
    model: id<ModelChoice["model"]>(),
    version: maybe(id<string>()),
    inputNanoPerTokenMax: maybe(quantity),
    outputNanoPerTokenMax: maybe(quantity),
    isAllowed: fc.boolean(),
  }),
  { minLength: 1, maxLength: 3 },
);

/** How it came to its class and model. What is not said is not there. */
const derived: fc.Arbitrary<Pick<PlacementRequest, "classSource" | "alias" | "choices">> =
  fc.record(
    { classSource: fc.constantFrom("header", "deadline 300 ms"), alias: id<string>(), choices },
    { requiredKeys: [] },
  );

export const request: fc.Arbitrary<PlacementRequest> = fc
  .tuple(requestWithoutBlocks, derived, fc.array(fc.maxSafeNat(), { maxLength: 3 }))
  .map(([each, more, prefixBlocks]) => ({
    ...each,
    ...more,
    ...(prefixBlocks.length > 0 && { prefixBlocks }),
  }));

export const outcome: fc.Arbitrary<PlaceOutcome> = fc.oneof(
  fc.record({
    kind: fc.constant("placed" as const),
    placement: fc.record({
      lease: id<never>(),
      fence: fc.maxSafeNat(),
      ttlMs: count,
      pool: id<never>(),
      vendor: id<never>(),
      engineModelName: fc.string(),
      priceBook: id<never>(),
      priceVersion: fc.nat(),
      costNano: fc.maxSafeInteger(),
      ttftMsExpected: quantity,
      policyRow: id<never>(),
      snapshotRevision: fc.maxSafeNat(),
      policyRevision: fc.nat(),
      joulesExpected: quantity,
      gramsCo2Expected: quantity,
      model: maybe(id<never>()),
    }),
  }),
  fc.record({
    kind: fc.constant("unplaceable" as const),
    reason: fc.constantFrom(
      "no-eligible-pool",
      "budget-exhausted",
      "unsatisfiable",
      "model-not-found",
      "context-too-long",
    ),
    poolsByFilter: fc
      .uniqueArray(fc.tuple(id<string>(), fc.integer({ min: 1, max: 200 })), {
        selector: ([key]) => key,
        maxLength: 4,
      })
      .map((pairs) => new Map(pairs)),
    retryAfterMs: count,
    policyRow: maybe(id<never>()),
    detail: maybe(id<string>()),
  }),
);

export const attemptOutcome: fc.Arbitrary<AttemptOutcome> = fc.record({
  result: fc.constantFrom(
    "ok",
    "connect-error",
    "timeout",
    "upstream-4xx",
    "upstream-5xx",
    "reset",
    "cancelled",
  ),
  ttftMs: maybe(quantity),
  itlMsMean: maybe(quantity),
  headersMs: maybe(quantity),
  inputTokens: maybe(count),
  cachedTokens: maybe(count),
  outputTokens: maybe(count),
  durationMs: maybe(quantity),
});

const amount = fc.bigInt({ min: 0n, max: 2n ** 62n });
const bracket = fc.record({ from: amount, to: maybe(fc.bigInt({ min: 1n, max: 2n ** 62n })) });

export const priceBook: fc.Arbitrary<PriceBook> = fc.record({
  id: id<PriceBook["id"]>(),
  vendor: id<PriceBook["vendor"]>(),
  version: fc.bigInt({ min: 1n, max: 2n ** 63n }),
  currency: fc.constant("CNY"),
  effectiveFromUs: amount,
  effectiveToUs: maybe(amount),
  slots: fc.array(
    fc.record({
      slot: id<string>(),
      dayKinds: fc
        .uniqueArray(fc.constantFrom("workday", "weekend", "holiday", "makeup"))
        .map((all) => new Set(all)),
      startMin: fc.nat({ max: 1_439 }),
      endMin: fc.integer({ min: 1, max: 1_440 }),
    }),
    { maxLength: 3 },
  ),
  calendar: fc.constant(calendar),
  lines: fc.array(
    fc.record({
      id: id<string>(),
      model: id<PriceBook["lines"][number]["model"]>(),
      tokenClass: fc.constantFrom(...tokenClasses),
      slot: id<string>(),
      input: bracket,
      output: bracket,
      tiers: fc.array(fc.record({ fromTokens: amount, pricePicoPerToken: amount }), {
        maxLength: 3,
      }),
    }),
    { maxLength: 3 },
  ),
  source: fc.string(),
});
