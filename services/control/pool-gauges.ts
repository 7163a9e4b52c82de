import { Counter, Gauge, type Registry } from "prom-client";
import type { Dispatcher } from "../core/dispatcher.ts";
import { JOULES_PER_KWH } from "../core/energy.ts";
import {
  believed,
  comparedFigures,
  discrepancyRatios,
  healthOf,
  slotsTotalOf,
} from "../core/health.ts";
import { loadOf } from "../core/placement/load.ts";
import type { Pool, PriceEstimate, Served } from "../core/pool.ts";
import type { Geography } from "../core/region.ts";
import { noErrors, type PredictionError } from "../core/prediction-error.ts";
import { entries, keys } from "../core/table.ts";
import { cacheBelief, slotsCounted, trustOf } from "../core/trust.ts";
import type { Instant, PoolId } from "../core/units.ts";

const picoPerCny = 1_000_000_000_000;

type Sample = readonly [Readonly<Record<string, string>>, number];

/** One gauge per pool, and its samples. Unknown figures give none. */
interface PoolGauge {
  readonly help: string;
  readonly labels: readonly string[];
  readonly samples: (pool: Pool, now: Instant) => readonly Sample[];
}

const states = ["eligible", "cordoned", "draining", "ejected", "stale", "lost"] as const;

const gauges: Readonly<Record<string, PoolGauge>> = {
  pool_info: {
    help: "1, with what a pool is",
    labels: ["region", "region_class", "policy_role", "vendor", "accelerator"],
    samples: ({ region, vendor, accelerator }) => [
      [
        {
          region: region.id,
          region_class: region.side,
          policy_role: region.policyRole === "demand-hub" ? "demand" : "supply",
          vendor,
          accelerator,
        },
        1,
      ],
    ],
  },
  pool_state: {
    help: "1 for the state that a pool is in; eligible is ready, fresh and not ejected",
    labels: ["state"],
    samples: (pool, now) => {
      const current = stateOf(pool, now);
      return states.map((state): Sample => [{ state }, state === current ? 1 : 0]);
    },
  },
  pool_capacity_tokens_per_second: {
    help: "Output tokens per second: declared at full batch, and effective, shrunk by the age of the figures",
    labels: ["kind"],
    samples: (pool, now) => {
      const declared = sum(pool, tokensPerSecond);
      return [
        [{ kind: "declared" }, declared],
        [{ kind: "effective" }, declared * pool.share * believed(pool, now)],
      ];
    },
  },
  pool_concurrency_limit: {
    help: "Concurrent requests within the objectives of a pool",
    labels: [],
    samples: (pool) => [[{}, sum(pool, slotsTotalOf)]],
  },
  pool_requests_in_flight: {
    help: "Requests in the engines of a pool, corrected since the last report",
    labels: [],
    samples: (pool, now) => [[{}, sum(pool, (served) => loadOf(pool, served, now).inFlight)]],
  },
  pool_queue_depth: {
    help: "Requests that wait in the engines of a pool",
    labels: [],
    samples: (pool) => [[{}, sum(pool, ({ report }) => report?.waitingRequests?.value ?? 0)]],
  },
  leases_in_flight: {
    help: "Leases granted by this replica that are alive",
    labels: [],
    samples: (pool) => [[{}, sum(pool, ({ slotsLeased }) => slotsLeased)]],
  },
  pool_kv_cache_usage_ratio: {
    help: "Used part of the KV cache, of the fullest model",
    labels: [],
    samples: (pool) => most(pool, ({ report }) => report?.kvUsedRatio?.value),
  },
  pool_network_rtt_seconds: {
    help: "Round trip to the nearest origin that is known",
    labels: [],
    samples: ({ roundTripMsFrom }) => {
      const times = [...roundTripMsFrom.values()].map(({ value }) => value / 1_000);
      return times.length === 0 ? [] : [[{}, Math.min(...times)]];
    },
  },
  pool_power_usage_effectiveness_ratio: {
    help: "Site energy / IT energy, as told",
    labels: [],
    samples: ({ pue }) => (pue === undefined ? [] : [[{}, pue.value]]),
  },
  pool_price_cny_per_token: {
    help: "Price in force, of the dearest model",
    labels: ["token_class"],
    samples: (pool) =>
      entries(priceOf).flatMap(([token_class, pico]) =>
        most(pool, ({ price }) => (price === undefined ? undefined : pico(price) / picoPerCny)).map(
          ([, value]): Sample => [{ token_class }, value],
        ),
      ),
  },
  pool_declared_discrepancy_ratio: {
    help: "(measured - declared) / declared, of the model where it is highest: times by the declared profile",
    labels: ["figure"],
    samples: (pool) =>
      comparedFigures.flatMap((figure) =>
        most(pool, (served) => discrepancyRatios(served).get(figure)).map(([, value]): Sample => [
          { figure },
          value,
        ]),
      ),
  },
  pool_prediction_error_ratio: {
    help: "Mean of |foretold - observed| / observed, of late, of the model that is worst",
    labels: ["figure"],
    samples: (pool) => predictionSamples(pool, ({ relative }) => relative),
  },
  pool_prediction_bias_ratio: {
    help: "Mean of (foretold - observed) / observed, of late, of the model where it is highest",
    labels: ["figure"],
    samples: (pool) => predictionSamples(pool, ({ bias }) => bias),
  },
  pool_trust_ratio: {
    help: "How far a pool does what it declares, of the model that is trusted least",
    labels: [],
    samples: (pool) => [
      [{}, Math.min(1, ...[...pool.served.values()].map((served) => trustOf(served).trust))],
    ],
  },
  pool_slots_counted: {
    help: "Slots that count when a pool is weighed: at most twice as many as it has shown",
    labels: [],
    samples: (pool) => [[{}, sum(pool, (served) => slotsCounted(served, pool.share))]],
  },
  pool_prefix_cache_belief_ratio: {
    help: "Part of what the prefix index foretells that a pool has cached",
    labels: [],
    samples: (pool) =>
      most(pool, ({ observed }) =>
        observed === undefined || observed.delivery.cachedTokensForetold === 0
          ? undefined
          : cacheBelief(observed),
      ),
  },
  pool_last_report_timestamp_seconds: {
    help: "When the last report of a pool was received",
    labels: [],
    samples: ({ reportedAt }) => (reportedAt === undefined ? [] : [[{}, reportedAt / 1_000]]),
  },
};

