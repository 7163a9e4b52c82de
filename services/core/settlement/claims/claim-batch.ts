import type { InstantUs, PairId } from "../../units.ts";
import { canonicalJson, type Sha256 } from "../canonical.ts";
import { claimTokenNames, toClaimText, type UsageClaim } from "./claim.ts";
import { noTokens, tokenClasses, type TokenClass, type Tokens } from "../counting/usage.ts";

/** What a detached signature of a batch says it is of. */
export const claimsJwsType = "tokengrid-claims";

/** Claims that are signed and submitted together. */
export const batchClaimsMax = 1_000;

/**
 * What a vendor signs: not the claims one by one but their digests, and the batch before. So no claim of a batch can
 * be changed later, none left out, and no batch of the stream either.
 */
export interface ClaimBatch {
  readonly pair: PairId;
  /** Dense within the pair, from 1. */
  readonly number: bigint;
  /** SHA-256 of the text of the batch before; empty for the first. */
  readonly prevHash: string;
  readonly claims: number;
  /** SHA-256 over the claims' digests in the order of submission. */
  readonly claimsDigest: string;
  readonly tokens: Tokens;
  readonly submittedUs: InstantUs;
}

/** The last batch that was accepted of a pair. */
export interface ChainHead {
  readonly number: bigint;
  readonly hash: string;
}

/** Why a whole batch is refused; `exists` is none: the same bytes came before. */
export type BatchFinding =
  | { readonly kind: "fits" }
  | { readonly kind: "exists" }
  | {
      readonly kind: "refused";
      readonly reason: "pair" | "chain" | "overlap" | "digest" | "size";
      /** What was expected and what was found. */
      readonly detail: string;
    };

/** `<pair>:<number>`. */
export function batchIdOf({ pair, number }: Pick<ClaimBatch, "pair" | "number">): string {
  return `${pair}:${number}`;
}

export function batchOf(
  claims: readonly UsageClaim[],
  options: {
    readonly pair: PairId;
    readonly head: ChainHead | undefined;
    readonly submittedUs: InstantUs;
    readonly sha256: Sha256;
  },
): ClaimBatch {
  const { pair, head, submittedUs, sha256 } = options;
  return {
    pair,
    number: (head?.number ?? 0n) + 1n,
    prevHash: head?.hash ?? "",
    claims: claims.length,
    claimsDigest: digestOfClaims(claims.map(toClaimText), sha256),
    tokens: sumOf(claims),
    submittedUs,
  };
}

export function toBatchText(batch: ClaimBatch): string {
  const tokens = tokenClasses.map((each) => [claimTokenNames[each], batch.tokens[each]]);
  return canonicalJson({
    type: "claim_batch",
    v: "1",
    batch_id: batchIdOf(batch),
    pair_id: batch.pair,
    number: batch.number,
    prev_hash: batch.prevHash === "" ? null : batch.prevHash,
    claims: String(batch.claims),
    claims_digest: batch.claimsDigest,
    ...(Object.fromEntries(tokens) as Record<string, bigint>),
    submitted_us: batch.submittedUs,
  });
}

/** Over the digests of the claims' texts, each on a line. */
export function digestOfClaims(texts: readonly string[], sha256: Sha256): string {
  return sha256(texts.map((text) => `${sha256(text)}\n`).join(""));
}

/**
 * Whether a batch follows on what was accepted. Its signature was checked before; what is wrong with single claims is
 * no matter of the batch.
 */
export function checkBatch(
  batch: ClaimBatch,
  options: {
    /** The pair whose key signed it. */
    readonly pair: PairId;
    readonly head: ChainHead | undefined;
    /** Of the batch that was accepted under its number; undefined if none was. */
    readonly acceptedHash: string | undefined;
    readonly claims: readonly UsageClaim[];
    readonly sha256: Sha256;
  },
): BatchFinding {
  const { pair, head, acceptedHash, claims, sha256 } = options;
  if (batch.pair !== pair) return refused("pair", pair, batch.pair);
  if (claims.length === 0 || claims.length > batchClaimsMax || claims.length !== batch.claims) {
    return refused("size", `${batch.claims} claims, 1 to ${batchClaimsMax}`, `${claims.length}`);
  }
  const found = digestOfClaims(claims.map(toClaimText), sha256);
  if (found !== batch.claimsDigest) return refused("digest", batch.claimsDigest, found);
  if (!isSame(sumOf(claims), batch.tokens)) {
    return refused("digest", "tokens that add up to those of the claims", "others");
  }
  const hash = sha256(toBatchText(batch));
  if (acceptedHash !== undefined) {
    return acceptedHash === hash
      ? { kind: "exists" }
      : refused("overlap", `batch ${batch.number} as ${acceptedHash}`, hash);
  }
  const next = (head?.number ?? 0n) + 1n;
  if (batch.number !== next) return refused("chain", `batch ${next}`, `${batch.number}`);
  const before = head?.hash ?? "";
  if (batch.prevHash !== before) return refused("chain", orNone(before), orNone(batch.prevHash));
  return { kind: "fits" };
}

/** What became of one claim of a batch. */
export type ClaimStatus = "accepted" | "exists" | "conflict" | "refused";

/** Same id, same bytes: nothing happens. Same id, other bytes: what was accepted first stays. */
export function statusOf(hash: string, known: string | undefined): Exclude<ClaimStatus, "refused"> {
  if (known === undefined) return "accepted";
  return known === hash ? "exists" : "conflict";
}

function sumOf(claims: readonly UsageClaim[]): Tokens {
  const sum: Record<TokenClass, bigint> = { ...noTokens };
  for (const { tokens } of claims) for (const each of tokenClasses) sum[each] += tokens[each];
  return sum;
}

function isSame(a: Tokens, b: Tokens): boolean {
  return tokenClasses.every((each) => a[each] === b[each]);
}

function orNone(hash: string): string {
  return hash === "" ? "no batch before" : `previous batch ${hash}`;
}

function refused(
  reason: Extract<BatchFinding, { kind: "refused" }>["reason"],
  expected: string,
  found: string,
): BatchFinding {
  return { kind: "refused", reason, detail: `expected ${expected}, found ${found}` };
}
