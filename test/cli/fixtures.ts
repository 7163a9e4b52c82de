import { create, type DescMessage, type Message, type MessageInitShape } from "@bufbuild/protobuf";
import {
  type DecisionRecord,
  DecisionRecordSchema,
  ServiceClass,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  EngineKind,
  FigureSource,
  type Pool,
  PoolHealth,
  PoolSchema,
  PoolStatus,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import {
  type Statement,
  StatementSchema,
} from "../../services/wire/gen/tokengrid/v1/settlement_pb.js";
import {
  AttemptEnd,
  RecordStatus,
  type SettledUsage,
  SettledUsageSchema,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";

/** Fields of a message as they are given to `create`. */
type Changes<Desc extends DescMessage> = Exclude<MessageInitShape<Desc>, Message>;

function figure(value: number, source = FigureSource.MEASURED) {
  return { value, source, ageMs: 850, validMs: 3_000 };
}

/** A western pool of one model, with everything known. */
export function pool(changes: Changes<typeof PoolSchema> = {}): Pool {
  return create(PoolSchema, {
    registration: {
      poolId: "west-ningxia-1",
      vendorId: "northgrid",
      regionId: "zhongwei",
      endpoint: "http://127.0.0.1:9001/west-ningxia-1",
      engine: EngineKind.VLLM,
      accelerator: "8xH20-96G",
      mlpsLevel: 3,
      tags: ["green"],
      generation: 7n,
    },
    status: PoolStatus.READY,
    health: PoolHealth.FRESH,
    confidence: 1,
    reportAgeMs: 850,
    reportSequence: 41n,
    models: [
      {
        modelId: "deepseek-v3",
        slotsTotal: 256,
        slotsGrantable: 190,
        slotsLeased: 66,
        report: {
          modelId: "deepseek-v3",
          runningRequests: figure(64),
          waitingRequests: figure(0),
          kvUsedRatio: figure(0.412),
          ttftMsP50: figure(182.4),
          ttftMsP95: figure(1_480),
          itlMsMean: figure(21.7),
          promptTokensTotal: figure(1_234_567),
          outputTokensTotal: figure(345_678),
        },
        observed: {
          ttftMs: 201,
          itlMs: 22,
          errorRatio: 0.002,
          attempts: 812n,
          tokensPerSecond: 44,
          predictionErrorByFigure: {
            ttft: { attempts: 812n, relative: 0.26, bias: -0.02 },
            tpot: { attempts: 800n, relative: 0.08, bias: -0.04 },
          },
          trust: 0.97,
          trustByPart: { ttft: 1, tpot: 0.97, errors: 1, delivery: 1 },
          slotsProven: 61,
          cacheBelief: 0.9,
          engineFit: {
            observations: 812n,
            coefficients: {
              stepBaseMs: { value: 18.4, deviation: 0.6 },
              prefillMsPerToken: { value: 0.067, deviation: 0.002 },
            },
            errorOfFit: 0.12,
            errorOfPlain: 0.31,
          },
        },
        discrepancyRatioByFigure: { ttft: 0.102 },
        shadowNanoPerSlotMs: 0.125,
        pricePicoPerTokenByClass: { uncachedInput: 2_000_000n, response: 8_000_000n },
        priceBookId: "northgrid",
        priceVersion: 1n,
        priceSlot: "valley",
      },
    ],
    powerWatts: figure(5_240),
    powerUsageEffectiveness: figure(1.15, FigureSource.DECLARED),
    greenShare: figure(0.8, FigureSource.DECLARED),
    locationGramsPerJoule: 0.000171,
    marketGramsPerJoule: 0.00005,
    region: {
      regionId: "zhongwei",
      nameEn: "Zhongwei",
      nameZh: "中卫数据中心集群",
      hub: "ningxia",
      side: "west",
      policyRole: "supply-hub",
    },
    roundTripMsByOrigin: { shanghai: figure(38.2), beijing: figure(24.6) },
    ...changes,
  });
}

/** Placed: two candidates and one that was out. */
export function decision(changes: Changes<typeof DecisionRecordSchema> = {}): DecisionRecord {
  const expected = {
    uncachedTokens: 372,
    cachedTokens: 128,
    outputTokens: 300,
    roundTripMs: 38.2,
    waitMs: 0,
    prefillMs: 143.8,
    ttftMs: 182,
    tpotMs: 21.7,
    finishMs: 6_692,
    joules: 1_240,
    joulesAdded: 310,
    delayOthersMs: 24,
    gramsCo2: 0.212,
    missProbability: 0.001,
  };
  const inputs = [
    {
      figure: "running_requests",
      value: 64,
      source: FigureSource.MEASURED,
      ageMs: 850,
      confidence: 1,
    },
    {
      figure: "round_trip_ms",
      value: 38.2,
      source: FigureSource.ESTIMATED,
      ageMs: 0,
      confidence: 0.5,
    },
  ];
  const book = { priceBookId: "northgrid", priceVersion: 1n, priceSlot: "valley" };
  return create(DecisionRecordSchema, {
    requestId: "r-1",
    attemptId: "a-1",
    tenantId: "dev",
    modelId: "deepseek-v3",
    serviceClass: ServiceClass.LLM_INTERACTIVE,
    originId: "shanghai",
    inputTokens: 500,
    outputTokensExpected: 300,
    poolId: "west-ningxia-1",
    decidedBy: "control",
    snapshotRevision: 812n,
    policyRevision: 1n,
    seed: 4_242,
    evaluated: 3,
    poolsByFilter: { "latency-circle": 1 },
    policyRow: {
      rowId: "W2",
      basis: "house default",
      sources: ["ndrc-2021"],
      textEn: "Interactive language models may run in any hub",
      textZh: "大模型交互可调度至任一枢纽",
    },
    appliedRows: [
      { rowId: "W2", basis: "house default" },
      { rowId: "W2-circle", basis: "house default" },
      { rowId: "G1", basis: "policy text" },
    ],
    overrides: [
      {
        overrideId: "O-dev",
        basis: "house default",
        settings: ["carbonNanoPerGram 100000", "rowsOff W4"],
        textEn:
          "The development tenant pays more for carbon, and may use demand hubs for what is cold",
        textZh: "开发租户按更高碳价计算",
      },
    ],
    candidates: [
      {
        poolId: "west-ningxia-1",
        regionId: "zhongwei",
        vendorId: "northgrid",
        costNano: 3_728_798n,
        nanoByTerm: {
          price: 3_700_000n,
          energy: 0n,
          carbon: 6_000n,
          latency: 23_298n,
          congestion: 0n,
          preference: -500n,
        },
        expected,
        inputs,
        tariffs: [{ rowId: "P1", costNano: -500n, basis: "policy text" }],
        warningRows: ["G2-supply", "N1"],
        exemptionRows: ["W1x"],
        ...book,
      },
      {
        poolId: "east-wuhu-1",
        regionId: "wuhu",
        vendorId: "eastcloud",
        costNano: 3_730_798n,
        nanoByTerm: { price: 3_600_000n, carbon: 6_000n, latency: 23_298n, congestion: 101_500n },
        expected,
        inputs,
        ...book,
      },
    ],
    rejections: [
      {
        poolId: "west-gansu-1",
        reason: "latency-circle",
        detail: "expected at most 20 ms one way from shanghai, found 24",
        policyRow: "W1",
        basis: "policy text",
      },
    ],
    runnerUpPoolId: "east-wuhu-1",
    marginNano: 2_000n,
    ageMs: 2_100,
    ...changes,
  });
}

/** Of one day, two lines, rounded up by some nano. */
export function statement(changes: Changes<typeof StatementSchema> = {}): Statement {
  const line = {
    poolId: "west-ningxia-1",
    modelId: "deepseek-v3",
    slot: "valley",
    priceBookId: "northgrid",
    priceVersion: 1n,
    attempts: 3n,
  };
  return create(StatementSchema, {
    statementId: "vendor:northgrid:daily:2026-11-21:0",
    vendorId: "northgrid",
    pairId: "vendor:northgrid",
    periodName: "2026-11-21",
    isPayable: true,
    kind: "daily",
    period: {
      fromUs: 1_795_190_400_000_000n,
      toUs: 1_795_276_800_000_000n,
      timeZone: "Asia/Shanghai",
    },
    currency: "CNY",
    lines: [
      {
        ...line,
        lineId: "deepseek-v3/uncachedInput/valley/1",
        tokenClass: "uncached_input",
        tokens: 8_400_000n,
        amountPico: "16800000000000",
        amountNano: 16_800_000_000n,
      },
      {
        ...line,
        lineId: "deepseek-v3/response/valley/1",
        tokenClass: "response",
        tokens: 901n,
        amountPico: "7208000500",
        amountNano: 7_208_000n,
      },
    ],
    totals: {
      attempts: 3n,
      tokensByClass: { uncached_input: 8_400_000n, response: 901n },
      netNano: 16_807_208_000n,
      minorUnits: 1_681n,
      roundingNano: 2_792_000n,
    },
    digest: "ab".repeat(32),
    ...changes,
  });
}

/** One attempt, posted. */
export function usage(changes: Changes<typeof SettledUsageSchema> = {}): SettledUsage {
  return create(SettledUsageSchema, {
    record: {
      recordId: "a-1:0",
      attemptId: "a-1",
      requestId: "r-1",
      tenantId: "dev",
      vendorId: "northgrid",
      poolId: "west-ningxia-1",
      modelId: "deepseek-v3",
      originId: "shanghai",
      outcome: AttemptEnd.COMPLETE,
      closedUs: 1_795_230_000_000_000n,
      priceBookId: "northgrid",
      priceVersion: 1n,
    },
    status: RecordStatus.POSTED,
    tokensByClass: { uncached_input: 372n, cache_read: 128n, response: 300n },
    countBasis: "engine final",
    amountNano: 3_700_000n,
    priceSlot: "valley",
    ...changes,
  });
}

/** In quarantine: nobody has said yet what its counts are. */
export function waiting(): SettledUsage {
  return usage({
    status: RecordStatus.QUARANTINED,
    reason: "price-book-unknown: price book northgrid@1 is not known",
    tokensByClass: {},
    countBasis: "",
    amountNano: 0n,
    priceSlot: "",
  });
}
