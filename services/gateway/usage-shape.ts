import { defaultContract } from "../core/settlement/contract.ts";
import { isObject, type JsonObject } from "./json-value.ts";

const tokensMax = Number(defaultContract.attemptTokensMax);

/**
 * True of a member `usage` that is there and says what no count is: a negative one, a fraction, a word, more than any
 * attempt has. It is not shown to clients, and settlement looks at it before anybody is paid.
 */
export function isMalformedUsage(usage: unknown): boolean {
  if (usage === undefined || usage === null) return false;
  if (!isObject(usage) || !areCounts(usage)) return true;
  for (const key in usage) {
    const detail = usage[key];
    if (isObject(detail) && !areCounts(detail)) return true;
  }
  return false;
}

/** Engines also say times and rates, which may be what they like. */
function areCounts(object: JsonObject): boolean {
  for (const key in object) if (key.endsWith("_tokens") && !isCount(object[key])) return false;
  return true;
}

function isCount(value: unknown): boolean {
  if (value === null) return true;
  return (
    typeof value === "number" && Number.isSafeInteger(value) && value >= 0 && value <= tokensMax
  );
}
