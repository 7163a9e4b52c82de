import { EngineReplica, type EngineJob } from "../../services/core/engine-replica.ts";
import type { EngineProfile } from "../../services/core/pool.ts";

interface Call extends EngineJob {
  readonly sentAtMs: number;
  firstTokenAtMs: number;
}

export interface LoopResult {
  readonly ttftMs: number;
  readonly itlMs: number;
  readonly tokensPerSecond: number;
}

/**
 * Clients who each send the next request the moment the last one is answered, against one replica: 3 per
 * client to warm up, then until there were max(60, 8 per client) in all.
 */
export function closedLoop(options: {
  readonly profile: EngineProfile;
  readonly clients: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
}): LoopResult {
  const { profile, clients, promptTokens, outputTokens } = options;
  const [warmUp, all] = [3 * clients, Math.max(60, 8 * clients)];
  const replica = new EngineReplica<Call>(profile);
  const calls: { readonly call: Call; readonly endedAtMs: number }[] = [];
  let nowMs = 0;
  const send = (): void => {
    const sizes = { promptTokens, outputTokens, outputTokensMax: outputTokens, blocks: [] };
    replica.submit({ ...sizes, sentAtMs: nowMs, firstTokenAtMs: 0 });
  };
  for (let client = 0; client < clients; client++) send();
  while (calls.length < all) {
    const result = replica.step();
    nowMs += result?.ms ?? Infinity;
    for (const call of result?.started ?? []) call.firstTokenAtMs = nowMs;
    for (const call of result?.finished ?? []) {
      calls.push({ call, endedAtMs: nowMs });
      send();
    }
  }
  const counted = calls.slice(warmUp);
  const mean = (of: (each: (typeof calls)[number]) => number): number =>
    counted.reduce((sum, each) => sum + of(each), 0) / counted.length;
  const warmAtMs = calls[warmUp - 1]?.endedAtMs ?? 0;
  return {
    ttftMs: mean(({ call }) => call.firstTokenAtMs - call.sentAtMs),
    itlMs: mean(({ call, endedAtMs }) => endedAtMs - call.firstTokenAtMs) / (outputTokens - 1),
    tokensPerSecond: ((counted.length * outputTokens) / (nowMs - warmAtMs)) * 1_000,
  };
}
