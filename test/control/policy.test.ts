import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultPolicyYaml } from "../../services/io/policy-file.ts";
import { PlacementService } from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { PolicyService } from "../../services/wire/gen/tokengrid/v1/policy_pb.js";
import { messages, openTestControl, operator, vendor, type TestControl } from "./fixtures.ts";

let control: TestControl;

beforeEach(async () => {
  control = await openTestControl();
});
afterEach(() => control.close());

const policies = (caller = operator) => createClient(PolicyService, control.as(caller));
const shorterLeases = defaultPolicyYaml().replace("leaseMs: 30000", "leaseMs: 20000");

async function current() {
  const { policy } = await policies().get({});
  expect(policy).toBeDefined();
  return { revision: policy?.revision ?? 0n, yaml: policy?.yaml ?? "" };
}

test("an empty registry gets the shipped policy", async () => {
  const { policy } = await policies().get({});
  expect(policy).toMatchObject({ yaml: defaultPolicyYaml(), author: "preset" });
  expect(policy?.hash).toMatch(/^[0-9a-f]{64}$/);
});

test("set() replaces the policy on its newest revision, with author and comment", async () => {
  const { revision } = await current();
  const { policy } = await policies().set({
    yaml: shorterLeases,
    baseRevision: revision,
    author: "wang",
    comment: "shorter",
  });
  expect(policy).toMatchObject({ yaml: shorterLeases, author: "wang", comment: "shorter" });
  expect((await current()).revision).toBe(policy?.revision);
  const { policies: history } = await policies().listHistory({ limit: 10 });
  expect(history.map(({ author }) => author)).toEqual(["wang", "preset"]);
  const { policy: before } = await policies().get({ revision });
  expect(before?.yaml).toBe(defaultPolicyYaml());
});

test("set() on a revision that is not the newest is refused", async () => {
  const { revision } = await current();
  await policies().set({ yaml: shorterLeases, baseRevision: revision });
  await expect(
    policies().set({ yaml: defaultPolicyYaml(), baseRevision: revision }),
  ).rejects.toThrow("[aborted] base_revision: expected");
});

test("a policy with mistakes is refused with all of them, and the old one stays", async () => {
  const { revision } = await current();
  const yaml = shorterLeases.replace("leaseMs: 20000", "leaseMs: soon\ncolour: red");
  const { mistakes } = await policies().validate({ yaml });
  expect(mistakes.length).toBeGreaterThan(1);
  const refusal = policies().set({ yaml, baseRevision: revision });
  await expect(refusal).rejects.toThrow("[invalid_argument] the policy cannot be used");
  for (const { path } of mistakes) await expect(refusal).rejects.toThrow(path);
  expect((await current()).revision).toBe(revision);
  for (const { line } of mistakes) await expect(refusal).rejects.toThrow(`${line}:`);
  expect(await lastReload()).toBe(0);
});

async function lastReload(): Promise<number | undefined> {
  const reloaded = control.metrics.getSingleMetric("tokengrid_config_last_reload_successful");
  return (await reloaded?.get())?.values[0]?.value;
}

/** Written past the service, as another version of it, a restore or a disk would. */
async function write(value: string): Promise<number> {
  const current = await control.registry.get("policy", "default");
  const outcome = await control.registry.set({
    kind: "policy",
    key: "default",
    value,
    baseRevision: current?.revision ?? 0,
    author: "nobody",
    comment: "",
  });
  return outcome.kind === "set" ? outcome.entry.revision : expect.unreachable();
}

async function decidedBy(): Promise<bigint | undefined> {
  const placements = createClient(PlacementService, control.as(operator));
  const { decision } = await placements.plan({ request: messages.place() });
  return decision?.policyRevision;
}

const unusable: readonly (readonly [title: string, value: string])[] = [
  ["no JSON", "{"],
  ["no record", JSON.stringify({ text: shorterLeases })],
  ["of a newer schema", JSON.stringify({ yaml: `${shorterLeases}\nquotas: []\n` })],
  ["cut off", JSON.stringify({ yaml: shorterLeases.slice(0, 2_000) })],
];

test.for(unusable)(
  "an entry of the registry that is %s leaves the policy in force",
  async ([, value]) => {
    const { policy } = await policies().set({
      yaml: shorterLeases,
      baseRevision: (await current()).revision,
    });
    const inForce = policy?.revision ?? 0n;
    expect(await lastReload()).toBe(1);

    const broken = BigInt(await write(value));
    await expect.poll(lastReload).toBe(0);
    expect(await decidedBy()).toBe(inForce);
    expect(control.logged()).toContain("the policy cannot be used, the old one stays");

    // Also after a restart, and an operator sees which is which.
    control = await control.restart();
    expect(await decidedBy()).toBe(inForce);
    expect(await lastReload()).toBe(0);
    const answer = await policies().listHistory({});
    expect(answer.revisionInForce).toBe(inForce);
    expect(answer.policies.map(({ revision }) => revision)).toEqual([
      broken,
      inForce,
      inForce - 1n,
    ]);
    expect((await policies().get({})).policy?.revision).toBe(broken);

    const repaired = await policies().set({ yaml: shorterLeases, baseRevision: broken });
    expect(await decidedBy()).toBe(repaired.policy?.revision);
    expect(await lastReload()).toBe(1);
  },
);

test("a registry that never had a usable policy gets on with the shipped one", async () => {
  await control.close();
  control = await openTestControl({ policyRecord: "{" });
  expect(await lastReload()).toBe(0);
  const { policy } = await policies().get({});
  await policies().set({ yaml: shorterLeases, baseRevision: policy?.revision ?? 0n });
  expect(await lastReload()).toBe(1);
});

test("validate() warns of names that nobody here has", async () => {
  const yaml = defaultPolicyYaml().replace("regions: [horinger]", "regions: [zongwei]");
  const { mistakes, warnings } = await policies().validate({ yaml });
  expect(mistakes).toEqual([]);
  expect(warnings).toMatchObject(
    expect.arrayContaining([
      expect.objectContaining({
        path: "rows[5].exempt.pool.regions[0]",
        message: "nothing here is called zongwei; did you mean zhongwei?",
      }),
    ]),
  );
});

test("validate() finds nothing wrong with the shipped policy", async () => {
  expect((await policies().validate({ yaml: defaultPolicyYaml() })).mistakes).toEqual([]);
});

test("a revision that does not exist is not found", async () => {
  await expect(policies().get({ revision: 999n })).rejects.toThrow("[not_found]");
});

test("policies are for operators", async () => {
  await expect(policies(vendor).get({})).rejects.toThrow("[permission_denied]");
  await expect(policies(vendor).set({ yaml: "a", baseRevision: 1n })).rejects.toThrow(
    "[permission_denied]",
  );
});
