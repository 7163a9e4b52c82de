import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { openPoolGauges } from "../../services/control/pool-gauges.ts";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { Effect, Event } from "../../services/core/events.ts";
import type { AttemptOutcome } from "../../services/core/lease.ts";
import type { AttemptId, PoolId, ReplicaId } from "../../services/core/units.ts";
import {
  geography,
  northgrid,
  policy,
  priceBook,
  registration,
  report,
  request,
} from "../core/fixtures.ts";

const failed: AttemptOutcome = {
  result: "reset",
  ttftMs: undefined,
  itlMsMean: undefined,
  headersMs: undefined,
  inputTokens: undefined,
  cachedTokens: undefined,
  outputTokens: undefined,
  durationMs: undefined,
};

test("an ejection is counted once, however often it is asked for", async () => {
  const dispatcher = new Dispatcher("control-0" as ReplicaId, policy());
  const registry = new Registry();
  openPoolGauges({ registry, dispatcher, geography: geography(), now: () => 0 });
  const step = (event: Event): Effect[] => dispatcher.step(event);
  step({ kind: "geography-set", at: 0, geography: geography() });
  step({ kind: "prices-published", at: 0, book: priceBook() });
  step({ kind: "pool-registered", at: 0, registration: registration("a") });
  step({ kind: "share-set", at: 0, pool: "a" as PoolId, share: 1 });
  step({ kind: "pool-reported", at: 0, vendor: northgrid, report: report("a") });
  const failNext = (index: number): void => {
    const attempt = `r${index}/1` as AttemptId;
    const [answer] = step({ kind: "placement-requested", at: 0, request: request({ attempt }) });
    const lease = (answer?.kind === "answer" && answer.lease) || expect.unreachable();
    const { id, fence } = lease;
    step({ kind: "lease-released", at: 0, lease: id, fence, outcome: failed });
  };
  for (const index of [1, 2, 3, 4]) failNext(index);
  expect(await ejections(registry)).toBe(0);
  failNext(5);
  expect(await ejections(registry)).toBe(1);
  expect(await ejections(registry)).toBe(1);
});

async function ejections(registry: Registry): Promise<number> {
  const text = await registry.metrics();
  const line = /^tokengrid_pool_ejections_total\{reason="consecutive_errors"\} (\d+)$/m.exec(text);
  return Number(line?.[1]);
}

test("how far predictions were off is told per pool, and how far a pool is trusted", async () => {
  const dispatcher = new Dispatcher("control-0" as ReplicaId, policy());
  const registry = new Registry();
  openPoolGauges({ registry, dispatcher, geography: geography(), now: () => 0 });
  const step = (event: Event): Effect[] => dispatcher.step(event);
  step({ kind: "geography-set", at: 0, geography: geography() });
  step({ kind: "prices-published", at: 0, book: priceBook() });
  step({ kind: "pool-registered", at: 0, registration: registration("a") });
  step({ kind: "share-set", at: 0, pool: "a" as PoolId, share: 1 });
  step({ kind: "pool-reported", at: 0, vendor: northgrid, report: report("a") });
  expect(await registry.metrics()).not.toMatch(/^tokengrid_pool_prediction_error_ratio\{/m);
  const [answer] = step({ kind: "placement-requested", at: 0, request: request() });
  const lease = (answer?.kind === "answer" && answer.lease) || expect.unreachable();
  const { id, fence } = lease;
  // 86 ms were foretold.
  const outcome: AttemptOutcome = { ...failed, result: "ok", ttftMs: 172 };
  step({ kind: "lease-released", at: 9_000, lease: id, fence, outcome });
  const text = await registry.metrics();
  expect(text).toContain('tokengrid_pool_prediction_error_ratio{pool="a",figure="ttft"} 0.5');
  expect(text).toContain('tokengrid_pool_prediction_bias_ratio{pool="a",figure="ttft"} -0.5');
  expect(text).toMatch(/^tokengrid_pool_trust_ratio\{pool="a"\} 0\.9\d+$/m);
  expect(text).toContain('tokengrid_pool_slots_counted{pool="a"} 8');
});
