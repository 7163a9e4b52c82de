import type { UsageRecord } from "../../core/settlement/counting/usage.ts";
import { toConnectError } from "../../wire/errors.ts";

/** Of `<attempt>:<rev>`. Throws INVALID_ARGUMENT for any other id. */
export function revOf({ id, attempt }: UsageRecord): bigint {
  const rev = id.startsWith(`${attempt}:`) ? id.slice(attempt.length + 1) : "";
  if (/^\d{1,9}$/.test(rev)) return BigInt(rev);
  throw toConnectError("BAD_REQUEST", `record_id: expected ${attempt}:<rev>, found ${id}`, {
    metadata: { field: "record_id" },
  });
}
