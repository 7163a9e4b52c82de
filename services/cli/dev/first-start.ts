import { join } from "node:path";
import { fromJsonString, toJson, toJsonString } from "@bufbuild/protobuf";
import type { PriceBook } from "../../core/settlement/pricing/price-book.ts";
import { defaultPolicyYaml } from "../../io/policy-file.ts";
import type { Registry } from "../../io/registry.ts";
import { PriceBookSchema } from "../../wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook } from "../../wire/price.ts";
import type { DataFolder } from "./data-folder.ts";
import { presetAuthor, writeEntry } from "./entries.ts";
import { ensureKey } from "./keys.ts";

/** The part of the fleet that the registry has to know before its pools register. */
export interface Parties {
  readonly vendors: readonly { readonly id: string; readonly name: string }[];
  readonly priceBooks: readonly PriceBook[];
  /** What tenants ask for → the model that is served. */
  readonly aliases: ReadonlyMap<string, string>;
}

export interface Prepared {
  readonly devKey: string;
  readonly operatorKey: string;
  readonly credentialByVendor: Readonly<Record<string, string>>;
  /** The registry was empty. */
  readonly isFirstStart: boolean;
}

export const devTenant = "dev";

/** Brings the registry and the key files to where `dev` can run. Doing it again changes nothing. */
export async function prepare(options: {
  readonly folder: DataFolder;
  readonly registry: Registry;
  readonly parties: Parties;
  readonly nowUs: bigint;
}): Promise<Prepared> {
  const { folder, registry, parties, nowUs } = options;
  const isFirstStart = (await registry.get("tenant", devTenant)) === undefined;
  await writeEntry(registry, { kind: "tenant", key: devTenant, value: { name: "Development" } });
  for (const { id, name } of parties.vendors) {
    await writeEntry(registry, { kind: "vendor", key: id, value: { name } });
  }
  for (const [alias, model] of parties.aliases) {
    await writeEntry(registry, { kind: "alias", key: alias, value: { model } });
  }
  for (const book of parties.priceBooks) await publish(registry, book, nowUs);
  await ensurePolicy(registry);
  return { ...(await ensureKeys(folder, registry, parties)), isFirstStart };
}

async function ensureKeys(
  folder: DataFolder,
  registry: Registry,
  { vendors }: Parties,
): Promise<Omit<Prepared, "isFirstStart">> {
  const credentialByVendor: Record<string, string> = {};
  for (const { id } of vendors) {
    const path = join(folder.keys, `vendor-${id}.key`);
    credentialByVendor[id] = await ensureKey({ registry, path, kind: "vendor", subject: id });
  }
  return {
    devKey: await ensureKey({
      registry,
      path: folder.devKey,
      kind: "tenant",
      subject: devTenant,
      isDebug: true,
    }),
    operatorKey: await ensureKey({
      registry,
      path: folder.operatorKey,
      kind: "operator",
      subject: "operator",
    }),
    credentialByVendor,
  };
}

/**
 * The shipped policy is put in force at the first start, and replaced by a newer shipped one as long as nobody else
 * has set another.
 */
async function ensurePolicy(registry: Registry): Promise<void> {
  const current = await registry.get("policy", "default");
  if (current !== undefined && current.author !== presetAuthor) return;
  await writeEntry(registry, {
    kind: "policy",
    key: "default",
    value: { yaml: defaultPolicyYaml(), author: presetAuthor, comment: "as shipped" },
  });
}

/**
 * A preset book that says something else than its newest version becomes the next version, in force from now; but
 * not where the vendor has published a version of its own.
 */
async function publish(registry: Registry, preset: PriceBook, nowUs: bigint): Promise<void> {
  const newest = await newestVersion(registry, preset.id);
  if (newest === undefined) return write(registry, preset);
  if (newest.author !== presetAuthor) return;
  const asNewest = { ...preset, version: newest.version, effectiveFromUs: newest.effectiveFromUs };
  if (textOf(asNewest) === newest.text) return;
  await write(registry, { ...preset, version: newest.version + 1n, effectiveFromUs: nowUs });
}

interface Version {
  readonly version: bigint;
  readonly effectiveFromUs: bigint;
  readonly text: string;
  readonly author: string;
}

async function newestVersion(registry: Registry, bookId: string): Promise<Version | undefined> {
  const entries = await registry.list("price-book");
  const versions = entries
    .filter(({ key }) => key.startsWith(`${bookId}@`))
    .map(({ value, author }) => {
      const book = fromJsonString(PriceBookSchema, value);
      const { version, effectiveFromUs } = book;
      return { version, effectiveFromUs, author, text: toJsonString(PriceBookSchema, book) };
    });
  return versions.toSorted((a, b) => (a.version < b.version ? 1 : -1))[0];
}

async function write(registry: Registry, book: PriceBook): Promise<void> {
  await writeEntry(registry, {
    kind: "price-book",
    key: `${book.id}@${book.version}`,
    value: toJson(PriceBookSchema, fromPriceBook(book)),
  });
}

function textOf(book: PriceBook): string {
  return toJsonString(PriceBookSchema, fromPriceBook(book));
}
