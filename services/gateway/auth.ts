import { aliasSchema, type AliasRecord } from "../io/aliases.ts";
import { isKeyOf, keyRecordSchema, prefixOf, type KeyRecord } from "../io/keys.ts";
import type { Log } from "../io/log.ts";
import type { Entry, Registry } from "../io/registry.ts";
import { Refusal } from "./errors.ts";
import { namedModel, type NamedModel } from "./model-names.ts";

/** Where this gateway looks up who asks, and which model is meant. */
export interface Tenancy {
  /** Throws `Refusal` if no key that may be used here is given. */
  keyOf(headers: CredentialHeaders): KeyRecord;
  /** The models behind the name; the name itself where there is no alias. Throws `Refusal` if the key may use none. */
  modelOf(name: string, key: KeyRecord): NamedModel;
  /** All aliases, sorted. */
  readonly aliases: ReadonlyMap<string, AliasRecord>;
  isRevoked(headers: CredentialHeaders): boolean;
}

export interface CredentialHeaders {
  readonly authorization?: string | undefined;
  readonly "x-api-key"?: string | string[] | undefined;
}

/**
 * Keeps the registry's keys and aliases in memory. A key that is revoked there is refused here as soon as the
 * registry's watch says so. Resolves when what was there already is known.
 */
export async function openTenancy(options: {
  readonly registry: Registry;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<Tenancy & { readonly watching: Promise<void> }> {
  const { registry, log, signal } = options;
  const directory = new TenancyDirectory(log);
  const keys = await registry.list("key");
  const aliases = await registry.list("alias");
  for (const entry of [...keys, ...aliases]) directory.apply(entry);
  // Of the list that was read first: what changed while the other was read comes again.
  const revision = keys.reduce((newest, entry) => Math.max(newest, entry.revision), 0);
  const watch = async (): Promise<void> => {
    for await (const entry of registry.watch(revision, signal)) directory.apply(entry);
  };
  const watching = watch().catch((error: unknown) => {
    if (!signal.aborted) log.error({ error: String(error) }, "the registry's watch ended");
  });
  return Object.assign(directory, { watching });
}

class TenancyDirectory implements Tenancy {
  readonly #log: Log;
  readonly #keyByPrefix = new Map<string, KeyRecord>();
  readonly #aliases = new Map<string, AliasRecord>();

  constructor(log: Log) {
    this.#log = log;
  }

  get aliases(): ReadonlyMap<string, AliasRecord> {
    return this.#aliases;
  }

  apply({ kind, key, value, isDeleted }: Entry): void {
    if (kind !== "key" && kind !== "alias") return;
    const byKey = kind === "key" ? this.#keyByPrefix : this.#aliases;
    byKey.delete(key);
    if (isDeleted) return;
    try {
      if (kind === "key") this.#keyByPrefix.set(key, keyRecordSchema.parse(JSON.parse(value)));
      else this.#aliases.set(key, aliasSchema.parse(JSON.parse(value)));
    } catch (error) {
      this.#log.error({ kind, key, error: String(error) }, "unreadable entry of the registry");
    }
  }

  keyOf(headers: CredentialHeaders): KeyRecord {
    const secret = secretIn(headers);
    const record = this.#recordOf(secret);
    if (record === undefined || !isKeyOf(secret, record)) {
      const isRevoked = record?.isRevoked === true;
      throw new Refusal("INVALID_API_KEY", "the API key is unknown or revoked", {
        ...(isRevoked && { rejectedFor: "key_revoked" }),
      });
    }
    if (record.kind === "tenant") return record;
    throw new Refusal("INVALID_API_KEY", `expected a tenant's API key, found a ${record.kind}'s`);
  }

  isRevoked(headers: CredentialHeaders): boolean {
    try {
      return this.#recordOf(secretIn(headers))?.isRevoked === true;
    } catch (error) {
      if (error instanceof Refusal) return false;
      throw error;
    }
  }

  modelOf(name: string, key: KeyRecord): NamedModel {
    return namedModel(name, this.#aliases.get(name), key);
  }

  #recordOf(secret: string): KeyRecord | undefined {
    const prefix = prefixOf(secret);
    return prefix === undefined ? undefined : this.#keyByPrefix.get(prefix);
  }
}

/** Throws `Refusal` if there is none, or two that differ. */
function secretIn(headers: CredentialHeaders): string {
  const bearer = /^Bearer +(\S+)$/i.exec(headers.authorization ?? "")?.[1];
  const given = headers["x-api-key"];
  const plain = typeof given === "string" ? given : undefined;
  if (bearer !== undefined && plain !== undefined && bearer !== plain) {
    throw new Refusal("INVALID_API_KEY", "authorization and x-api-key name different keys");
  }
  const secret = bearer ?? plain;
  if (secret !== undefined) return secret;
  throw new Refusal("INVALID_API_KEY", "expected an API key as authorization: Bearer, found none");
}
