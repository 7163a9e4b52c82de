import {
  batchIdOf,
  checkBatch,
  claimsJwsType,
  statusOf,
  type ChainHead,
  type ClaimBatch,
  type ClaimStatus,
} from "../../core/settlement/claims/claim-batch.ts";
import {
  fromAcceptedText,
  parseBatch,
  toAcceptedText,
} from "../../core/settlement/claims/claim-batch-text.ts";
import {
  checkClaim,
  toClaimText,
  type ClaimMistake,
  type UsageClaim,
} from "../../core/settlement/claims/claim.ts";
import type { Closing } from "../../core/settlement/statements/closing.ts";
import type { PairTerms } from "../../core/settlement/terms/pair-terms.ts";
import { verifyDetached } from "../../core/settlement/proof/jws.ts";
import type { InstantUs, PairId, VendorId } from "../../core/units.ts";
import type { ClaimRow, LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";
import { sha256, verify } from "../../io/signing.ts";
import { toConnectError, type Reason } from "../../wire/errors.ts";
import type { Documents } from "../documents.ts";
import type { Change, Writer } from "../ingest/writer.ts";

/** Finds the key of a party, lower-case hex; undefined for a stranger. */
export type KeyOf = (party: PairId | "internal", kid: string) => string | undefined;

/** What a vendor sends. */
export interface SignedBatch {
  readonly vendor: VendorId;
  readonly text: string;
  readonly jws: string;
  readonly claims: readonly UsageClaim[];
}

export interface ClaimResult {
  readonly claim: string;
  readonly status: ClaimStatus;
  readonly reason: string;
}

interface Submitted {
  readonly batch: string;
  readonly hash: string;
  readonly results: readonly ClaimResult[];
}

interface Asked {
  readonly pair: PairId;
  readonly batch: ClaimBatch;
  readonly signed: SignedBatch;
}

/** Revisions of a claim: each may settle its record again. */
const revMax = 99n;
const usPerDay = 86_400_000_000n;

interface Parts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly documents: Documents;
  readonly keyOf: KeyOf;
  readonly termsOf: (pair: PairId, us: InstantUs) => Pick<PairTerms, "openDays">;
  readonly closingsOf: (pair: PairId) => readonly Closing[];
  nowUs(): InstantUs;
}

/** Takes vendors' claims: a batch is in the ledger, with its leaf, or it is not; a claim is there once. */
export class Claims {
  readonly #parts: Parts;
  readonly #headByPair = new Map<PairId, ChainHead>();
  /** When a batch came, for what was late. */
  readonly #receivedUs = new Map<string, InstantUs>();

  constructor(parts: Parts) {
    this.#parts = parts;
    parts.documents.on(["claim-batch"], (document) => this.#learn(document));
  }

  /** The last batch of a pair; undefined before the first. */
  headOf(pair: PairId): ChainHead | undefined {
    return this.#headByPair.get(pair);
  }

  receivedUs(batch: string): InstantUs | undefined {
    return this.#receivedUs.get(batch);
  }

  /** Resolves when it is durable. Throws for a batch that is refused as a whole. */
  async submit(signed: SignedBatch): Promise<Submitted> {
    const pair = `vendor:${signed.vendor}` as PairId;
    const batch = parseBatch(signed.text);
    if (typeof batch === "string") throw refused("BAD_REQUEST", "batch_json", batch);
    const { jws, text } = signed;
    const keyOf = (kid: string) => this.#parts.keyOf(pair, kid);
    const header = verifyDetached({ jws, payload: text, typ: claimsJwsType, keyOf }, verify);
    if (typeof header === "string") throw refused("BAD_REQUEST", "jws", `signature: ${header}`);
    return this.#parts.writer.write(async (store) => this.#take(store, { pair, batch, signed }));
  }

  async #take(
    store: LedgerStore,
    asked: Asked,
  ): Promise<{ readonly change: Change; readonly result: Submitted }> {
    const { pair, batch, signed } = asked;
    const { text, claims } = signed;
    const id = batchIdOf(batch);
    const accepted = await store.document("claim-batch", id);
    const acceptedHash = accepted && sha256(fromAcceptedText(accepted.body).text);
    const head = this.#headByPair.get(pair);
    const finding = checkBatch(batch, { pair, head, acceptedHash, claims, sha256 });
    if (finding.kind === "refused") {
      const reason = finding.reason === "overlap" ? "CONFLICT" : "UNSATISFIABLE";
      throw refused(reason, finding.reason, finding.detail);
    }
    const { rows, results } = await this.#sort(store, asked);
    const result = { batch: id, hash: sha256(text), results };
    // What came before is answered as before: its claims are there, or were given back for the same reason.
    if (finding.kind === "exists")
      return { change: {}, result: { ...result, results: again(results, accepted) } };
    const atUs = this.#parts.nowUs();
    const given = results.filter(({ status }) => status === "refused" || status === "conflict");
    const refusals = given.map(({ claim, reason }) => ({ claim, reason }));
    const body = toAcceptedText({ text, jws: signed.jws, receivedUs: atUs, refused: refusals });
    const change: Change = {
      documents: [{ kind: "claim-batch", id, pair, atUs, body }],
      leaves: [{ log: pair, kind: "claim", ref: id, text }],
      claims: rows,
    };
    return { change, result };
  }

