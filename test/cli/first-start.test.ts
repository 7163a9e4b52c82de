import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toJsonString } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { createDataFolder, type DataFolder } from "../../services/cli/dev/data-folder.ts";
import { type Parties, prepare, type Prepared } from "../../services/cli/dev/first-start.ts";
import { isKeyOf, keyRecordSchema, prefixOf } from "../../services/io/keys.ts";
import type { EntryKind, Registry } from "../../services/io/registry.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook } from "../../services/wire/price.ts";
import { loadFleet } from "../../services/sim/fleet.ts";

const fleet = loadFleet();
const nowUs = 1_795_230_000_000_000n;

let root: string;
let folder: DataFolder;
let registry: Registry;

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), "tokengrid-first-"));
  folder = createDataFolder(root);
  registry = await openSqliteRegistry(folder.registry);
});

afterEach(async () => {
  await registry.close();
  rmSync(root, { recursive: true });
});

function start(parties: Parties = fleet): Promise<Prepared> {
  return prepare({ folder, registry, parties, nowUs });
}

async function revisions(): Promise<number[]> {
  const kinds: EntryKind[] = ["vendor", "price-book", "policy", "tenant", "key", "alias"];
  const entries = await Promise.all(kinds.map((kind) => registry.list(kind)));
  return entries.flat().map(({ revision }) => revision);
}

test("prepare() makes keys whose hashes alone are in the registry", async () => {
  const { devKey, operatorKey, credentialByVendor } = await start();
  for (const secret of [devKey, operatorKey, ...Object.values(credentialByVendor)]) {
    const entry = await registry.get("key", prefixOf(secret) ?? "");
    const record = keyRecordSchema.parse(JSON.parse(entry?.value ?? ""));
    expect(isKeyOf(secret, record)).toBe(true);
    expect(entry?.value).not.toContain(secret);
  }
  expect(readFileSync(folder.devKey, "utf8")).toBe(`${devKey}\n`);
  expect(statSync(folder.devKey).mode & 0o777).toBe(0o600);
});

test("prepare() makes the dev key a tenant's that may debug, and one key for each vendor", async () => {
  const { devKey, credentialByVendor } = await start();
  const entry = await registry.get("key", prefixOf(devKey) ?? "");
  expect(JSON.parse(entry?.value ?? "")).toMatchObject({
    kind: "tenant",
    subject: "dev",
    isDebug: true,
  });
  expect(Object.keys(credentialByVendor)).toEqual(fleet.vendors.map(({ id }) => id));
});

test("prepare() again changes nothing", async () => {
  const first = await start();
  const before = await revisions();
  const second = await start();
  expect(await revisions()).toEqual(before);
  expect(second).toEqual({ ...first, isFirstStart: false });
  expect(first.isFirstStart).toBe(true);
});

test("prepare() makes a key anew where its file was deleted or damaged", async () => {
  const { devKey, operatorKey } = await start();
  rmSync(folder.devKey);
  writeFileSync(folder.operatorKey, "sk-none\n");
  const again = await start();
  expect([again.devKey === devKey, again.operatorKey === operatorKey]).toEqual([false, false]);
});

test("prepare() publishes a preset book that changed as the next version, from now on", async () => {
  await start();
  const [book, ...others] = fleet.priceBooks;
  const lines = book?.lines.map((line) => ({
    ...line,
    tiers: line.tiers.map((tier) => ({ ...tier, pricePicoPerToken: tier.pricePicoPerToken + 1n })),
  }));
  const dearer = [{ ...fleet.priceBooks[0], lines }, ...others] as Parties["priceBooks"];
  await start({ ...fleet, priceBooks: dearer });
  await start({ ...fleet, priceBooks: dearer });
  const versions = (await registry.list("price-book")).filter(({ key }) =>
    key.startsWith(`${book?.id}@`),
  );
  expect(versions.map(({ key }) => key)).toEqual([`${book?.id}@1`, `${book?.id}@2`]);
  expect(JSON.parse(versions[1]?.value ?? "")).toMatchObject({
    version: "2",
    effectiveFromUs: String(nowUs),
  });
});

test("prepare() leaves prices alone that the vendor has published itself", async () => {
  await start();
  const [preset] = fleet.priceBooks;
  const own = { ...(preset as PriceBook), version: 2n, effectiveFromUs: nowUs + 86_400_000_000n };
  await registry.set({
    kind: "price-book",
    key: `${own.id}@2`,
    value: toJsonString(PriceBookSchema, fromPriceBook({ ...own, source: "by hand" })),
    baseRevision: 0,
    author: own.vendor,
    comment: "",
  });
  await start();
  const keys = (await registry.list("price-book")).map(({ key }) => key);
  expect(keys.filter((key) => key.startsWith(`${own.id}@`))).toEqual([
    `${own.id}@1`,
    `${own.id}@2`,
  ]);
});

test("prepare() leaves an alias alone that people have set", async () => {
  await start();
  const shipped = await registry.get("alias", "sim-chat");
  const value = JSON.stringify({ model: "mine" });
  const baseRevision = shipped?.revision ?? 0;
  await registry.set({
    kind: "alias",
    key: "sim-chat",
    value,
    baseRevision,
    author: "me",
    comment: "",
  });
  await start();
  expect((await registry.get("alias", "sim-chat"))?.value).toBe(value);
});

test("prepare() leaves a policy alone that people have set", async () => {
  await start();
  const shipped = await registry.get("policy", "default");
  const value = JSON.stringify({ yaml: "mine", author: "me", comment: "" });
  await registry.set({
    kind: "policy",
    key: "default",
    value,
    baseRevision: shipped?.revision ?? 0,
    author: "me",
    comment: "",
  });
  await start();
  expect((await registry.get("policy", "default"))?.value).toBe(value);
});
