import { defaultContract } from "../core/settlement/terms/contract.ts";
import { settleCounts } from "../core/settlement/counting/count-rule.ts";
import { noTokens, type Tokens } from "../core/settlement/counting/usage.ts";
import type { GatewayId } from "../core/units.ts";
import { Refusal } from "./errors.ts";
import type { OutputAsk, QuotaKeeper, QuotaKey, Refused, Reservation } from "./quota.ts";
import type { UnnumberedRecord } from "./spool.ts";

/** Room for an answer out of the tenant's packages; undefined where nobody keeps quota. Throws `Refusal`. */
export async function reserve(
  quota: QuotaKeeper | undefined,
  key: QuotaKey,
  ask: OutputAsk,
): Promise<Reservation | undefined> {
  if (quota === undefined) return undefined;
  const answer = await quota.reserve(key, ask);
  if (answer.kind === "refused") throw quotaRefusal(answer);
  return answer;
}

/** Who has no quota left must buy some; who cannot be told may come again. */
export function quotaRefusal({ cause, reason }: Refused): Refusal {
  if (cause === "exhausted")
    return new Refusal("QUOTA_EXHAUSTED", `the quota is used up: ${reason}`);
  return new Refusal("METERING_UNAVAILABLE", `the quota cannot be looked up: ${reason}`);
}

/** Numbers that only the spool gives. */
const unnumbered = { gateway: "" as GatewayId, epoch: 0n, producerSeq: 0n };

/**
 * What a request used of its quota, as far as it is known when its answer ends: what the house's contract would sell of
 * the record. The ledger draws by the tenant's own.
 */
export function usedBy(record: UnnumberedRecord | undefined): Tokens {
  if (record === undefined || !record.isWinner) return noTokens;
  const usage = settleCounts({ ...record, ...unnumbered }, defaultContract);
  if (usage.kind === "settled") return usage.sold;
  const { input = 0n, output = 0n } = record.gatewayCounts;
  return { ...noTokens, uncachedInput: input, response: output };
}
