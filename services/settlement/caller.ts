import type { ContextValues } from "@connectrpc/connect";
import type { PairId } from "../core/units.ts";
import { identityKey, type Identity } from "../io/grpc-identity.ts";
import { toConnectError } from "../wire/errors.ts";

/** Records and whole books are the operator's. Throws PERMISSION_DENIED for others. */
export function requireOperator(values: ContextValues): void {
  const { kind } = callerOf(values);
  if (kind !== "operator") throw denied(`expected the key of an operator, found that of a ${kind}`);
}

/** The vendor that a caller may see; undefined for an operator, who sees all. */
export function vendorOf(values: ContextValues): string | undefined {
  const { kind, subject } = callerOf(values);
  if (kind === "operator") return undefined;
  if (kind === "vendor") return subject;
  throw denied(`expected the key of an operator or a vendor, found that of a ${kind}`);
}

/** The pair that a caller may see; undefined for an operator, who sees all. */
export function pairOf(values: ContextValues): PairId | undefined {
  const { kind, subject } = callerOf(values);
  return kind === "operator" ? undefined : (`${kind}:${subject}` as PairId);
}

/** Vendors, tenants, owners of models and channels see what is their own. */
export function requirePair(values: ContextValues, pair: PairId): void {
  const own = pairOf(values);
  if (own !== undefined && own !== pair) {
    throw denied(`expected the key of ${pair}, found that of ${own}`);
  }
}

/** Name of an operator, for what is done in its name. */
export function operatorName(values: ContextValues): string {
  requireOperator(values);
  return callerOf(values).subject;
}

/** A vendor sees its own statements alone. */
export function requireVendor(values: ContextValues, vendor: string): void {
  const own = vendorOf(values);
  if (own !== undefined && own !== vendor) {
    throw denied(`expected the key of vendor ${vendor}, found that of vendor ${own}`);
  }
}

/** The party that a caller speaks for: the operator is `internal`. */
export function partyOf(values: ContextValues): PairId | "internal" {
  const { kind, subject } = callerOf(values);
  return kind === "operator" ? "internal" : (`${kind}:${subject}` as PairId);
}

function callerOf(values: ContextValues): Identity {
  const caller = values.get(identityKey);
  if (caller !== undefined) return caller;
  throw toConnectError("INVALID_API_KEY", "expected a key as bearer token, found none");
}

function denied(message: string) {
  return toConnectError("NOT_ALLOWED", message);
}

/** The tenant that a caller may see; undefined for an operator, who sees all. Vendors see none. */
export function tenantOf(values: ContextValues): string | undefined {
  const { kind, subject } = callerOf(values);
  if (kind === "operator") return undefined;
  if (kind === "tenant") return subject;
  throw denied(`expected the key of an operator or a tenant, found that of a ${kind}`);
}