type PriceClass = "uncached_input" | "cache_read" | "cache_write" | "response" | "reasoning";

const priceOf: Readonly<Record<PriceClass, (price: PriceEstimate) => number>> = {
  uncached_input: (price) => price.uncachedInputPicoPerToken,
  cache_read: (price) => price.cacheReadPicoPerToken,
  cache_write: (price) => price.cacheWritePicoPerToken,
  response: (price) => price.outputPicoPerToken,
  reasoning: (price) => price.outputPicoPerToken,
};

/** The pools as they are when somebody scrapes. */
export function openPoolGauges(options: {
  readonly registry: Registry;
  readonly dispatcher: Dispatcher;
  readonly geography: Geography;
  readonly now: () => Instant;
}): void {
  const { registry, dispatcher, geography, now } = options;
  for (const [name, { help, labels, samples }] of entries(gauges)) {
    const gauge = new Gauge({
      name: `tokengrid_${name}`,
      help,
      labelNames: ["pool", ...labels],
      registers: [],
      collect() {
        this.reset();
        for (const pool of dispatcher.pools) {
          for (const [values, value] of samples(pool, now())) {
            this.set({ pool: pool.id, ...values }, value);
          }
        }
      },
    });
    registry.registerMetric(gauge);
  }
  registry.registerMetric(ejectionCounter(dispatcher));
  registry.registerMetric(energyCounter(dispatcher));
  registry.registerMetric(carbonGauge(geography));
  registry.registerMetric(snapshotGauge(dispatcher));
  registry.registerMetric(appliedGauge(dispatcher));
}

