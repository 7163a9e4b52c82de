import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { createKey, isKeyOf, type KeyKind, keyRecordSchema, prefixOf } from "../../io/keys.ts";
import { checked } from "../../io/config.ts";
import type { Registry } from "../../io/registry.ts";
import { writeEntry } from "./entries.ts";

/**
 * The secret in a file and its hash in the registry belong together: where one of the two is missing, both are made
 * anew, so that a folder from which either was deleted heals at the next start.
 */
export async function ensureKey(options: {
  readonly registry: Registry;
  readonly path: string;
  readonly kind: KeyKind;
  readonly subject: string;
  readonly isDebug?: boolean;
}): Promise<string> {
  const { registry, path, kind, subject, isDebug = false } = options;
  const kept = existsSync(path) ? readFileSync(path, "utf8").trim() : "";
  if (await isValid(registry, kept)) return kept;
  const nowUs = BigInt(Date.now()) * 1_000n;
  const { secret, record } = createKey({ kind, subject, isDebug, nowUs });
  await writeEntry(registry, { kind: "key", key: record.prefix, value: record });
  writeFileSync(path, `${secret}\n`, { mode: 0o600 });
  return secret;
}

async function isValid(registry: Registry, secret: string): Promise<boolean> {
  const prefix = prefixOf(secret);
  if (prefix === undefined) return false;
  const entry = await registry.get("key", prefix);
  if (entry === undefined) return false;
  return isKeyOf(
    secret,
    checked(`registry key ${prefix}`, JSON.parse(entry.value), keyRecordSchema),
  );
}
