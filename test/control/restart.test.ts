import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultPolicyYaml } from "../../services/io/policy-file.ts";
import { readJournal } from "../../services/io/journal-reader.ts";
import { replay } from "../../services/io/journal-replay.ts";
import { PlacementService } from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { PolicyService } from "../../services/wire/gen/tokengrid/v1/policy_pb.js";
import {
  DrainState,
  PoolService,
  PoolStatus,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { collected } from "../collected.ts";
import { messages, openTestControl, operator, vendor, type TestControl } from "./fixtures.ts";

let control: TestControl;

beforeEach(async () => {
  control = await openTestControl();
  const pools = createClient(PoolService, control.as(vendor));
  await pools.publishPrices({ book: messages.prices() });
  await pools.register({ pool: messages.registration("a") });
});
afterEach(() => control.close());

const pools = () => createClient(PoolService, control.as(operator));

test("pools, prices, policy and status are there after a restart", async () => {
  const policies = createClient(PolicyService, control.as(operator));
  const { policy } = await policies.get({});
  const yaml = defaultPolicyYaml().replace("leaseMs: 30000", "leaseMs: 20000");
  await policies.set({ yaml, baseRevision: policy?.revision ?? 0n });
  await pools().cordon({ poolId: "a" });
  const before = await pools().get({ poolId: "a" });

  control = await control.restart();
  const after = await pools().get({ poolId: "a" });
  expect(after.pool?.status).toBe(PoolStatus.CORDONED);
  expect(after.pool?.registration).toEqual(before.pool?.registration);
  expect(after.pool?.models[0]?.priceBookId).toBe("northgrid-2026");
  const again = await createClient(PolicyService, control.as(operator)).get({});
  expect(again.policy?.yaml).toBe(yaml);
});

test("a drain goes on after a restart, and ends", async () => {
  const progress = pools().drain({ poolId: "a" })[Symbol.asyncIterator]();
  await progress.next();
  control = await control.restart();
  const { pool } = await pools().get({ poolId: "a" });
  expect(pool?.status).toBe(PoolStatus.DRAINING);
  const states = (await collected(pools().drain({ poolId: "a" }))).map(({ state }) => state);
  expect(states.at(-1)).toBe(DrainState.DRAINED);
});

test("a change by another process is in force without a restart", async () => {
  await control.registry.set({
    kind: "pool-status",
    key: "a",
    value: JSON.stringify({ status: "cordoned" }),
    baseRevision: 0,
    author: "elsewhere",
    comment: "",
  });
  const status = async () => (await pools().get({ poolId: "a" })).pool?.status;
  await expect.poll(status).toBe(PoolStatus.CORDONED);
});

test("an entry that cannot be read changes nothing and stops nothing", async () => {
  const bad = { author: "elsewhere", comment: "", baseRevision: 0 };
  await control.registry.set({ ...bad, kind: "pool", key: "b", value: "{" });
  await control.registry.set({ ...bad, kind: "pool-status", key: "a", value: '{"status":"x"}' });
  await control.registry.set({ ...bad, kind: "price-book", key: "c@1", value: "{}" });
  control = await control.restart();
  expect((await pools().list({})).pools).toMatchObject([
    { registration: { poolId: "a" }, status: PoolStatus.READY },
  ]);
});

test("the journal of a run gives the decisions that were given", async () => {
  const reports = createClient(PoolService, control.as(vendor));
  async function* sent() {
    yield messages.report("a");
  }
  await collected(reports.report(sent()));
  const placement = createClient(PlacementService, control.as(operator));
  const { outcome } = await placement.place(messages.place());
  expect(outcome.case).toBe("placement");
  const { folder } = control;
  control = await control.restart();

  const steps = await collected(replay(readJournal(`${folder}/journal`)));
  const answers = steps.flatMap((step) =>
    step.kind === "step" ? step.effects.filter(({ kind }) => kind === "answer") : [],
  );
  const placed = outcome.case === "placement" ? outcome.value : undefined;
  expect(answers).toMatchObject([
    {
      decision: { kind: "placed", pool: "a", costNano: Number(placed?.costNano) },
      lease: { id: placed?.lease?.leaseId, fence: Number(placed?.lease?.fence) },
    },
  ]);
});
