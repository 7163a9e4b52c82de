import { expect, test } from "vitest";
import { decide } from "../../services/core/placement/decide.ts";
import type { PolicyRow } from "../../services/core/placement/policy.ts";
import type { AttemptId, RowId } from "../../services/core/units.ts";
import { fromDecision } from "../../services/wire/decision.ts";
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

test("fromDecision() adds up: the terms to the cost, the tariffs to the preference", () => {
  const decision = decide(request(), snapshot([pool("a"), pool("b")]), policy());
  for (const { costNano, nanoByTerm, tariffs } of fromDecision(decision, options).candidates) {
    expect(Object.values(nanoByTerm).reduce((sum, nano) => sum + nano, 0n)).toBe(costNano);
    const parts = tariffs.reduce((sum, each) => sum + each.costNano, 0n);
    expect(parts).toBe(nanoByTerm["preference"]);
  }
});
