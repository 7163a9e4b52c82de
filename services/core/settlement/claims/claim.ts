import type { AttemptId, InstantUs, ModelId, PoolId, VendorId } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import { tokenClasses, type TokenClass, type Tokens } from "../counting/usage.ts";

/** An attempt as the vendor counted it. A witness beside ours: nothing is paid because of it alone. */
export interface UsageClaim {
  /** `<vendor>:<attempt>:<rev>`. */
  readonly id: string;
  /** As the gateway named it in `x-attempt-id`; `~…` where an import had none. */
  readonly attempt: AttemptId;
  readonly rev: bigint;
  readonly pool: PoolId;
  readonly model: ModelId;
  readonly tokens: Tokens;
  /** SHA-256 of the version of the price book, lower-case hex. */
  readonly priceHash: string;
  readonly slot: string;
  readonly openedUs: InstantUs;
  readonly closedUs: InstantUs;
}

/** What is wrong with a claim, and where. */
export interface ClaimMistake {
  /** `claims[3].in_uncached`. */
  readonly place: string;
  /** What was expected and what was found. */
  readonly message: string;
}

/** As records, claims and columns of imports name them. */
export const claimTokenNames: Readonly<Record<TokenClass, string>> = {
  uncachedInput: "in_uncached",
  cacheRead: "in_cache_read",
  cacheWrite: "in_cache_write",
  response: "out_response",
  reasoning: "out_reasoning",
};

/** Tokens of one class of one claim. More is a defect, whatever the contract. */
const claimTokensMax = 100_000_000n;
/** How far a vendor's clock may be ahead of ours. */
const aheadUsMax = 3_600_000_000n;
const revMax = 999_999_999n;

/** Ids are compared byte by byte by every party, so they are ASCII. */
const name = /^[\x21-\x7e]{1,128}$/;
/** Its revision follows after a colon. */
const attemptName = /^[\x21-\x39\x3b-\x7e]{1,128}$/;
const digest = /^[0-9a-f]{64}$/;

export function claimIdOf(vendor: VendorId, attempt: AttemptId, rev: bigint): string {
  return `${vendor}:${attempt}:${rev}`;
}

/** An import may have no attempts: such a claim is matched by what it looks like, never by its name. */
export function isWithoutAttempt(attempt: string): boolean {
  return attempt.startsWith("~");
}

/** The bytes that are hashed and signed. */
export function toClaimText(claim: UsageClaim): string {
  const tokens = tokenClasses.map((each) => [claimTokenNames[each], claim.tokens[each]]);
  return canonicalJson({
    type: "claim",
    v: "1",
    claim_id: claim.id,
    attempt_id: claim.attempt,
    rev: claim.rev,
    pool_id: claim.pool,
    model_id: claim.model,
    ...(Object.fromEntries(tokens) as Record<string, bigint>),
    price_hash: claim.priceHash,
    slot: claim.slot,
    opened_us: claim.openedUs,
    closed_us: claim.closedUs,
  });
}

/** The claim again; only for texts that `toClaimText` wrote. */
export function fromClaimText(text: string): UsageClaim {
  const members = JSON.parse(text) as Readonly<Record<string, string>>;
  const known = (member: string): string => members[member] ?? "";
  const tokens = tokenClasses.map((each) => [each, BigInt(known(claimTokenNames[each]))]);
  return {
    id: known("claim_id"),
    attempt: known("attempt_id") as AttemptId,
    rev: BigInt(known("rev")),
    pool: known("pool_id") as PoolId,
    model: known("model_id") as ModelId,
    tokens: Object.fromEntries(tokens) as Tokens,
    priceHash: known("price_hash"),
    slot: known("slot"),
    openedUs: BigInt(known("opened_us")),
    closedUs: BigInt(known("closed_us")),
  };
}

/** What a claim must be to be looked at. All that is wrong is said, not the first alone. */
export function checkClaim(
  claim: UsageClaim,
  options: { readonly vendor: VendorId; readonly nowUs: InstantUs; readonly place: string },
): ClaimMistake[] {
  const { vendor, nowUs, place } = options;
  const mistakes: ClaimMistake[] = [];
  const expect = (isFit: boolean, field: string, message: string): void => {
    if (!isFit) mistakes.push({ place: `${place}.${field}`, message });
  };
  const { id, attempt, rev, openedUs, closedUs, priceHash, slot } = claim;
  const expectedId = claimIdOf(vendor, attempt, rev);
  expect(id === expectedId, "claim_id", `expected ${expectedId}, found ${id}`);
  const names = { pool_id: claim.pool, model_id: claim.model, slot };
  const characters = "expected 1 to 128 characters of ASCII without blanks";
  expect(
    attemptName.test(attempt),
    "attempt_id",
    `${characters} and colons, found ${quoted(attempt)}`,
  );
  for (const [field, text] of Object.entries(names)) {
    expect(name.test(text), field, `${characters}, found ${quoted(text)}`);
  }
  expect(rev >= 0n && rev <= revMax, "rev", `expected 0 to ${revMax}, found ${rev}`);
  for (const each of tokenClasses) {
    const found = claim.tokens[each];
    const message = `expected 0 to ${claimTokensMax} tokens, found ${found}`;
    expect(found >= 0n && found <= claimTokensMax, claimTokenNames[each], message);
  }
  const hashMessage = `expected SHA-256 as 64 digits of lower-case hex, found ${quoted(priceHash)}`;
  expect(digest.test(priceHash), "price_hash", hashMessage);
  const order = `expected at least opened_us ${openedUs}, found ${closedUs}`;
  expect(closedUs >= openedUs, "closed_us", order);
  const latest = nowUs + aheadUsMax;
  const future = `expected 0 < opened_us <= ${latest}, found ${openedUs}`;
  expect(openedUs > 0n && openedUs <= latest, "opened_us", future);
  return mistakes;
}

function quoted(text: string): string {
  return JSON.stringify(text);
}
