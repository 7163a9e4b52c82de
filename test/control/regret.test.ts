import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AttemptId } from "../../services/core/units.ts";
import {
  AttemptResult,
  PlacementService,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { collected } from "../collected.ts";
import { messages, openTestControl, operator, vendor, type TestControl } from "./fixtures.ts";

let control: TestControl;

beforeEach(async () => {
  control = await openTestControl();
  const pools = createClient(PoolService, control.as(vendor));
  await pools.publishPrices({ book: messages.prices() });
  for (const id of ["a", "b"]) await pools.register({ pool: messages.registration(id) });
  await reported(1);
});
afterEach(() => control.close());

async function reported(sequence: number): Promise<void> {
  async function* reports() {
    for (const id of ["a", "b"]) yield messages.report(id, { sequence });
  }
  await collected(createClient(PoolService, control.as(vendor)).report(reports()));
}

async function placed(number: number, result: AttemptResult, durationMs: number): Promise<void> {
  const placement = createClient(PlacementService, control.as(operator));
  const { outcome } = await placement.place(messages.place({ attempt: `r${number}` as AttemptId }));
  if (outcome.case !== "placement") throw new Error(`expected a placement, found ${outcome.case}`);
  const { leaseId = "", fence = 0n } = outcome.value.lease ?? {};
  const said = { result, ttftMs: 100, durationMs, outputTokens: 100 };
  await placement.release({ leaseId, fence, outcome: said });
}

async function valueOf(series: string): Promise<number> {
  const text = await control.metrics.metrics();
  const line = text.split("\n").find((each) => each.startsWith(`tokengrid_placement_${series} `));
  if (line === undefined) throw new Error(`expected the series ${series}, found none`);
  return Number(line.split(" ").at(-1));
}

const judged = 'regret_samples_total{result="judged"}';

test("every series is there at 0 before anything was judged", async () => {
  for (const objective of ["total", "money", "energy", "carbon", "latency"]) {
    expect(await valueOf(`regret_cny_total{objective="${objective}"}`)).toBe(0);
    expect(await valueOf(`regret_ratio_count{objective="${objective}"}`)).toBe(0);
  }
  expect(await valueOf(judged)).toBe(0);
});

test("a decision is judged a while after it, by how long it took; what failed is not", async () => {
  await placed(1, AttemptResult.OK, 60_000);
  control.clock.advance(1_000);
  await placed(2, AttemptResult.TIMEOUT, 60_000);
  control.clock.advance(1_000);
  await reported(2);
  expect(await valueOf(judged)).toBe(0);
  control.clock.advance(2_000);
  await expect.poll(() => valueOf(judged)).toBe(1);
  await expect.poll(() => valueOf('regret_samples_total{result="unknown"}')).toBe(1);
  expect(await valueOf('regret_ratio_count{objective="latency"}')).toBe(1);
  expect(await valueOf('regret_cny_total{objective="latency"}')).toBeGreaterThan(0);
  expect(await valueOf('hindsight_cost_cny_total{objective="latency"}')).toBeGreaterThan(
    await valueOf('regret_cny_total{objective="latency"}'),
  );
});

test("of a burst one is judged in each tenth of a second", async () => {
  for (let number = 0; number < 8; number++) await placed(number, AttemptResult.OK, 1_000);
  control.clock.advance(100);
  await placed(8, AttemptResult.OK, 1_000);
  control.clock.advance(5_000);
  await expect.poll(() => valueOf(judged)).toBe(2);
});
