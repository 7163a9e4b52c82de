import type { InstantUs, PairId } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import { claimTokenNames } from "./claim.ts";
import { toBatchText, type ClaimBatch } from "./claim-batch.ts";
import { tokenClasses, type Tokens } from "../counting/usage.ts";

/** A batch as the ledger took it: the document `claim-batch`. */
export interface AcceptedBatch {
  readonly text: string;
  readonly jws: string;
  readonly receivedUs: InstantUs;
  /** Claims that were given back, with why, in the order of their ids. */
  readonly refused: readonly { readonly claim: string; readonly reason: string }[];
}

/** What is wrong with the text of a batch, or the batch. Only the one canonical text is taken. */
export function parseBatch(text: string): ClaimBatch | string {
  const members = parsed(text);
  if (members === undefined) return "expected a JSON object of texts";
  const known = (name: string): string => members[name] ?? "";
  const numbers = [...Object.values(claimTokenNames), "number", "claims", "submitted_us"];
  const wrong = numbers.find((name) => !/^\d{1,18}$/.test(known(name)));
  if (wrong !== undefined)
    return `${wrong}: expected digits, found ${JSON.stringify(known(wrong))}`;
  const tokens = tokenClasses.map((each) => [each, BigInt(known(claimTokenNames[each]))]);
  const batch: ClaimBatch = {
    pair: known("pair_id") as PairId,
    number: BigInt(known("number")),
    prevHash: known("prev_hash"),
    claims: Number(known("claims")),
    claimsDigest: known("claims_digest"),
    tokens: Object.fromEntries(tokens) as Tokens,
    submittedUs: BigInt(known("submitted_us")),
  };
  return toBatchText(batch) === text ? batch : "expected the canonical text of a batch";
}

export function toAcceptedText({ text, jws, receivedUs, refused }: AcceptedBatch): string {
  return canonicalJson({
    type: "claim_batch_accepted",
    v: "1",
    batch: text,
    jws,
    received_us: receivedUs,
    refused: refused.map(({ claim, reason }) => ({ claim_id: claim, reason })),
  });
}

interface AcceptedMembers {
  readonly batch: string;
  readonly jws: string;
  readonly received_us: string;
  readonly refused: readonly { readonly claim_id: string; readonly reason: string }[];
}

/** Only for texts that `toAcceptedText` wrote. */
export function fromAcceptedText(body: string): AcceptedBatch {
  const { batch, jws, received_us, refused } = JSON.parse(body) as AcceptedMembers;
  return {
    text: batch,
    jws,
    receivedUs: BigInt(received_us),
    refused: refused.map(({ claim_id, reason }) => ({ claim: claim_id, reason })),
  };
}

function parsed(text: string): Readonly<Record<string, string>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return undefined;
    const members = Object.entries(value).map(
      ([name, each]: [string, unknown]) => [name, each === null ? "" : each] as const,
    );
    return members.every(isText) ? Object.fromEntries(members) : undefined;
  } catch {
    return undefined;
  }
}

function isText(member: readonly [string, unknown]): member is readonly [string, string] {
  return typeof member[1] === "string";
}
