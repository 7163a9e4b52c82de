import type { InstantUs, Nano, PairId } from "../../units.ts";
import type { TimeZone } from "../statements/period.ts";

/**
 * What makes a document binding:
 * - `required`: a signature of each party, by a key that is on file.
 * - `credential`: for a party without a key on file, that it published with its own credential. It is kept as such, and
 *   counts for nothing once the party has a key.
 */
export const signatureRules = ["required", "credential"] as const;
export type SignatureRule = (typeof signatureRules)[number];

/** What becomes of a question that a party does not answer in time: the silent party loses, or nothing is decided. */
export const silenceRules = ["silent-party-loses", "stays-open"] as const;
export type SilenceRule = (typeof silenceRules)[number];

/** What contracts with all kinds of parties have. One in force per pair, versioned and effective-dated. */
export interface PairTerms {
  readonly id: string;
  readonly version: bigint;
  readonly pair: PairId;
  readonly effectiveFromUs: InstantUs;
  /** Excluded. Undefined: until the next version. */
  readonly effectiveToUs: InstantUs | undefined;
  /** The period over which tiers and rounding run, and which is paid. */
  readonly period: "daily" | "monthly";
  readonly timeZone: TimeZone;
  /** After a statement, for opening a dispute. */
  readonly openDays: number;
  /** For acknowledging it. */
  readonly ackDays: number;
  /** For deciding it. */
  readonly resolveDays: number;
  readonly silenceRule: SilenceRule;
  /** Whose signatures make a checkpoint of the pair's log a witnessed one: verifier keys, `name+id+key`. */
  readonly witnessKeys: readonly string[];
  /** How many of them it takes. */
  readonly quorum: number;
  /** What is owed at least for a period; settled at its close. Undefined: nothing is committed. */
  readonly minimumNano: Nano | undefined;
  /** Off everything rated in a period, in millionths, as an exact fraction at its close. */
  readonly discountPpm: bigint;
  readonly signatures: SignatureRule;
}

/** Whatever nobody agreed otherwise. In force with vendors that have signed nothing, and with tenants that buy by a list. */
export const defaultPairTerms: PairTerms = {
  id: "house-default",
  version: 1n,
  pair: "vendor:*" as PairId,
  effectiveFromUs: 0n,
  effectiveToUs: undefined,
  period: "daily",
  timeZone: "Asia/Shanghai",
  openDays: 45,
  ackDays: 7,
  resolveDays: 30,
  silenceRule: "silent-party-loses",
  witnessKeys: [],
  quorum: 0,
  minimumNano: undefined,
  discountPpm: 0n,
  // Nobody signed the house's own terms: a contract that somebody signs requires signatures unless it says otherwise.
  signatures: "credential",
};
