import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import { defaultPolicyYaml } from "../../services/io/policy-file.ts";
import { PolicyService } from "../../services/wire/gen/tokengrid/v1/policy_pb.js";
import { openTestControl, operator, vendor, type TestControl } from "./fixtures.ts";

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
  const reloaded = control.metrics.getSingleMetric("tokengrid_config_last_reload_successful");
  expect((await reloaded?.get())?.values).toMatchObject([{ value: 0 }]);
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
