import { assert } from "../core/assert.ts";
import { requestsPerMsMax, type RequestShape } from "../core/engine.ts";
import { randomFromSeed } from "../core/random.ts";
import type { ModelId } from "../core/units.ts";
import type { TraceRow } from "../core/workload.ts";
import type { Fleet } from "./fleet.ts";

/** The mean request of a trace, and how many came per second. */
export interface TraceShape {
  readonly requests: number;
  readonly requestsPerSecond: number;
  readonly inputTokensMean: number;
  readonly outputTokensMean: number;
}

export function shapeOf(rows: readonly TraceRow[]): TraceShape {
  assert(rows.length > 0, "a trace has requests");
  const requests = rows.length;
  const mean = (tokensOf: (row: TraceRow) => number): number =>
    rows.reduce((sum, row) => sum + tokensOf(row), 0) / requests;
  return {
    requests,
    requestsPerSecond: (requests * 1_000) / spanMs(rows),
    inputTokensMean: mean(({ inputTokens }) => inputTokens),
    outputTokensMean: mean(({ outputTokens }) => outputTokens),
  };
}

/**
 * What 100 % of a fleet is, in requests per second: the rate at which the first model of the mix has every slot of
 * every replica taken, if all requests were the mean request of the trace and nothing of a prompt were cached. By the
 * closed form of the engine model: per replica the λ at which λ·(s·p + (o − 1)·TPOT(λ)) = min(slots, KV cache /
 * (S + o)), times the replicas that serve the model, over the model's part of the mix. It does not know latency
 * circles, which keep classes from pools, nor the way there and back, for which a slot is held too: what a policy
 * can do is a little below. Requests that differ in length use a little more than their mean does.
 */
export function capacityOf(
  fleet: Fleet,
  shape: Pick<TraceShape, "inputTokensMean" | "outputTokensMean">,
  models: ReadonlyMap<ModelId, number>,
): number {
  const parts = [...models.values()].reduce((sum, part) => sum + part, 0);
  const rates = [...models].map(
    ([model, part]) => (capacityFor(model, fleet, shape) * parts) / part,
  );
  return Math.min(...rates);
}

function capacityFor(
  model: ModelId,
  { pools }: Fleet,
  shape: Pick<TraceShape, "inputTokensMean" | "outputTokensMean">,
): number {
  const mean: RequestShape = {
    uncachedTokens: shape.inputTokensMean,
    promptTokens: shape.inputTokensMean,
    outputTokens: shape.outputTokensMean,
    outputTokensMax: shape.outputTokensMean,
  };
  const perMs = pools.reduce((sum, { engines }) => {
    const engine = engines.get(model);
    return engine === undefined
      ? sum
      : sum + engine.replicas * requestsPerMsMax(engine.profile, mean);
  }, 0);
  return perMs * 1_000;
}

/**
 * The trace at another rate and for as long as is wanted: its pauses are stretched or squeezed alike, so that what
 * came in bursts still does; it begins at a place drawn from the seed and begins again where it ends. Blocks of a
 * second time round are others, so that no cache profits from the repetition.
 */
export function* atRate(
  rows: readonly TraceRow[],
  options: {
    readonly requestsPerSecond: number;
    readonly durationMs: number;
    readonly seed: number;
  },
): Generator<TraceRow> {
  const { requestsPerSecond, durationMs, seed } = options;
  const scale = shapeOf(rows).requestsPerSecond / requestsPerSecond;
  const roundMs = spanMs(rows);
  const first = Math.floor(randomFromSeed(seed)() * rows.length);
  const firstMs = rows[first]?.atMs ?? 0;
  const blocksEnd = 1 + rows.reduce((most, { blocks }) => Math.max(most, ...blocks), -1);
  for (let number = 0; ; number++) {
    const row = rows[(first + number) % rows.length];
    assert(row !== undefined, "a place in the trace is a row");
    const laps = Math.floor((first + number) / rows.length);
    const atMs = (row.atMs + laps * roundMs - firstMs) * scale;
    if (atMs >= durationMs) return;
    const shift = Math.floor(number / rows.length) * blocksEnd;
    yield shift === 0
      ? { ...row, atMs }
      : { ...row, atMs, blocks: row.blocks.map((block) => block + shift) };
  }
}

/** With a mean pause behind the last request. */
function spanMs(rows: readonly TraceRow[]): number {
  const lastMs = rows.at(-1)?.atMs ?? 0;
  assert(rows.length > 1 && lastMs > 0, "a trace has requests at more than one instant");
  return (lastMs * rows.length) / (rows.length - 1);
}
