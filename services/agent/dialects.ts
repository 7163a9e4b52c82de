import { z } from "zod";
import type { Sample } from "./prometheus-text.ts";

/** How engines name what we want to know. A list of names is tried in order: engines rename. */
export interface Dialect {
  /** Label that names the model; undefined where an engine serves one and does not say which. */
  readonly modelLabel: string | undefined;
  /** Labels of parts that each count the same once more: of these only number 0 is read. */
  readonly partLabels: readonly string[];
  readonly gauges: Readonly<Record<GaugeName, Gauge | undefined>>;
  /** Counters that are added up, each by the first of its names that is there. */
  readonly counters: Readonly<Record<CounterName, readonly (readonly string[])[]>>;
  /** Histograms in seconds. */
  readonly histograms: Readonly<Record<HistogramName, readonly string[]>>;
  /** Where there is no histogram: counters whose quotient is the seconds per token. */
  readonly secondsPerToken: { readonly seconds: string; readonly tokens: string } | undefined;
  /** A document beside the metrics, at a path from the engine's root. */
  readonly beside: Beside | undefined;
}

export type GaugeName = "runningRequests" | "waitingRequests" | "kvUsedRatio" | "kvTokensTotal";
export type CounterName = "promptTokensTotal" | "cachedPromptTokensTotal" | "outputTokensTotal";
export type HistogramName = "ttft" | "itl";

export interface Gauge {
  readonly names: readonly string[];
  /** Over the engines of a model. Undefined: not known. */
  readonly reduce: (samples: readonly Sample[]) => number | undefined;
}

export interface Beside {
  readonly path: string;
  /** Undefined when the document is not what was expected. */
  readonly read: (document: unknown) => BesideFigures | undefined;
}

export interface BesideFigures {
  readonly kvUsedRatio: number | undefined;
  readonly kvTokensTotal: number | undefined;
  readonly slotsTotal: number | undefined;
}

export const dialectNames = ["vllm", "sglang", "trtllm", "llamacpp"] as const;
export type DialectName = (typeof dialectNames)[number];

export const dialects: Readonly<Record<DialectName, Dialect>> = {
  vllm: {
    modelLabel: "model_name",
    partLabels: [],
    gauges: {
      runningRequests: { names: ["vllm:num_requests_running"], reduce: sum },
      waitingRequests: { names: ["vllm:num_requests_waiting"], reduce: sum },
      // A ratio in spite of its name; one per engine, so the mean and not the sum.
      kvUsedRatio: {
        names: ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
        reduce: mean,
      },
      kvTokensTotal: { names: ["vllm:cache_config_info"], reduce: blocksTimesSize },
    },
    counters: {
      promptTokensTotal: [["vllm:prompt_tokens_total"]],
      cachedPromptTokensTotal: [
        [
          "vllm:prefix_cache_hits_total",
          "vllm:gpu_prefix_cache_hits_total",
          "vllm:prompt_tokens_cached_total",
        ],
      ],
      outputTokensTotal: [["vllm:generation_tokens_total"]],
    },
    histograms: {
      ttft: ["vllm:time_to_first_token_seconds"],
      itl: ["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"],
    },
    secondsPerToken: undefined,
    beside: undefined,
  },
  sglang: {
    modelLabel: "model_name",
    partLabels: ["tp_rank", "pp_rank"],
    gauges: {
      runningRequests: { names: ["sglang:num_running_reqs"], reduce: sum },
      waitingRequests: { names: ["sglang:num_queue_reqs"], reduce: sum },
      kvUsedRatio: { names: ["sglang:token_usage"], reduce: mean },
      kvTokensTotal: { names: ["sglang:max_total_num_tokens"], reduce: sum },
    },
    counters: {
      promptTokensTotal: [["sglang:prompt_tokens_total"]],
      cachedPromptTokensTotal: [["sglang:cached_tokens_total"]],
      outputTokensTotal: [["sglang:generation_tokens_total"]],
    },
    histograms: {
      ttft: ["sglang:time_to_first_token_seconds"],
      itl: ["sglang:inter_token_latency_seconds", "sglang:time_per_output_token_seconds"],
    },
    secondsPerToken: undefined,
    beside: undefined,
  },
  /** At `/prometheus/metrics`: what it has at `/metrics` is JSON. */
  trtllm: {
    modelLabel: "model_name",
    partLabels: [],
    gauges: {
      runningRequests: { names: ["trtllm_num_requests_running"], reduce: sum },
      waitingRequests: { names: ["trtllm_num_requests_waiting"], reduce: sum },
      kvUsedRatio: { names: ["trtllm_kv_cache_utilization"], reduce: mean },
      // Blocks and their size are two metrics.
      kvTokensTotal: undefined,
    },
    counters: {
      promptTokensTotal: [["trtllm_prompt_tokens_total"]],
      cachedPromptTokensTotal: [["trtllm_prompt_cached_tokens_total"]],
      outputTokensTotal: [["trtllm_generation_tokens_total"]],
    },
    histograms: {
      ttft: ["trtllm_time_to_first_token_seconds", "trtllm:time_to_first_token_seconds"],
      itl: ["trtllm_time_per_output_token_seconds", "trtllm:time_per_output_token_seconds"],
    },
    secondsPerToken: undefined,
    beside: undefined,
  },
  llamacpp: {
    modelLabel: undefined,
    partLabels: [],
    gauges: {
      runningRequests: { names: ["llamacpp:requests_processing"], reduce: sum },
      waitingRequests: { names: ["llamacpp:requests_deferred"], reduce: sum },
      kvUsedRatio: undefined,
      kvTokensTotal: undefined,
    },
    counters: {
      // Its prompt tokens are those that were computed: the cached ones come on top.
      promptTokensTotal: [
        ["llamacpp:prompt_tokens_total"],
        ["llamacpp:prompt_tokens_cached_total"],
      ],
      cachedPromptTokensTotal: [["llamacpp:prompt_tokens_cached_total"]],
      outputTokensTotal: [["llamacpp:tokens_predicted_total"]],
    },
    histograms: { ttft: [], itl: [] },
    // The seconds of every slot are added, so the quotient is what one sequence sees.
    secondsPerToken: {
      seconds: "llamacpp:tokens_predicted_seconds_total",
      tokens: "llamacpp:tokens_predicted_total",
    },
    beside: { path: "/slots", read: readSlots },
  },
};

