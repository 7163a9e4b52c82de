import { canonicalJson, type Canonical } from "../canonical.ts";
import { parseCheckpoint } from "../proof/checkpoint.ts";
import { signersOf } from "../proof/cosignature.ts";
import { verifyDetached, type JwsHeader } from "../proof/jws.ts";
import { makeStatement } from "./make-statement.ts";
import { Frontier, type Hash } from "../proof/merkle.ts";
import { parseNote, type PublicKey } from "../proof/note.ts";
import { daysIn } from "./period.ts";
import { bookedByLeaf, BookingSum, differences, statementLeafText } from "./statement-leaves.ts";
import { fromStatementText } from "./statement-text.ts";
import type { Statement } from "./statement.ts";
import { hasQuorum, type TlogPolicy } from "../proof/tlog-policy.ts";
import { parseTlogProof, verifyTlogProof } from "../proof/tlog-proof.ts";
import type { Means } from "../proof/witness.ts";
import type { PairId } from "../../units.ts";

/** What a detached signature of a statement says it is of. */
export const statementJwsType = "tokengrid-statement";

/** One thing that was looked at. */
export interface Check {
  readonly name: string;
  readonly isGood: boolean;
  readonly detail: string;
}

/** What came with a statement. */
export interface Evidence {
  /** Detached JWS. */
  readonly signatures: readonly string[];
  /** Text of the statement before. */
  readonly previous: string | undefined;
  /** Signed note of the log at the statement's size. */
  readonly checkpoint: string | undefined;
  /** C2SP tlog-proof that the statement is in the log. */
  readonly proof: string | undefined;
}

/** Whose key it is. */
export interface PartyPublicKey {
  readonly party: PairId | "operator";
  readonly publicKey: PublicKey;
}

/** Whom the reader believes. */
export interface Trust {
  readonly keyOf: (kid: string, statement: Statement) => PartyPublicKey | undefined;
  /** Undefined: no log's key is given. */
  readonly policy: TlogPolicy | undefined;
}

/** A statement with what was found, or what is wrong with its bytes. */
export interface Checked {
  readonly statement: Statement | undefined;
  readonly checks: readonly Check[];
  /** Whether somebody whom the reader believes has signed the log's root that the statement names. */
  readonly isRootSigned: boolean;
  /** Names of what did not come with it. */
  readonly unchecked: readonly Unchecked[];
}

export type Unchecked = "counterparty" | "chain" | "checkpoint" | "proof";

/**
 * Checks a statement with public keys and nothing else. That its bytes hold together anybody can bring about: it is the operator's
 * word only with the operator's signature, or with a proof that it is in the operator's log.
 */
export function checkStatement(
  text: string,
  evidence: Evidence,
  {
    trust,
    means,
  }: { readonly trust: Trust; readonly means: Means & { sha256(text: string): Hash } },
): Checked {
  const statement = parsed(text, (each) => means.sha256(each));
  if (typeof statement === "string") {
    return {
      ...{ statement: undefined, isRootSigned: false, unchecked: [] },
      checks: [bad("bytes", statement)],
    };
  }
  const { previous, checkpoint, proof } = evidence;
  const by = { trust, means };
  const signed = signatureChecks(statement, evidence.signatures, by);
  const noted = checkpoint === undefined ? [] : [checkpointCheck(statement, checkpoint, by)];
  const proven = proof === undefined ? [] : [proofCheck(statement, proof, by)];
  const isStated =
    signed.parties.has("operator") || (proven.length > 0 && proven.every(({ isGood }) => isGood));
  return {
    statement,
    checks: [
      good("bytes", `canonical, SHA-256 ${statement.digest}`),
      sumsCheck(statement, (each) => means.sha256(each)),
      ...signed.checks,
      ...(previous === undefined ? [] : [chainCheck(statement, means.sha256(previous))]),
      ...noted,
      ...proven,
      ...(isStated ? [] : [bad("operator", unstated)]),
    ],
    isRootSigned: isStated || (noted.length > 0 && noted.every(({ isGood }) => isGood)),
    unchecked: [
      ...(signed.parties.has(statement.pair) ? [] : ["counterparty" as const]),
      ...(previous === undefined && statement.prevDigest !== "" ? ["chain" as const] : []),
      ...(checkpoint === undefined ? ["checkpoint" as const] : []),
      ...(proof === undefined ? ["proof" as const] : []),
    ],
  };
}

