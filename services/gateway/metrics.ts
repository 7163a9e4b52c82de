import type { Criticality } from "../core/placement/request.ts";
import type { Side } from "../core/region.ts";
import { criticalities } from "../core/placement/request.ts";
import { defaultContract } from "../core/settlement/terms/contract.ts";
import type { TokenClass, UsageRecord } from "../core/settlement/counting/usage.ts";
import { entries } from "../core/table.ts";
import { Counter, Gauge, Histogram, type Registry } from "../io/metrics.ts";
import { outcomes, type MetricOutcome } from "../wire/errors.ts";

export type Api = "chat_completions" | "models";
export type RequestOutcome = "ok" | MetricOutcome | "shed_sheddable";
export type StreamEnd = (typeof streamEnds)[number];
export type RejectedFor = (typeof rejectedReasons)[number];
export type Phase = (typeof phases)[number];
export type RetryReason = (typeof retryReasons)[number];
export type RetryResult = (typeof retryResults)[number];
export type Completeness = (typeof completenesses)[number];

const apis = ["chat_completions", "models"] as const;
const streamEnds = [
  "complete",
  "client_disconnect",
  "upstream_eof",
  "upstream_error",
  "deadline",
  "slow_reader",
  "drain",
  "quota",
  "shed",
] as const;
const rejectedReasons = [
  "auth",
  "key_revoked",
  "body_size",
  "header_size",
  "json_depth",
  "rpm",
  "tpm",
  "concurrency",
  "quota",
  "shed_loop_lag",
  "shed_memory",
  "draining",
] as const;
const phases = ["auth", "parse", "place", "connect", "first_byte_forward"] as const;
const retryReasons = ["connect", "unavailable", "pre_first_byte"] as const;
const retryResults = ["won", "lost", "suppressed_budget"] as const;
const recountResults = ["counted", "too-long", "queue-full", "late", "failed"] as const;
const completenesses = ["final", "continuous", "estimated", "none"] as const;
const sides: readonly Side[] = ["east", "west"];

const labelByClass: Readonly<Record<TokenClass, string>> = {
  uncachedInput: "uncached_input",
  cacheRead: "cache_read",
  cacheWrite: "cache_write",
  response: "response",
  reasoning: "reasoning",
};

const durationBuckets = Array.from({ length: 14 }, (_, power) => 0.01 * 2 ** power);
const ttftBuckets = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10,
];
const tpotBuckets = [0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5];
const overheadBuckets = [
  0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.25,
];
const fsyncBuckets = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 0.5, 1];

export type GatewayMetrics = ReturnType<typeof openGatewayMetrics>;

/** What is asked when Prometheus scrapes. */
export interface GatewayState {
  unacknowledged(): { readonly records: number; readonly bytes: number; readonly oldestUs: bigint };
  retryTokens(): number;
  drainedStreams(): number;
}

/** The metrics of reference/operations.md 2.2. Known series are there from the start, at 0. */
export function openGatewayMetrics(registry: Registry, state: GatewayState) {
  const registers = [registry];
  openSpoolGauges(registry, state);
  const metrics = {
    ...openRequestMetrics(registers),
    ...openTimeMetrics(registers),
    ...openMeteringMetrics(registers),
    ...openRetryMetrics(registers),
  };
  startAtZero(metrics);
  return metrics;
}

function openRequestMetrics(registers: Registry[]) {
  return {
    requests: new Counter({
      name: "tokengrid_gateway_requests_total",
      help: "Requests by their end",
      labelNames: ["api", "code", "outcome"] as const,
      registers,
    }),
    inFlight: new Gauge({
      name: "tokengrid_gateway_requests_in_flight",
      help: "Requests that are being served",
      labelNames: ["api", "stream"] as const,
      registers,
    }),
    streamEnds: new Counter({
      name: "tokengrid_gateway_stream_ends_total",
      help: "Streams by why they ended",
      labelNames: ["reason"] as const,
      registers,
    }),
    rejected: new Counter({
      name: "tokengrid_gateway_rejected_total",
      help: "Requests refused before they were placed",
      labelNames: ["reason"] as const,
      registers,
    }),
    clientRetries: new Counter({
      name: "tokengrid_gateway_client_retries_total",
      help: "Requests that a client's SDK had sent before",
      registers,
    }),
  };
}

function openTimeMetrics(registers: Registry[]) {
  return {
    duration: new Histogram({
      name: "tokengrid_gateway_request_duration_seconds",
      help: "From the request's head to the end of the answer",
      labelNames: ["api", "outcome"] as const,
      buckets: durationBuckets,
      registers,
    }),
    ttft: new Histogram({
      name: "tokengrid_gateway_time_to_first_token_seconds",
      help: "From the request's head to the first token for the client",
      labelNames: ["api", "region_class", "criticality"] as const,
      buckets: ttftBuckets,
      registers,
    }),
    tpot: new Histogram({
      name: "tokengrid_gateway_time_per_output_token_seconds",
      help: "Mean gap between output tokens of one answer",
      labelNames: ["region_class"] as const,
      buckets: tpotBuckets,
      registers,
    }),
    overhead: new Histogram({
      name: "tokengrid_gateway_overhead_seconds",
      help: "Time that the gateway adds, by phase",
      labelNames: ["phase"] as const,
      buckets: overheadBuckets,
      registers,
    }),
  };
}

