import type { ServiceClass } from "../core/placement/request.ts";
import { randomFromSeed, seedFromText } from "../core/random.ts";
import type { ModelId, TenantId } from "../core/units.ts";
import type { Arrival, TraceRow } from "../core/workload.ts";
import { cityOf } from "./demand.ts";

/** What part of the requests is for which model, class and tenant: weights, drawn apart from each other. */
export interface Mix {
  readonly models: ReadonlyMap<ModelId, number>;
  readonly classes: ReadonlyMap<ServiceClass, number>;
  readonly tenants: ReadonlyMap<TenantId, number>;
}

/** House default: two models, mostly chat, three tenants of which one is most of it. */
export const operatorMix: Mix = {
  models: new Map([
    ["qwen3.6-plus" as ModelId, 65],
    ["deepseek-v3.2" as ModelId, 35],
  ]),
  classes: new Map<ServiceClass, number>([
    ["llm-interactive", 75],
    ["realtime-interactive", 15],
    ["batch-offline", 10],
  ]),
  tenants: new Map([
    ["assistant" as TenantId, 60],
    ["voice" as TenantId, 25],
    ["archive" as TenantId, 15],
  ]),
};

/**
 * The rows of a trace as requests of a mix, in their order. What a request is depends on the seed and its number
 * alone, so that a part of a trace agrees with the whole. Requests that begin with the same block belong together:
 * they are of one model, class and tenant, so that caches hit as they did when the trace was recorded.
 */
export function* mixedArrivals(
  rows: Iterable<TraceRow>,
  mix: Mix,
  seed: number,
): Generator<Arrival> {
  let index = 0;
  for (const { atMs, inputTokens, outputTokens, blocks } of rows) {
    const [session] = blocks;
    const drawnBy = session === undefined ? `mix/${index}` : `session/${session}`;
    const random = randomFromSeed(seedFromText(`${seed}/${drawnBy}`));
    yield {
      atMs,
      inputTokens,
      outputTokens,
      blocks,
      index,
      origin: cityOf(seed, index),
      model: drawn(mix.models, random()),
      class: drawn(mix.classes, random()),
      tenant: drawn(mix.tenants, random()),
    };
    index += 1;
  }
}

/** `at` is within 0..1, its end excluded. */
function drawn<Name>(weights: ReadonlyMap<Name, number>, at: number): Name {
  let total = 0;
  for (const weight of weights.values()) total += weight;
  let left = at * total;
  for (const [name, weight] of weights) {
    left -= weight;
    if (left < 0) return name;
  }
  throw new RangeError("expected weights above 0, found none");
}
