import type { TraceRow } from "../../services/core/workload.ts";
import { randomFromSeed } from "../../services/core/random.ts";
import { arrivalsOf } from "../../services/sim/arrivals.ts";

/** A recorded workload that policies are compared on. */
interface TraceSource {
  /** What it is, on the page. */
  readonly title: string;
  readonly path: string;
  /** So much of it is one kind of hour; more would mix the quiet and the busy. */
  readonly durationMs: number;
  /** Its answers are so much longer that a run takes so many times as long until it is steady. */
  readonly stretch: number;
}

const HOUR_MS = 3_600_000;

export const traces = {
  azure: {
    title: "Azure LLM inference 2023, conversation",
    path: "bench/traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv",
    durationMs: HOUR_MS,
    stretch: 1,
  },
  mooncake: {
    title: "Mooncake FAST'25, long prompts with shared prefixes",
    path: "bench/traces/mooncake-fast25/synthetic_trace.jsonl",
    durationMs: HOUR_MS,
    stretch: 1,
  },
  servegen: {
    title: "ServeGen, reasoning, first hour of the day",
    path: "bench/traces/servegen/deepseek-r1_windows.csv",
    durationMs: HOUR_MS,
    stretch: 5,
  },
} as const satisfies Record<string, TraceSource>;

export type TraceName = keyof typeof traces;

export const traceNames: readonly TraceName[] = ["azure", "mooncake", "servegen"];

/** What ServeGen leaves to be drawn is drawn once: seeds of runs choose a place in it. */
const DRAW_SEED = 1;

/** The requests of a trace in its first part. */
export async function traceRows(
  name: TraceName,
  durationMs: number = traces[name].durationMs,
): Promise<TraceRow[]> {
  const { path } = traces[name];
  const options = { path, seed: DRAW_SEED, class: "llm-interactive", limit: Infinity } as const;
  const rows: TraceRow[] = [];
  for await (const { atMs, inputTokens, outputTokens, blocks } of arrivalsOf({
    ...options,
    durationMs,
  })) {
    rows.push({ atMs, inputTokens, outputTokens, blocks });
  }
  return rows;
}

/** So many requests in a row, from a place drawn from the seed, or all; the first at 0. */
export function windowOf(rows: readonly TraceRow[], count: number, seed: number): TraceRow[] {
  const most = Math.max(0, rows.length - count);
  const first = Math.floor(randomFromSeed(seed)() * (most + 1));
  const window = rows.slice(first, first + count);
  const firstMs = window[0]?.atMs ?? 0;
  return window.map((row) => ({ ...row, atMs: row.atMs - firstMs }));
}