const unstated =
  "expected a signature of the operator, or a proof of its log, by a key that is believed; found neither: anybody could have written this";

function parsed(text: string, sha256: (text: string) => Hash): Statement | string {
  try {
    const value = JSON.parse(text) as Canonical;
    if (canonicalJson(value) !== text)
      return "expected canonical JSON (RFC 8785), found other bytes";
    return fromStatementText(text, sha256);
  } catch (error) {
    return `expected a statement, found ${error instanceof Error ? error.message : "none"}`;
  }
}

/** Everything that can be worked out of the rest must be what it says. */
function sumsCheck(statement: Statement, sha256: (text: string) => Hash): Check {
  const { totals, isPayable } = statement;
  const { minorUnits } = totals;
  const isRounded = !isPayable && minorUnits !== undefined;
  const again = makeStatement(
    {
      ...statement,
      ...{ creditsNano: totals.creditsNano, attempts: totals.attempts },
      hashByVersion: new Map(
        statement.versions.map(({ book, version, hash = "" }) => [`${book}@${version}`, hash]),
      ),
      rounded: isRounded ? { minorUnits, roundingNano: restNano(statement) } : undefined,
    },
    sha256,
  );
  if (again.text === statement.text) {
    const amount = `${totals.netNano} nano, ${statement.lines.length} lines`;
    return good("sums", `lines, fees and totals add up to ${amount}`);
  }
  const { tokens: _, ...amounts } = again.totals;
  for (const [name, expected] of Object.entries(amounts)) {
    const found = { ...totals, tokens: undefined }[name as keyof typeof amounts];
    if (found !== expected) return bad("sums", `${name}: expected ${expected}, found ${found}`);
  }
  return bad("sums", "lines are not sorted, unique and complete");
}

/** Of a month whose days were rounded: what its whole fen are off. */
function restNano({ totals }: Statement): bigint {
  return (totals.minorUnits ?? 0n) * 10_000_000n - totals.netNano;
}

function signatureChecks(
  statement: Statement,
  signatures: readonly string[],
  { trust, means }: { readonly trust: Trust; readonly means: Means },
): { readonly checks: readonly Check[]; readonly parties: ReadonlySet<string> } {
  const parties = new Set<string>();
  const keyOf = (kid: string) => trust.keyOf(kid, statement);
  const checks = signatures.map((jws) => {
    const signed = {
      ...{ jws: jws.trim(), payload: statement.text, typ: statementJwsType },
      keyOf: (kid: string) => keyOf(kid)?.publicKey,
    };
    const header: JwsHeader | string = verifyDetached(signed, means.verify);
    if (typeof header === "string") return bad("signature", header);
    const { party } = keyOf(header.kid) ?? {};
    if (party !== "operator" && party !== statement.pair) {
      const detail = `expected a key of the operator or of ${statement.pair}, found ${header.kid} of ${party}`;
      return bad("signature", detail);
    }
    parties.add(party);
    return good("signature", `of ${header.kid}, ${party}`);
  });
  return { checks, parties };
}

function chainCheck({ prevDigest }: Statement, digest: Hash): Check {
  return prevDigest === digest
    ? good("chain", `follows on ${digest}`)
    : bad(
        "chain",
        `expected ${prevDigest === "" ? "no statement before" : prevDigest}, found ${digest}`,
      );
}

