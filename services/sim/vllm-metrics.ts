/** Buckets as vLLM has them, in seconds. */
const ttftBounds = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
  160, 640, 2_560,
];
const itlBounds = [
  0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
];
const requestBounds = [
  0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1_920, 7_680,
];
const tokenBounds = [
  1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000,
];

export class Histogram {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** The same value may be seen several times at once. */
  observe(value: number, times = 1): void {
    let bucket = 0;
    while (bucket < this.bounds.length && value > (this.bounds[bucket] ?? Infinity)) bucket += 1;
    this.counts[bucket] = (this.counts[bucket] ?? 0) + times;
    this.sum += value * times;
  }
}

export type FinishedReason = "stop" | "length" | "abort";

/** What one engine of vLLM counts. Plain fields: they are changed at every token. */
export class EngineMetrics {
  promptTokens = 0;
  cachedPromptTokens = 0;
  generationTokens = 0;
  readonly success: Record<FinishedReason, number> = { stop: 0, length: 0, abort: 0 };
  readonly histograms = {
    "vllm:time_to_first_token_seconds": new Histogram(ttftBounds),
    "vllm:inter_token_latency_seconds": new Histogram(itlBounds),
    "vllm:e2e_request_latency_seconds": new Histogram(requestBounds),
    "vllm:request_queue_time_seconds": new Histogram(requestBounds),
    "vllm:request_prefill_time_seconds": new Histogram(requestBounds),
    "vllm:request_decode_time_seconds": new Histogram(requestBounds),
    "vllm:request_inference_time_seconds": new Histogram(requestBounds),
    "vllm:request_prompt_tokens": new Histogram(tokenBounds),
    "vllm:request_generation_tokens": new Histogram(tokenBounds),
    "vllm:iteration_tokens_total": new Histogram(tokenBounds),
  };
}

/** What is true of one engine at the moment of the scrape. */
export interface EngineGauges {
  readonly modelName: string;
  /** Number of the engine within its model. */
  readonly engine: number;
  readonly running: number;
  readonly waiting: number;
  readonly kvUsedRatio: number;
  readonly kvTokensTotal: number;
  readonly metrics: EngineMetrics;
}

const BLOCK_TOKENS = 16;

type Sample = readonly [labels: string, value: number];

interface Family {
  readonly name: string;
  readonly type: "gauge" | "counter";
  readonly samples: (engine: EngineGauges) => readonly Sample[];
}

const one = (value: number): readonly Sample[] => [["", value]];

const families: readonly Family[] = [
  family("vllm:num_requests_running", "gauge", ({ running }) => one(running)),
  family("vllm:num_requests_waiting", "gauge", ({ waiting }) => one(waiting)),
  family("vllm:num_requests_waiting_by_reason", "gauge", ({ waiting }) => [
    [',reason="capacity"', waiting],
    [',reason="deferred"', 0],
  ]),
  family("vllm:kv_cache_usage_perc", "gauge", ({ kvUsedRatio }) => one(kvUsedRatio)),
  family("vllm:cache_config_info", "gauge", ({ kvTokensTotal }) => [
    [
      `,block_size="${BLOCK_TOKENS}",num_gpu_blocks="${Math.floor(kvTokensTotal / BLOCK_TOKENS)}"`,
      1,
    ],
  ]),
  family("vllm:prompt_tokens_total", "counter", ({ metrics }) => one(metrics.promptTokens)),
  family("vllm:prompt_tokens_cached_total", "counter", ({ metrics }) =>
    one(metrics.cachedPromptTokens),
  ),
  family("vllm:prefix_cache_queries_total", "counter", ({ metrics }) => one(metrics.promptTokens)),
  family("vllm:prefix_cache_hits_total", "counter", ({ metrics }) =>
    one(metrics.cachedPromptTokens),
  ),
  family("vllm:generation_tokens_total", "counter", ({ metrics }) => one(metrics.generationTokens)),
  family("vllm:num_preemptions_total", "counter", () => one(0)),
  family("vllm:request_success_total", "counter", ({ metrics: { success } }) =>
    Object.entries(success).map(([reason, value]) => [`,finished_reason="${reason}"`, value]),
  ),
];

function family(name: string, type: Family["type"], samples: Family["samples"]): Family {
  return { name, type, samples };
}

/** Prometheus text of some engines, with vLLM's names and labels. */
export function vllmText(engines: readonly EngineGauges[]): string {
  const lines: string[] = [];
  const labels = engines.map(
    ({ modelName, engine }) => `engine="${engine}",model_name="${escaped(modelName)}"`,
  );
  for (const { name, type, samples } of families) {
    lines.push(`# HELP ${name} As vLLM counts it.`, `# TYPE ${name} ${type}`);
    engines.forEach((engine, index) => {
      for (const [more, value] of samples(engine)) {
        lines.push(`${name}{${labels[index]}${more}} ${value}`);
      }
    });
  }
  for (const name of Object.keys(new EngineMetrics().histograms) as HistogramName[]) {
    lines.push(`# HELP ${name} As vLLM counts it.`, `# TYPE ${name} histogram`);
    engines.forEach(({ metrics }, index) => {
      lines.push(...histogramLines(name, metrics.histograms[name], labels[index] ?? ""));
    });
  }
  return `${lines.join("\n")}\n`;
}

type HistogramName = keyof EngineMetrics["histograms"];

function histogramLines(
  name: string,
  { bounds, counts, sum }: Histogram,
  labels: string,
): string[] {
  let below = 0;
  const buckets = [...bounds, "+Inf"].map((bound, index) => {
    below += counts[index] ?? 0;
    return `${name}_bucket{${labels},le="${bound}"} ${below}`;
  });
  return [...buckets, `${name}_count{${labels}} ${below}`, `${name}_sum{${labels}} ${sum}`];
}

export interface Accelerator {
  readonly watts: number;
  readonly joulesTotal: number;
}

/** Prometheus text as the DCGM exporter writes it: watts, and millijoules since the start. */
export function dcgmText(hostname: string, accelerators: readonly Accelerator[]): string {
  const labels = (index: number): string =>
    `{gpu="${index}",UUID="GPU-${escaped(hostname)}-${index}",device="nvidia${index}",modelName="simulated",Hostname="${escaped(hostname)}"}`;
  const [power, energy] = ["DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"];
  const lines = [
    `# HELP ${power} Power draw (in W).`,
    `# TYPE ${power} gauge`,
    ...accelerators.map(({ watts }, index) => `${power}${labels(index)} ${watts}`),
    `# HELP ${energy} Total energy consumption since boot (in mJ).`,
    `# TYPE ${energy} counter`,
    ...accelerators.map(
      ({ joulesTotal }, index) => `${energy}${labels(index)} ${Math.round(joulesTotal * 1_000)}`,
    ),
  ];
  return `${lines.join("\n")}\n`;
}

function escaped(label: string): string {
  return label.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}
