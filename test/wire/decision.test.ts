import { expect, test } from "vitest";
import { decide } from "../../services/core/placement/decide.ts";
import type { PolicyRow } from "../../services/core/placement/policy.ts";
import type { BudgetStanding } from "../../services/core/placement/budget.ts";
import type { AttemptId, ModelId, RowId } from "../../services/core/units.ts";
import { fromDecision } from "../../services/wire/decision.ts";
import { BudgetUnit } from "../../services/wire/gen/tokengrid/v1/budget_pb.js";
import { policy, pool, request, snapshot } from "../core/fixtures.ts";

const options = { now: 0, decidedBy: "control" } as const;

test("fromDecision() lists the chosen pool first, also among equal costs", () => {
  const pools = ["a", "b", "c", "d"].map((id) => pool(id));
  for (let index = 0; index < 20; index++) {
    const asked = request({ attempt: `r${index}/1` as AttemptId });
    const record = fromDecision(decide(asked, snapshot(pools), policy()), options);
    expect(record.candidates[0]?.poolId).toBe(record.poolId);
    expect(record.candidates[1]?.poolId).toBe(record.runnerUpPoolId);
    expect(record.marginNano).toBe(0n);
  }
});

test("fromDecision() says of each tariff whose word it is", () => {
  const west: PolicyRow = {
    kind: "tariff",
    id: "W2" as RowId,
    textEn: "",
    textZh: "",
    basis: "house default",
    sources: [],
    when: {},
    pool: {},
    tariff: { nanoPerToken: -150 },
  };
  const decision = decide(request(), snapshot([pool("a")]), policy({ rows: [west] }));
  const { candidates } = fromDecision(decision, options);
  expect(candidates[0]?.tariffs).toMatchObject([{ rowId: "W2", basis: "house default" }]);
});

test("fromDecision() says how the request got its class and model, and what its budgets were", () => {
  const { decision, standing } = underBudget();
  expect(fromDecision(decision, options)).toMatchObject({
    classSource: "deadline 300 ms",
    modelAlias: "chat",
    passedOverModels: [
      {
        modelId: "best",
        version: "2",
        reason: "no-eligible-pool",
        poolsByFilter: { "alias-price-cap": 3 },
      },
    ],
    budgets: [
      {
        budgetId: "day",
        unit: BudgetUnit.GRAMS_CO2E,
        isHard: true,
        windowMs: 86_400_000n,
        limit: BigInt(standing.limit),
        spent: 1n,
        held: 2n,
        dualNano: 0.5,
        returnsInMs: 8n,
      },
    ],
  });
});

function underBudget() {
  const standing: BudgetStanding = {
    id: "day",
    unit: "gco2e",
    isHard: true,
    windowMs: 86_400_000,
    limit: 1e12,
    spent: 1,
    held: 2,
    dualNano: 0.5,
    returns: [{ inMs: 7.5, amount: 1 }],
  };
  const asked = request({
    classSource: "deadline 300 ms",
    alias: "chat",
    passedOver: [
      {
        model: "best" as ModelId,
        version: "2",
        reason: "no-eligible-pool",
        poolsByReason: new Map([["alias-price-cap", 3]]),
      },
    ],
    budgets: {
      standings: [standing],
      prices: { nanoPerNano: 0, nanoPerJoule: 0, nanoPerGram: 0.5 },
    },
  });
  return { standing, decision: decide(asked, snapshot([pool("a")]), policy()) };
}

test("fromDecision() adds up: the terms to the cost, the tariffs to the preference", () => {
  const decision = decide(request(), snapshot([pool("a"), pool("b")]), policy());
  for (const { costNano, nanoByTerm, tariffs } of fromDecision(decision, options).candidates) {
    expect(Object.values(nanoByTerm).reduce((sum, nano) => sum + nano, 0n)).toBe(costNano);
    const parts = tariffs.reduce((sum, each) => sum + each.costNano, 0n);
    expect(parts).toBe(nanoByTerm["preference"]);
  }
});