/** A pool keeps the instant that its last ejection lasts until, so each is seen once, however seldom we are asked. */
function ejectionCounter(dispatcher: Dispatcher): Counter<"reason"> {
  const countedUntil = new Map<PoolId, Instant>();
  const counter = new Counter({
    name: "tokengrid_pool_ejections_total",
    help: "Pools taken out because they failed",
    labelNames: ["reason"] as const,
    registers: [],
    collect() {
      for (const { id, ejectedUntil } of dispatcher.pools) {
        if (ejectedUntil === undefined || countedUntil.get(id) === ejectedUntil) continue;
        countedUntil.set(id, ejectedUntil);
        this.inc({ reason: "consecutive_errors" });
      }
    },
  });
  for (const reason of ["consecutive_errors", "failure_rate", "latency", "operator"]) {
    counter.inc({ reason }, 0);
  }
  return counter;
}

function energyCounter(dispatcher: Dispatcher): Counter<"pool"> {
  return new Counter({
    name: "tokengrid_pool_energy_joules_total",
    help: "IT energy of a pool since its meter began",
    labelNames: ["pool"] as const,
    registers: [],
    collect() {
      this.reset();
      for (const { id, energyJoulesTotal } of dispatcher.pools) {
        if (energyJoulesTotal !== undefined) this.inc({ pool: id }, energyJoulesTotal.value);
      }
    },
  });
}

function carbonGauge(geography: Geography): Gauge<"region"> {
  return new Gauge({
    name: "tokengrid_region_carbon_grams_per_joule",
    help: "Grid carbon of a region, location-based",
    labelNames: ["region"] as const,
    registers: [],
    collect() {
      for (const { id, gridGramsPerKwh } of geography.regions.values()) {
        this.set({ region: id }, gridGramsPerKwh / JOULES_PER_KWH);
      }
    },
  });
}

function snapshotGauge(dispatcher: Dispatcher): Gauge {
  return new Gauge({
    name: "tokengrid_snapshot_version",
    help: "Revision of the state that decisions are made on",
    registers: [],
    collect() {
      this.set(dispatcher.revision);
    },
  });
}

function appliedGauge(dispatcher: Dispatcher): Gauge {
  return new Gauge({
    name: "tokengrid_snapshot_last_applied_timestamp_seconds",
    help: "When the newest report was taken into the state; 0 before the first",
    registers: [],
    collect() {
      this.set(Math.max(0, ...dispatcher.pools.map(({ reportedAt }) => reportedAt ?? 0)) / 1_000);
    },
  });
}

/** What operators want comes first, then what we believe. */
function stateOf(pool: Pool, now: Instant): (typeof states)[number] {
  if (pool.status !== "ready") return pool.status;
  const health = healthOf(pool, now);
  return health === "fresh" ? "eligible" : health;
}

/** At full batch by the declared coefficients; 0 where none are. */
function tokensPerSecond({ engineProfile, replicas }: Served): number {
  if (engineProfile === undefined) return 0;
  const { stepBaseMs, stepMsPerSequence, sequencesMax } = engineProfile;
  return (replicas * sequencesMax * 1_000) / (stepBaseMs + stepMsPerSequence * sequencesMax);
}

function sum(pool: Pool, value: (served: Served) => number): number {
  return [...pool.served.values()].reduce((total, served) => total + value(served), 0);
}

function predictionSamples(
  pool: Pool,
  value: (error: PredictionError) => number,
): readonly Sample[] {
  return keys(noErrors).flatMap((figure) =>
    most(pool, ({ observed }) => {
      const error = observed?.errors[figure];
      return error && value(error);
    }).map(([, found]): Sample => [{ figure }, found]),
  );
}

function most(pool: Pool, value: (served: Served) => number | undefined): readonly Sample[] {
  const values = [...pool.served.values()].map(value).filter((each) => each !== undefined);
  return values.length === 0 ? [] : [[{}, Math.max(...values)]];
}