function openMeteringMetrics(registers: Registry[]) {
  return {
    tokens: new Counter({
      name: "tokengrid_gateway_tokens_total",
      help: "Tokens that pools made, as their engines counted them",
      labelNames: ["pool", "token_class"] as const,
      registers,
    }),
    metered: new Counter({
      name: "tokengrid_metered_requests_total",
      help: "Attempts by the best count there is of them",
      labelNames: ["completeness"] as const,
      registers,
    }),
    recounts: new Counter({
      name: "tokengrid_metering_recounts_total",
      help: "Answers that were to be counted again by the gateway, by what became of it",
      labelNames: ["result"] as const,
      registers,
    }),
    fsync: new Histogram({
      name: "tokengrid_metering_spool_fsync_duration_seconds",
      help: "One fsync of the usage spool",
      buckets: fsyncBuckets,
      registers,
    }),
  };
}

function openRetryMetrics(registers: Registry[]) {
  return {
    retries: new Counter({
      name: "tokengrid_placement_retries_total",
      help: "Further attempts at another pool",
      labelNames: ["reason", "result"] as const,
      registers,
    }),
    hedges: new Counter({
      name: "tokengrid_placement_hedges_total",
      help: "Second attempts beside a slow first one",
      labelNames: ["result"] as const,
      registers,
    }),
    shedLevel: new Gauge({
      name: "tokengrid_load_shed_level",
      help: "0 sheds nothing, 3 all but the most critical",
      registers,
    }),
  };
}

function openSpoolGauges(registry: Registry, state: GatewayState): void {
  const gauges: readonly [string, string, () => number][] = [
    [
      "metering_spool_unacked_records",
      "Usage records that the ledger has not confirmed",
      () => state.unacknowledged().records,
    ],
    ["metering_spool_unacked_bytes", "The same in bytes", () => state.unacknowledged().bytes],
    [
      "metering_spool_oldest_unacked_timestamp_seconds",
      "When the oldest of them was closed; 0 if there are none",
      () => Number(state.unacknowledged().oldestUs) / 1_000_000,
    ],
    ["retry_budget_tokens", "None is tried again at half of them", () => state.retryTokens()],
    [
      "gateway_drained_streams",
      "Streams that are read on for clients that have gone, as the contract pays for them",
      () => state.drainedStreams(),
    ],
  ];
  for (const [name, help, read] of gauges) {
    new Gauge({
      name: `tokengrid_${name}`,
      help,
      registers: [registry],
      collect() {
        this.set(read());
      },
    });
  }
}

/** A counter that is born at 1 is invisible to `increase()`. */
function startAtZero(
  metrics: ReturnType<typeof openRequestMetrics> &
    ReturnType<typeof openTimeMetrics> &
    ReturnType<typeof openMeteringMetrics> &
    ReturnType<typeof openRetryMetrics>,
): void {
  for (const api of apis) {
    metrics.requests.inc({ api, code: "200", outcome: "ok" }, 0);
    for (const { httpStatus, metric } of Object.values(outcomes)) {
      metrics.requests.inc({ api, code: String(httpStatus), outcome: metric }, 0);
    }
    for (const outcome of ["ok", "error"]) metrics.duration.zero({ api, outcome });
    for (const stream of ["true", "false"]) metrics.inFlight.set({ api, stream }, 0);
  }
  for (const reason of streamEnds) metrics.streamEnds.inc({ reason }, 0);
  for (const reason of rejectedReasons) metrics.rejected.inc({ reason }, 0);
  for (const phase of phases) metrics.overhead.zero({ phase });
  for (const completeness of completenesses) metrics.metered.inc({ completeness }, 0);
  for (const result of recountResults) metrics.recounts.inc({ result }, 0);
  for (const reason of retryReasons) {
    for (const result of retryResults) metrics.retries.inc({ reason, result }, 0);
  }
  for (const result of ["won", "lost_cancelled", "suppressed_budget"]) {
    metrics.hedges.inc({ result }, 0);
  }
  metrics.shedLevel.set(0);
  for (const region_class of sides) {
    metrics.tpot.zero({ region_class });
    for (const criticality of criticalities) {
      metrics.ttft.zero({
        api: "chat_completions",
        region_class,
        criticality: labelOf(criticality),
      });
    }
  }
}

export function labelOf(criticality: Criticality): string {
  return criticality.replace("-", "_");
}

/** The series of a pool begin when it is first heard of. */
export function startPool(metrics: GatewayMetrics, pool: string): void {
  for (const [, token_class] of entries(labelByClass)) metrics.tokens.inc({ pool, token_class }, 0);
}

/**
 * What the engine said of one attempt, in disjoint classes. What it did not say is not counted, and nothing is of an
 * attempt whose counts the ledger would not take either: one lie would stand in the counter for ever.
 */
export function countTokens(
  metrics: GatewayMetrics,
  pool: string,
  { engineCounts, flags }: Pick<UsageRecord, "engineCounts" | "flags">,
): void {
  const { input, output, cacheRead = 0n, cacheWrite = 0n, reasoning = 0n } = engineCounts;
  const tokens: Readonly<Record<TokenClass, bigint>> = {
    uncachedInput: input === undefined ? 0n : input - cacheRead - cacheWrite,
    cacheRead,
    cacheWrite,
    response: output === undefined ? 0n : output - reasoning,
    reasoning,
  };
  const said = [input ?? 0n, output ?? 0n, ...Object.values(tokens)];
  if (flags.includes("usage-malformed") || !said.every(isPlausible)) return;
  for (const [each, count] of entries(tokens)) {
    if (count > 0n) metrics.tokens.inc({ pool, token_class: labelByClass[each] }, Number(count));
  }
}

function isPlausible(tokens: bigint): boolean {
  return tokens >= 0n && tokens <= defaultContract.attemptTokensMax;
}
