/** A grid in the contract's own messages that never stands still: as many pools and placements as are wanted. */

import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import type { MessageInitShape } from "@bufbuild/protobuf";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import { randomFromSeed } from "../../services/core/random.ts";
import { BudgetUnit } from "../../services/wire/gen/tokengrid/v1/budget_pb.js";
import {
  PlacementService,
  ServiceClass,
  type DecisionRecordSchema,
  type DecisionSummarySchema,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  FigureSource,
  PoolHealth,
  PoolService,
  PoolStatus,
  type FigureSchema,
  type PoolSchema,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";

type Pool = MessageInitShape<typeof PoolSchema>;
type Summary = MessageInitShape<typeof DecisionSummarySchema>;
type Decision = MessageInitShape<typeof DecisionRecordSchema>;

interface Row {
  readonly id: string;
  readonly name_en: string;
  readonly name_zh: string;
  readonly side: string;
  readonly policy_role: string;
  readonly lat: number;
  readonly lon: number;
}

const clusters = rows("deploy/preset/clusters.json");
const cities = rows("deploy/preset/cities.json");
const models = ["sim-chat", "glm-4.6", "deepseek-v3.2", "qwen3-235b"];
const hardware = ["8xH100-80G", "8xH20-96G", "16xAscend-910B", "8xMI308X"];
const vendors = ["tianyi", "huawei", "alibaba", "mobile"];

/** Routes of `count` pools whose figures change with every message, and of `perSecond` placements. */
export function movingGrid(options: { readonly count: number; readonly perSecond: number }) {
  const { count, perSecond } = options;
  const random = randomFromSeed(7);
  let second = 0;
  let attempt = 0;
  return (router: ConnectRouter): void => {
    router.service(PoolService, {
      async *watch({ intervalMs }, { signal }) {
        for (;;) {
          second++;
          const pools = Array.from({ length: count }, (_, index) => pool(index, second, random));
          yield { snapshotRevision: BigInt(second), pools };
          await pause(intervalMs, undefined, { signal });
        }
      },
    });
    router.service(PlacementService, {
      async *watchDecisions(_request, { signal }) {
        for (;;) {
          const share = Math.max(1, Math.round(perSecond / 5));
          yield {
            decisions: Array.from({ length: share }, () => summary(++attempt, count, random)),
          };
          await pause(200, undefined, { signal });
        }
      },
      explain({ which }) {
        if (which.case !== "attemptId") throw new ConnectError("no such attempt", Code.NotFound);
        return { decisions: [decision(which.value, Math.min(count, 14))] };
      },
    });
  };
}

function rows(path: string): readonly Row[] {
  return JSON.parse(readFileSync(path, "utf8")) as Row[];
}

function at<Item>(items: readonly Item[], index: number): Item {
  const item = items[index % items.length];
  if (item === undefined) throw new Error("expected at least one item");
  return item;
}

function poolId(index: number): string {
  return `${at(clusters, index).id}-${Math.floor(index / clusters.length) + 1}`;
}

function figure(value: number, ageMs = 400): MessageInitShape<typeof FigureSchema> {
  return { value, source: FigureSource.MEASURED, ageMs, validMs: 5_000 };
}

function pool(index: number, second: number, random: () => number): Pool {
  const cluster = at(clusters, index);
  const isWest = cluster.policy_role === "supply_hub";
  const slots = 64 + 32 * (index % 5);
  const leased = Math.round(slots * (0.35 + 0.5 * random()));
  const isLost = index % 67 === 13;
  return {
    registration: {
      poolId: poolId(index),
      vendorId: at(vendors, index),
      regionId: cluster.id,
      accelerator: at(hardware, index),
    },
    status: index === 4 ? PoolStatus.DRAINING : PoolStatus.READY,
    health: isLost ? PoolHealth.LOST : PoolHealth.FRESH,
    confidence: isLost ? 0 : 1,
    reportAgeMs: isLost ? 48_000 : Math.round(200 + 900 * random()),
    models:
      at([1, 2, 1, 3], index) === 1
        ? [served(at(models, index), { slots, leased, second, isWest, random })]
        : models
            .slice(0, 2)
            .map((model) => served(model, { slots, leased, second, isWest, random })),
    powerWatts: figure(28_000 + 4_000 * random() + 1_000 * index),
    powerUsageEffectiveness: figure(isWest ? 1.15 : 1.24),
    greenShare: figure(isWest ? 0.82 : 0.34),
    locationGramsPerJoule: (isWest ? 0.61 : 0.55) / 3_600,
    marketGramsPerJoule: (isWest ? 0.12 : 0.37) / 3_600,
    region: {
      regionId: cluster.id,
      nameEn: cluster.name_en,
      nameZh: cluster.name_zh,
      side: cluster.side,
      policyRole: cluster.policy_role.replace("_", "-"),
      latitudeDegrees: cluster.lat,
      longitudeDegrees: cluster.lon,
    },
    roundTripMsByOrigin: Object.fromEntries(
      cities.map(({ id, lat, lon }) => [
        id,
        figure(3 + Math.hypot(lat - cluster.lat, lon - cluster.lon) * 1.6),
      ]),
    ),
  };
}

function served(
  modelId: string,
  options: {
    readonly slots: number;
    readonly leased: number;
    readonly second: number;
    readonly isWest: boolean;
    readonly random: () => number;
  },
) {
  const { slots, leased, second, isWest, random } = options;
  return {
    modelId,
    slotsTotal: slots,
    slotsLeased: leased,
    slotsGrantable: slots - leased,
    report: {
      runningRequests: figure(leased),
      waitingRequests: figure(random() < 0.2 ? Math.round(9 * random()) : 0),
      kvUsedRatio: figure(0.2 + 0.7 * random()),
      outputTokensTotal: figure(1e6 + second * leased * (isWest ? 24 : 16)),
    },
    observed: {
      ttftMs: 180 + 700 * random() ** 3,
      itlMs: 22 + 9 * random(),
      errorRatio: 0.001,
      attempts: 240n,
      tokensPerSecond: leased * 30,
    },
    discrepancyRatioByFigure: { ttft: 0.4 * random() - 0.15, tpot: 0.2 * random() - 0.08 },
    pricePicoPerTokenByClass: {
      uncachedInput: isWest ? 1_600_000n : 2_000_000n,
      response: isWest ? 6_400_000n : 8_000_000n,
    },
    priceSlot: isWest ? "valley" : "peak",
  };
}

function summary(attempt: number, count: number, random: () => number): Summary {
  const index = Math.floor(count * random() ** 1.6);
  const supply = [6, 7, 8, 9];
  const place = random() < 0.72 ? at(supply, index) + 10 * Math.floor(index / 10) : index;
  const id = poolId(place % count);
  const isUnplaceable = random() < 0.01;
  return {
    requestId: `r-${attempt}`,
    attemptId: `r-${attempt}/1`,
    tenantId: "dev",
    modelId: at(models, Math.floor(random() * 4)),
    serviceClass: at([ServiceClass.LLM_INTERACTIVE, ServiceClass.BATCH_OFFLINE], attempt % 5),
    originId: at(cities, Math.floor(cities.length * random() ** 1.7)).id,
    poolId: isUnplaceable ? "" : id,
    regionId: isUnplaceable ? "" : at(clusters, place).id,
    costNano: BigInt(Math.round(2e6 + 5e6 * random())),
    policyRow: attempt % 5 === 1 ? "W3" : "W2",
    ...(isUnplaceable ? {} : { ttftMsExpected: 240, missProbability: 0.4 * random() ** 4 }),
  };
}

function decision(attemptId: string, count: number): Decision {
  const candidates = Array.from({ length: count }, (_, index) => candidate(index));
  return {
    requestId: attemptId.replace(/\/.*/, ""),
    attemptId,
    poolId: poolId(6),
    decidedBy: "control",
    snapshotRevision: 4_711n,
    policyRevision: 3n,
    policyRow: {
      rowId: "W2",
      basis: "house default",
      sources: ["EX22", "XH25"],
      textEn:
        "Supply hub when the measured one-way latency is at most 20 ms and the objective holds.",
      textZh: "实测单向时延不超过 20 毫秒且满足首词元目标时,派往供给枢纽。",
    },
    seed: 2_654_435_769,
    evaluated: count + 5,
    poolsByFilter: { "not-ready": 1, "model-not-served": 3, "latency-circle": 1 },
    rejections: [
      { poolId: poolId(4), reason: "not-ready", detail: "expected ready, found draining" },
      {
        poolId: poolId(9),
        reason: "latency-circle",
        detail: "asked 20 ms, found 31 ms",
        policyRow: "W2",
      },
    ],
    candidates,
    classSource: "service_tier=flex",
    modelAlias: "best",
    passedOverModels: [
      { modelId: "qwen3-max", reason: "no-eligible-pool", poolsByFilter: { "alias-price-cap": 3 } },
      { modelId: "glm-4.6", reason: "not-allowed" },
    ],
    overrides: [
      {
        overrideId: "O-dev",
        basis: "house default",
        settings: ["vendorsDenied yunmeng"],
        textEn: "dev has its contract with others.",
        textZh: "dev 的合同在别家。",
      },
    ],
    budgets: [
      {
        budgetId: "dev-hour",
        tenantId: "dev",
        unit: BudgetUnit.CNY,
        limit: 2_000_000_000n,
        spent: 500_000_000n,
        windowMs: 3_600_000n,
        dualNano: 0.5,
      },
    ],
    runnerUpPoolId: poolId(7),
    marginNano: 383_431n,
  };
}

function candidate(index: number) {
  const nanoByTerm = {
    price: BigInt(3_600_000 + 140_000 * index),
    energy: 0n,
    carbon: BigInt(6_018 + 431 * index),
    latency: BigInt(23_298 + 91_000 * index),
    congestion: BigInt(52_000 * index),
    preference: BigInt(Math.min(0, -500_000 + 100_000 * index)),
  };
  return {
    poolId: poolId(6 + index),
    regionId: at(clusters, 6 + index).id,
    vendorId: at(vendors, 6 + index),
    costNano: Object.values(nanoByTerm).reduce((sum, nano) => sum + nano, 0n),
    nanoByTerm,
    expected: {
      uncachedTokens: 812,
      cachedTokens: 256,
      outputTokens: 340,
      roundTripMs: 31,
      waitMs: 12,
      prefillMs: 96,
      ttftMs: 170,
      tpotMs: 26,
      finishMs: 9_010,
      joules: 512.4,
      gramsCo2: 0.0868,
      missProbability: 0.014,
    },
    inputs: [
      {
        figure: "running_requests",
        value: 61,
        source: FigureSource.MEASURED,
        ageMs: 420,
        confidence: 1,
      },
      {
        figure: "kv_used_ratio",
        value: 0.62,
        source: FigureSource.MEASURED,
        ageMs: 420,
        confidence: 1,
      },
      {
        figure: "ttft_ms",
        value: 164,
        source: FigureSource.ESTIMATED,
        ageMs: 2_100,
        confidence: 0.93,
      },
      {
        figure: "green_share",
        value: 0.82,
        source: FigureSource.DECLARED,
        ageMs: 61_000,
        confidence: 1,
      },
    ],
  };
}