function checkpointCheck(
  { log }: Statement,
  note: string,
  { trust, means }: { readonly trust: Trust; readonly means: Means },
): Check {
  const { policy } = trust;
  if (policy === undefined) return bad("checkpoint", "no key of a log is given");
  const found = parseNote(note);
  if (typeof found === "string") return bad("checkpoint", found);
  const checkpoint = parseCheckpoint(found.text);
  if (typeof checkpoint === "string") return bad("checkpoint", checkpoint);
  const { origin, size, root } = checkpoint;
  if (origin !== log.origin || size !== log.size || root !== log.root) {
    const detail = `expected ${log.origin} of ${log.size} leaves with root ${log.root}, found ${origin} of ${size} with ${root}`;
    return bad("checkpoint", detail);
  }
  const logs = policy.logs.filter(({ name }) => name === origin);
  const signers = signersOf(found, [...logs, ...policy.witnesses], means.verify);
  if (typeof signers === "string") return bad("checkpoint", signers);
  const keys = new Set(signers.map(({ key }) => key));
  if (!logs.some((key) => keys.has(key))) return bad("checkpoint", `not signed by ${origin}`);
  if (!hasQuorum(policy, keys)) return bad("checkpoint", "too few witnesses have signed");
  return good("checkpoint", `signed by ${signers.map(({ key }) => key.name).join(", ")}`);
}

function proofCheck(
  statement: Statement,
  text: string,
  { trust, means }: { readonly trust: Trust; readonly means: Means },
): Check {
  const { policy } = trust;
  if (policy === undefined) return bad("proof", "no key of a log is given");
  const proof = parseTlogProof(text);
  if (typeof proof === "string") return bad("proof", proof);
  const leaf = statementLeafText(statement);
  const proven = verifyTlogProof({ proof, leaf, policy }, means);
  if (typeof proven === "string") return bad("proof", proven);
  const { origin } = statement.log;
  if (proven.checkpoint.origin !== origin) {
    return bad("proof", `expected one of ${origin}, found one of ${proven.checkpoint.origin}`);
  }
  return good("proof", `leaf ${proven.index} of ${proven.checkpoint.origin}`);
}

/** Adds the leaves of a statement's log range up again, and makes the log's root of them. Holds none of them. */
export class LeafCheck {
  readonly #statement: Statement;
  readonly #tree: Means["tree"];
  readonly #frontier: Frontier;
  readonly #sum: BookingSum;
  readonly #isRootSigned: boolean;

  /** `roots` of the perfect trees before the range, the largest first. */
  constructor(
    { statement, isRootSigned }: { readonly statement: Statement; readonly isRootSigned: boolean },
    roots: readonly Hash[],
    tree: Means["tree"],
  ) {
    this.#statement = statement;
    this.#isRootSigned = isRootSigned;
    this.#tree = tree;
    this.#frontier = new Frontier(tree, statement.log.firstIndex, roots);
    this.#sum = new BookingSum(statement.pair, statement.period, daysIn(statement.period));
  }

  add(text: string): void {
    this.#frontier.append(this.#tree.leaf(text));
    const booked = bookedByLeaf(text);
    if (booked !== undefined) this.#sum.add(booked);
  }

  get checks(): Check[] {
    const { log } = this.#statement;
    const [size, root] = [this.#frontier.size, this.#frontier.root()];
    // A root that the file names itself shows nothing.
    const unsigned = "nobody who is believed has signed this root: give the checkpoint";
    const isRoot = size === log.endIndex && size === log.size && root === log.root;
    const found = differences(this.#statement, this.#sum);
    const leaves = `${this.#sum.count} leaves of the period`;
    return [
      ...(this.#isRootSigned ? [] : [bad("root", unsigned)]),
      isRoot
        ? good("root", `the leaves make the root of ${log.size}`)
        : bad("root", `expected ${log.root} of ${log.size} leaves, found ${root} of ${size}`),
      ...(found.length === 0
        ? [good("leaves", `${leaves} add up to every line`)]
        : found.map((detail) => bad("leaves", detail))),
    ];
  }
}

function good(name: string, detail: string): Check {
  return { name, isGood: true, detail };
}

function bad(name: string, detail: string): Check {
  return { name, isGood: false, detail };
}
