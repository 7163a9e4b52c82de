import type { ContextValues } from "@connectrpc/connect";
import { identityKey, type Identity } from "../io/grpc-identity.ts";
import { toConnectError } from "../wire/errors.ts";

/** Throws UNAUTHENTICATED for a call that nobody vouches for. */
export function callerOf(values: ContextValues): Identity {
  const caller = values.get(identityKey);
  if (caller !== undefined) return caller;
  throw toConnectError("INVALID_API_KEY", "expected a key as bearer token, found none");
}

/** Steering is for operators. Throws PERMISSION_DENIED for others. */
export function requireOperator(values: ContextValues): Identity {
  return operator(callerOf(values));
}

export function operator(caller: Identity): Identity {
  if (caller.kind === "operator") return caller;
  throw toConnectError(
    "NOT_ALLOWED",
    `expected the key of an operator, found that of a ${caller.kind}`,
  );
}

/** A vendor speaks for itself alone; an operator may speak for any. Throws PERMISSION_DENIED. */
export function requireVendor(values: ContextValues, vendor: string): Identity {
  const caller = callerOf(values);
  if (caller.kind === "operator") return caller;
  if (caller.kind === "vendor" && caller.subject === vendor) return caller;
  throw toConnectError(
    "NOT_ALLOWED",
    `expected the key of vendor ${vendor}, found that of ${caller.kind} ${caller.subject}`,
  );
}
