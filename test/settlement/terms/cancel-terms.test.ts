import { afterEach, beforeEach, expect, test } from "vitest";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultContract } from "../../../services/core/settlement/terms/contract.ts";
import { parseCancelTerms, type CancelTerms } from "../../../services/io/contract-terms.ts";
import type { Registry } from "../../../services/io/registry.ts";
import { openSqliteRegistry } from "../../../services/io/registry-sqlite.ts";
import { publishCancelTerms } from "../../../services/settlement/terms/cancel-terms.ts";

let folder = "";
let registry: Registry;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "terms-"));
  registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
});
afterEach(async () => {
  await registry.close();
  await rm(folder, { recursive: true });
});

const full: CancelTerms = {
  cancelPolicy: "bill-full",
  drainLimit: { seconds: 10, tokens: 500n, concurrent: 2 },
};

test("gateways are told what is in force with each vendor, and again only when it changes", async () => {
  let northgrid: CancelTerms = full;
  const source = {
    registry,
    vendors: async () => new Set(["northgrid", "westcloud"]),
    contractWith: (pair: string): CancelTerms =>
      pair === "vendor:northgrid" ? northgrid : defaultContract,
  };
  const kept = async (vendor: string): Promise<CancelTerms> =>
    parseCancelTerms((await registry.get("contract-terms", vendor))?.value ?? "");
  expect(await publishCancelTerms(source)).toBe(2);
  expect(await kept("northgrid")).toEqual(full);
  const { cancelPolicy, drainLimit } = defaultContract;
  expect(await kept("westcloud")).toEqual({ cancelPolicy, drainLimit });
  expect(await publishCancelTerms(source)).toBe(0);
  northgrid = { ...full, cancelPolicy: "no-bill" };
  expect(await publishCancelTerms(source)).toBe(1);
  expect(await kept("northgrid")).toEqual(northgrid);
});
