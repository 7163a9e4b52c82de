import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { AttemptId, PoolId, TenantId } from "../../services/core/units.ts";
import { defaultPolicyYaml } from "../../services/io/policy-file.ts";
import { BudgetService, BudgetUnit } from "../../services/wire/gen/tokengrid/v1/budget_pb.js";
import {
  AttemptResult,
  PlacementService,
  UnplaceableReason,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { PolicyService } from "../../services/wire/gen/tokengrid/v1/policy_pb.js";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { collected } from "../collected.ts";
import { figure, modelReport } from "../core/fixtures.ts";
import {
  messages,
  openTestControl,
  operator,
  startedAt,
  tenant,
  vendor,
  type TestControl,
} from "./fixtures.ts";

const budgets = `
budgets:
  - { id: hour, when: {}, window: 1h, limitCny: 0.01, isHard: true }
  - { id: carbon, when: { tenants: [acme] }, window: 24h, limitGramsCo2: 1000 }
`;

let control: TestControl;

beforeEach(async () => {
  control = await openTestControl();
  const pools = createClient(PoolService, control.as(vendor));
  await pools.publishPrices({ book: messages.prices() });
  await pools.register({ pool: messages.registration("a") });
  const policies = createClient(PolicyService, control.as(operator));
  const { policy } = await policies.get({});
  await policies.set({ yaml: defaultPolicyYaml() + budgets, baseRevision: policy?.revision ?? 0n });
  await report(1);
});
afterEach(() => control.close());

/** Idle now. */
async function report(sequence: number): Promise<void> {
  const idle = figure(0, { observedAt: startedAt });
  const model = modelReport({ runningRequests: idle, waitingRequests: idle, kvUsedRatio: idle });
  const message = messages.report("a", { sequence, models: [model] });
  const answers = createClient(PoolService, control.as(vendor)).report(once(message));
  await collected(answers);
}

async function* once<Item>(item: Item): AsyncGenerator<Item> {
  yield item;
}

async function place(attempt: string) {
  const request = messages.place({
    attempt: attempt as AttemptId,
    class: "batch-offline",
    tenant: "acme" as TenantId,
    excluded: new Set<PoolId>(),
  });
  const { outcome } = await createClient(PlacementService, control.as(operator)).place(request);
  return outcome;
}

const list = (tenantId = "") =>
  createClient(BudgetService, control.as(operator)).listBudgets({ tenantId });

test("accounts are listed with what is spent, under way, and left", async () => {
  expect((await list()).budgets).toEqual([]);
  const placed = await place("r1/1");
  const lease = placed.case === "placement" ? placed.value.lease : expect.unreachable();
  const held = (await list("acme")).budgets;
  expect(held).toMatchObject([
    { budgetId: "carbon", tenantId: "acme", unit: BudgetUnit.GRAMS_CO2E, spent: 0n, isHard: false },
    { budgetId: "hour", unit: BudgetUnit.CNY, limit: 10_000_000n, spent: 0n, held: 3_600_000n },
  ]);
  await createClient(PlacementService, control.as(operator)).release({
    leaseId: lease?.leaseId ?? "",
    fence: lease?.fence ?? 0n,
    outcome: { result: AttemptResult.OK, inputTokens: 1_000, cachedTokens: 0, outputTokens: 100 },
  });
  expect((await list()).budgets[1]).toMatchObject({ spent: 2_800_000n, held: 0n });
  expect((await list("zenith")).budgets).toEqual([]);
});

test("budgets are for operators", async () => {
  const asTenant = createClient(BudgetService, control.as(tenant));
  await expect(asTenant.listBudgets({})).rejects.toThrow(/expected the key of an operator/);
});

test("a refusal by a budget says when to come back, and the decision says why", async () => {
  for (const attempt of ["r1/1", "r2/1"]) expect((await place(attempt)).case).toBe("placement");
  const refused = await place("r3/1");
  const value = refused.case === "unplaceable" ? refused.value : expect.unreachable();
  expect(value.reason).toBe(UnplaceableReason.BUDGET_EXHAUSTED);
  expect(value.detail).toMatch(
    /^asked 0\.0036 CNY of budget hour, found 0 CNY spent and 0\.0072 CNY under way/,
  );
  expect(value.retryAfterMs).toBe(3_600_000);
  const { decisions } = await createClient(PlacementService, control.as(operator)).explain({
    which: { case: "last", value: true },
  });
  expect(decisions[0]?.budgets.map(({ budgetId }) => budgetId)).toEqual(["carbon", "hour"]);
  expect(decisions[0]?.rejections).toMatchObject([{ reason: "budget" }]);
});

test("series tell limit, spending and dual price of each account", async () => {
  await place("r1/1");
  await place("r2/1");
  const text = await control.metrics.metrics();
  const labels = '{budget="hour",tenant="acme",unit="cny"}';
  expect(text).toContain(`tokengrid_budget_limit${labels} 0.01`);
  expect(text).toContain(`tokengrid_budget_spent${labels} 0`);
  expect(text).toContain(`tokengrid_budget_held${labels} 0.0072`);
  const dual = /tokengrid_budget_dual_price_cny\{budget="hour",\S+ (\S+)/.exec(text)?.[1];
  expect(Number(dual)).toBeGreaterThan(0);
});

test("what was spent is remembered over a restart, and what was under way counts as spent", async () => {
  await place("r1/1");
  await place("r2/1");
  control = await control.restart();
  await report(2);
  expect((await list()).budgets[1]).toMatchObject({ spent: 7_200_000n, held: 0n });
  expect((await place("r3/1")).case).toBe("unplaceable");
});
