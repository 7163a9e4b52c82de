import type { Counts } from "./bounds.ts";
import type { TenantPays } from "../terms/contract.ts";
import { noTokens, type Tokens, type UsageRecord } from "./usage.ts";

/**
 * What of the settled tokens the tenant pays for: never more of any class, and none of an attempt whose bytes did not
 * serve it. Parts of an answer go by bytes, rounded down. Reasoning comes first, so what was cut off is response first.
 */
export function soldOf(
  record: UsageRecord,
  { tokens, grace }: { readonly tokens: Tokens } & Pick<Counts, "grace">,
  pays: TenantPays,
): Tokens {
  const isCheck = record.role === "audit" || record.role === "canary";
  if (!record.isWinner || isCheck || pays === "nothing") return noTokens;
  if (pays === "counts") return tokens;
  if (pays === "delivered" && record.evidence.deliveredBytes === 0n) return noTokens;
  const output = tokens.response + tokens.reasoning;
  const seen = output > grace ? output - grace : 0n;
  const [part, whole] = partOf(record, pays);
  const sold = part >= whole ? seen : (seen * part) / whole;
  const reasoning = sold < tokens.reasoning ? sold : tokens.reasoning;
  return { ...tokens, reasoning, response: sold - reasoning };
}

/** Bytes that count, and of how many. */
function partOf(
  { evidence, sentBytes, bytesAtCancel }: UsageRecord,
  pays: "generated" | "delivered",
): readonly [part: bigint, whole: bigint] {
  const text = textBytesOf(evidence);
  // What was drained after the cancel is not the tenant's.
  if (pays === "generated") return [bytesAtCancel ?? text, text];
  // More bytes than the text has can be taken without all of it, but fewer cannot hold it.
  return [evidence.deliveredBytes, sentBytes ?? text];
}

export function textBytesOf({
  outBytes,
  reasoningBytes,
  toolBytes,
}: UsageRecord["evidence"]): bigint {
  return outBytes + reasoningBytes + toolBytes;
}
