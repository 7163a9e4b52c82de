import { createContextKey, type ContextKey } from "@connectrpc/connect";
import { isKeyOf, keyRecordSchema, prefixOf, type KeyKind, type KeyRecord } from "./keys.ts";
import type { Log } from "./log.ts";
import type { Registry } from "./registry.ts";

/** Who is calling, proven by a key. */
export interface Identity {
  readonly kind: KeyKind;
  /** Id of the tenant, vendor, owner of models or channel, or the operator's name. */
  readonly subject: string;
}

/** Undefined: the key is unknown, revoked or no key at all. */
export type Identify = (secret: string) => Identity | undefined;

/** The caller's identity in the context of a call. Every call that reaches a handler has one. */
export const identityKey: ContextKey<Identity | undefined> = createContextKey<Identity | undefined>(
  undefined,
  { description: "identity" },
);

/** Who calls without a key on a server that only this machine can reach. */
export const localOperator: Identity = { kind: "operator", subject: "local" };

/**
 * Keeps the registry's keys in memory, so that a call is never held up by a look-up and a revoked key is refused as
 * soon as the registry says so. Resolves when all keys that exist are known.
 */
export async function openIdentities(options: {
  readonly registry: Registry;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<Identify> {
  const { registry, log, signal } = options;
  const records = new Map<string, KeyRecord>();
  let revision = 0;
  const learn = (key: string, value: string, isDeleted: boolean): void => {
    const record = isDeleted ? undefined : parsed(value);
    if (record === undefined) records.delete(key);
    else records.set(key, record);
    if (record === undefined && !isDeleted) log.error({ key }, "a key record cannot be read");
  };
  for (const entry of await registry.list("key")) {
    learn(entry.key, entry.value, entry.isDeleted);
    revision = Math.max(revision, entry.revision);
  }
  const follow = async (): Promise<void> => {
    for await (const { kind, key, value, isDeleted } of registry.watch(revision, signal)) {
      if (kind === "key") learn(key, value, isDeleted);
    }
  };
  follow().catch((error: unknown) => log.error({ error }, "keys are no longer followed"));
  return (secret) => {
    const record = records.get(prefixOf(secret) ?? "");
    if (record === undefined || !isKeyOf(secret, record)) return undefined;
    return { kind: record.kind, subject: record.subject };
  };
}

function parsed(value: string): KeyRecord | undefined {
  let data: unknown;
  try {
    data = JSON.parse(value);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  return keyRecordSchema.safeParse(data).data;
}