  async #sort(
    store: LedgerStore,
    { pair, batch, signed }: Asked,
  ): Promise<{ readonly rows: ClaimRow[]; readonly results: ClaimResult[] }> {
    const { vendor, claims } = signed;
    const known = await store.claimsOf(
      pair,
      claims.map(({ attempt }) => attempt),
    );
    const hashByKey = new Map(known.map((row) => [`${row.attempt}:${row.rev}`, row.hash]));
    const rows: ClaimRow[] = [];
    const results = claims.map((claim, index): ClaimResult => {
      const place = `claims[${index}]`;
      const mistakes = checkClaim(claim, { vendor, nowUs: this.#parts.nowUs(), place });
      const row = toRow(claim, pair, batchIdOf(batch));
      const key = `${row.attempt}:${row.rev}`;
      const before = hashByKey.get(key);
      const late = before === undefined ? this.#tooLate(pair, claim, place) : [];
      const wrong = [...mistakes, ...late];
      if (wrong.length > 0) {
        const reason = wrong.map((each) => `${each.place}: ${each.message}`).join("; ");
        return { claim: claim.id, status: "refused", reason };
      }
      const status = statusOf(row.hash, before);
      hashByKey.set(key, before ?? row.hash);
      if (status === "accepted") rows.push(row);
      const reason = status === "conflict" ? `${place}: expected ${before}, found ${row.hash}` : "";
      return { claim: claim.id, status, reason };
    });
    return { rows, results };
  }

  /** A statement is open to doubt for so many days, and to claims that would change it. */
  #tooLate(pair: PairId, { rev, openedUs }: UsageClaim, place: string): ClaimMistake[] {
    const { closingsOf, termsOf } = this.#parts;
    const mistakes: ClaimMistake[] = [];
    if (rev > revMax) {
      mistakes.push({ place: `${place}.rev`, message: `expected up to ${revMax}, found ${rev}` });
    }
    const stated = closingsOf(pair).find(
      ({ kind, fromUs, toUs }) => kind === "daily" && fromUs <= openedUs && openedUs < toUs,
    );
    if (stated === undefined) return mistakes;
    const { openDays } = termsOf(pair, openedUs);
    const lastUs = stated.atUs + BigInt(openDays) * usPerDay;
    if (this.#parts.nowUs() > lastUs) {
      const message = `expected a claim up to ${openDays} days after ${stated.statement}, at ${lastUs}, found a later one`;
      mistakes.push({ place: `${place}.opened_us`, message });
    }
    return mistakes;
  }

  #learn({ id, pair, body }: LedgerDocument): void {
    if (pair === "internal") return;
    const { text, receivedUs } = fromAcceptedText(body);
    const number = (this.#headByPair.get(pair)?.number ?? 0n) + 1n;
    this.#headByPair.set(pair, { number, hash: sha256(text) });
    this.#receivedUs.set(id, receivedUs);
  }
}

function toRow(claim: UsageClaim, pair: PairId, batch: string): ClaimRow {
  const { attempt, rev, openedUs, pool, model, tokens } = claim;
  const text = toClaimText(claim);
  return { pair, attempt, rev, openedUs, pool, model, tokens, batch, text, hash: sha256(text) };
}

/** A claim that is not there although its batch is was given back, for the reason that was written down. */
function again(
  results: readonly ClaimResult[],
  accepted: LedgerDocument | undefined,
): readonly ClaimResult[] {
  const refusals = accepted === undefined ? [] : fromAcceptedText(accepted.body).refused;
  const reasonById = new Map(refusals.map(({ claim, reason }) => [claim, reason]));
  return results.map((result) =>
    result.status === "accepted"
      ? { ...result, status: "refused", reason: reasonById.get(result.claim) ?? "" }
      : result,
  );
}

/** Fatal: nothing of it is taken. */
function refused(reason: Reason, field: string, detail: string) {
  return toConnectError(reason, `${field}: ${detail}`, { metadata: { field, severity: "fatal" } });
}