/** All names that a dialect may read, histograms with their suffixes. */
export function namesOf(dialect: Dialect): ReadonlySet<string> {
  const { gauges, counters, histograms, secondsPerToken } = dialect;
  const histogramNames = Object.values(histograms).flat();
  return new Set([
    ...Object.values(gauges).flatMap((gauge) => gauge?.names ?? []),
    ...Object.values(counters).flat(2),
    ...histogramNames.flatMap((name) => [`${name}_bucket`, `${name}_sum`, `${name}_count`]),
    ...(secondsPerToken === undefined ? [] : [secondsPerToken.seconds, secondsPerToken.tokens]),
  ]);
}

function sum(samples: readonly Sample[]): number {
  return samples.reduce((total, { value }) => total + value, 0);
}

function mean(samples: readonly Sample[]): number {
  return sum(samples) / samples.length;
}

/** The size of the KV cache is in the labels; before it is known they say `None`. */
function blocksTimesSize(samples: readonly Sample[]): number | undefined {
  const tokens = samples.reduce(
    (total, { labels }) =>
      total + Number(labels.get("num_gpu_blocks")) * Number(labels.get("block_size")),
    0,
  );
  return Number.isFinite(tokens) ? tokens : undefined;
}

const slotsSchema = z
  .array(
    z.object({
      n_ctx: z.number().positive(),
      is_processing: z.boolean(),
      n_prompt_tokens: z.number().min(0).default(0),
      n_prompt_tokens_processed: z.number().min(0).default(0),
      n_prompt_tokens_cache: z.number().min(0).default(0),
      next_token: z.array(z.object({ n_decoded: z.number().min(0) })).default([]),
    }),
  )
  .min(1)
  .max(4_096);

type Slot = z.output<typeof slotsSchema>[number];

/** An idle slot still shows the last task's counts: only those at work are counted. */
function readSlots(document: unknown): BesideFigures | undefined {
  const parsed = slotsSchema.safeParse(document);
  if (!parsed.success) return undefined;
  const slots = parsed.data;
  const kvTokensTotal = slots.reduce((total, { n_ctx }) => total + n_ctx, 0);
  const kvTokensHeld = slots
    .filter(({ is_processing }) => is_processing)
    .reduce((total, slot) => total + tokensHeld(slot), 0);
  return {
    kvUsedRatio: Math.min(1, kvTokensHeld / kvTokensTotal),
    kvTokensTotal,
    slotsTotal: slots.length,
  };
}

/** Versions differ in whether the prompt's count grows with the answer. */
function tokensHeld(slot: Slot): number {
  const { n_prompt_tokens, n_prompt_tokens_processed, n_prompt_tokens_cache, next_token } = slot;
  const decoded = next_token[0]?.n_decoded ?? 0;
  return Math.max(n_prompt_tokens, n_prompt_tokens_processed + n_prompt_tokens_cache + decoded);
}
