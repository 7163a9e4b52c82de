import { daysLeft } from "../../core/settlement/pricing/calendar.ts";
import {
  consentId,
  consentKind,
  consentText,
  partyKeyKind,
  withdrawalKind,
  termsJwsType,
  type Consent,
} from "../../core/settlement/terms/consent.ts";
import { signDetached } from "../../core/settlement/proof/jws.ts";
import { mistakeText } from "../../core/settlement/terms/mistake.ts";
import type { Sign } from "../../core/settlement/proof/note.ts";
import { pairOf, type Calendar, type PriceBook } from "../../core/settlement/pricing/price-book.ts";
import { readCanonical } from "../../core/settlement/terms/shape.ts";
import {
  termsDocumentId,
  termsId,
  termsKinds,
  type KindRules,
  type Party,
  type TermsByKind,
  type TermsKind,
} from "../../core/settlement/terms/terms-kinds.ts";
import {
  misfitText,
  TermsState,
  type TermsRecord,
} from "../../core/settlement/terms/terms-state.ts";
import { bookText } from "../../core/settlement/terms/terms-text.ts";
import type { InstantUs, PairId } from "../../core/units.ts";
import type { Log } from "../../io/log.ts";
import { sha256, verify } from "../../io/signing.ts";
import { toConnectError } from "../../wire/errors.ts";
import type { Documents } from "../documents.ts";
import { DocumentConflictError } from "../ingest/ledger-writer.ts";
import {
  newKey,
  operatorKey,
  withdrawal,
  type KeyChange,
  type NewKey,
  type Withdrawal,
} from "./party-keys.ts";
import type { Change, LeafKind, NewLeaf, Writer } from "../ingest/writer.ts";

/** The operator's key for what it agrees to. */
export interface OperatorKey {
  readonly kid: string;
  readonly publicKey: string;
  readonly sign: Sign;
}

const leafKinds: Readonly<Record<TermsKind, LeafKind>> = {
  contract: "contract",
  "price-version": "price_version",
  calendar: "calendar",
  "split-rule": "contract",
  "standard-tokens": "contract",
  reprice: "reprice",
};

/** Proposals for a pair that not all have signed: beyond them its party proposes no more, the operator may. */
export const waitingMax = 64;

export type NewDocument = NonNullable<Change["documents"]>[number];

/**
 * What was agreed with whom: read from the ledger's documents at start, changed by new ones alone. Whoever publishes a price
 * version with his own credential, and has no key on file, has agreed to it; the operator countersigns it here. Everything
 * else takes the signatures of all parties.
 */
export class Terms {
  readonly state: TermsState;
  readonly #writer: Writer;
  readonly #operator: OperatorKey;
  readonly #nowUs: () => InstantUs;
  readonly #listeners: ((record: TermsRecord) => void)[] = [];
  #last: Promise<unknown> = Promise.resolve();

  /** Is told of the ledger's documents as they are read and written. */
  constructor(options: {
    readonly documents: Pick<Documents, "on">;
    readonly writer: Writer;
    readonly operator: OperatorKey;
    /** That came with the product. */
    readonly calendars: readonly Calendar[];
    readonly nowUs: () => InstantUs;
    readonly log: Log;
  }) {
    this.state = new TermsState({ verify, calendars: options.calendars });
    this.#writer = options.writer;
    this.#operator = options.operator;
    this.#nowUs = options.nowUs;
    options.documents.on([...kindNames, consentKind, partyKeyKind, withdrawalKind], (document) => {
      const { wrong, agreed } = this.state.add(document);
      const { kind, id } = document;
      if (wrong !== undefined) options.log.error({ kind, id, wrong }, "terms are not used");
      if (agreed !== undefined) for (const listener of this.#listeners) listener(agreed);
    });
  }

  /** To be called once, when the documents were read: puts the operator's key on file. */
  async start(): Promise<void> {
    const own = operatorKey(this.state.keys, this.#operator, this.#nowUs());
    await this.#turn(async () => this.#keepKey(own));
  }

  /** Called for each version as it is agreed on; those of before come as the documents are read. */
  onAgreed(listener: (record: TermsRecord) => void): void {
    this.#listeners.push(listener);
  }

  /** Refused whole with every mistake. The same bytes again change nothing. */
  async propose(kind: TermsKind, text: string, by: Party, atUs = this.#nowUs()) {
    return this.#turn(async () => this.#propose(kind, text, by, atUs));
  }

  /** A signature by a key of the party, or its word where it has none; the operator's is made here. */
  async sign(
    signed: { readonly kind: TermsKind; readonly id: string; readonly hash: string },
    party: Party,
    jws: string,
    atUs = this.#nowUs(),
  ): Promise<TermsRecord> {
    return this.#turn(async () => {
      const { kind: of, id: name, hash } = signed;
      const record = this.state.find(of, name, { hash }) ?? this.state.find(of, name);
      if (record === undefined) {
        throw toConnectError("NOT_FOUND", `terms_id: there is no ${signed.kind} ${signed.id}`);
      }
      if (!record.signers.includes(party) && record.pair !== party && !mayCountersign(record)) {
        throw toConnectError("NOT_ALLOWED", `${party} is no party of ${signed.kind} ${signed.id}`);
      }
      const own = party === "internal" && jws === "" ? this.#signature(record.text) : jws;
      return this.#consent({ ...signed, party, way: wayOf(own), jws: own, atUs });
    });
  }

  /** The first with the party's own credential, a further one signed by one on file. */
  async registerKey(key: NewKey): Promise<void> {
    await this.#turn(async () => this.#keepKey(newKey(this.state.keys, key, this.#nowUs())));
  }

  /** Signed by a key on file: from now on no signature counts by it. */
  async withdrawKey(key: Withdrawal): Promise<void> {
    await this.#turn(async () => this.#keepKey(withdrawal(this.state.keys, key, this.#nowUs())));
  }

  /**
   * A price version that was published through the registry becomes a document. `publisher` agreed to it by publishing it,
   * as long as no key of his is on file; the operator countersigns. Doing it again changes nothing.
   */
  async adopt(book: PriceBook, publisher: Party | undefined): Promise<TermsRecord> {
    return this.#turn(async () => {
      const text = bookText(book);
      const id = termsId("price-version", book);
      const known = this.state.find("price-version", id, { pair: pairOf(book) });
      let record: TermsRecord =
        known ?? (await this.#keep("price-version", book, text, this.#nowUs()));
      if (record.hash !== sha256(text)) {
        throw toConnectError("CONFLICT", `price-version ${id}: expected the bytes that it has`);
      }
      for (const party of this.state.missing(record)) {
        if (party !== "internal" && party !== publisher) continue;
        const jws = party === "internal" ? this.#signature(text) : "";
        const { kind, hash } = record;
        const consent = { kind, id, hash, party, way: wayOf(jws), jws, atUs: this.#nowUs() };
        if (this.state.objectionTo(consent) === undefined) record = await this.#consent(consent);
      }
      return record;
    });
  }

  /** What somebody has proposed and not all have signed. */
  get waiting(): readonly TermsRecord[] {
    return kindNames.flatMap((kind) =>
      this.state.list(kind).filter(({ agreedUs }) => agreedUs === undefined),
    );
  }

  /** Whole days until a calendar says no more what day it is, for an alarm. */
  calendarDaysLeft(id: string): number | undefined {
    const calendar = this.state.calendarOf(id);
    return calendar && daysLeft(calendar, this.#nowUs());
  }

  async #propose<Kind extends TermsKind>(
    kind: Kind,
    text: string,
    by: Party,
    atUs: InstantUs,
  ): Promise<TermsRecord> {
    const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
    const read = readCanonical(
      rules.shape((id) => this.state.calendarOf(id)),
      text,
    );
    if ("misfits" in read) throw refused(read.misfits.map(misfitText));
    const { value } = read;
    const pair = rules.pair(value);
    if (by !== "internal" && pair !== by) {
      throw toConnectError("NOT_ALLOWED", `${by} is no party of ${kind} ${termsId(kind, value)}`);
    }
    const known = this.state.find(kind, termsId(kind, value), { pair });
    if (known?.text === text) return known;
    if (known !== undefined) {
      throw toConnectError("CONFLICT", `version: ${known.id} exists with SHA-256 ${known.hash}`);
    }
    if (by !== "internal") this.#checkCount(pair);
    const mistakes = rules.check(value, this.#previous(kind, value), atUs);
    if (mistakes.length > 0) throw refused(mistakes.map(mistakeText));
    this.#checkPair(kind, value);
    const record = await this.#keep(kind, value, text, atUs);
    const consent: Consent = {
      ...{ kind, id: record.id, hash: record.hash, party: by, way: "credential", jws: "", atUs },
    };
    return this.state.objectionTo(consent) === undefined ? this.#consent(consent) : record;
  }

  /** What nobody else has signed is kept for ever all the same. */
  #checkCount(pair: Party): void {
    const count = this.waiting.filter((record) => record.pair === pair).length;
    if (count < waitingMax) return;
    throw toConnectError(
      "QUOTA_EXHAUSTED",
      `terms_id: expected at most ${waitingMax} proposals of ${pair} that not all have signed, found ${count}`,
    );
  }

  /** The version that was agreed last, with the number of the one that was proposed last. */
  #previous<Kind extends TermsKind>(
    kind: Kind,
    value: TermsByKind[Kind],
  ): TermsByKind[Kind] | undefined {
    const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
    const [pair, series] = [rules.pair(value), rules.series(value)];
    const isOwn = (record: TermsRecord<Kind>): boolean => record.pair === pair;
    const agreed = this.state.newest(kind, series, (each) => isOwn(each) && isAgreed(each));
    const newest = this.state.newest(kind, series, isOwn);
    const before = (agreed ?? newest)?.value;
    if (before !== undefined && newest !== undefined) return { ...before, version: newest.version };
    // On a calendar that came with the product the next one follows.
    const installed = kind === "calendar" ? this.state.calendarOf(series) : undefined;
    return installed as TermsByKind[Kind] | undefined;
  }

  /** One contract per pair: another series for the same would be in force beside it. What only one has signed keeps nobody. */
  #checkPair<Kind extends TermsKind>(kind: Kind, value: TermsByKind[Kind]): void {
    if (kind !== "contract") return;
    const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
    const [pair, series] = [rules.pair(value), rules.series(value)];
    const other = this.state
      .list("contract")
      .find((each) => each.pair === pair && each.series !== series && isAgreed(each));
    if (other === undefined) return;
    throw refused([
      `contract_id: expected ${other.series}, the contract of ${pair}, found ${series}`,
    ]);
  }

  async #keep<Kind extends TermsKind>(
    kind: Kind,
    value: TermsByKind[Kind],
    text: string,
    atUs: InstantUs,
  ): Promise<TermsRecord> {
    const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
    const [id, pair] = [termsDocumentId(kind, value), rules.pair(value)];
    await this.#write([{ kind, id, pair, atUs, body: text }], []);
    return this.#known(kind, termsId(kind, value), sha256(text));
  }

  async #keepKey(change: KeyChange | undefined): Promise<void> {
    if (change === undefined) return;
    await this.#write([change.document], change.leaf === undefined ? [] : [change.leaf]);
  }

  async #consent(consent: Consent): Promise<TermsRecord> {
    const { kind, id, hash, party, atUs } = consent;
    const objection = this.state.objectionTo(consent);
    const known = this.state.find(kind, id, { hash });
    if (known === undefined) throw refused([objection ?? `there is no ${kind} ${id}`]);
    const before: TermsRecord = known;
    if (before.consents.some((each) => each.party === party)) return before;
    if (objection !== undefined) throw refused([objection]);
    const isLast = this.state.missing(before).every((each) => each === party);
    const logs = isLast ? [before.pair, ...before.consents.map((each) => each.party), party] : [];
    const late = before.agreedUs === undefined ? logs : [party];
    const leaves = [...new Set(late)].flatMap((log) => leafIn(log, before));
    const document: NewDocument = {
      ...{ kind: consentKind, id: consentId(consent), pair: before.pair, atUs },
      body: consentText(consent),
    };
    await this.#write([document], leaves);
    return this.#known(kind, id, hash);
  }

  #known(kind: TermsKind, id: string, hash: string): TermsRecord {
    const record = this.state.find(kind, id, { hash });
    if (record === undefined) throw new Error(`expected the ${kind} ${id} that was just kept`);
    return record;
  }

  async #write(documents: readonly NewDocument[], leaves: readonly NewLeaf[]): Promise<void> {
    try {
      await this.#writer.write(() =>
        Promise.resolve({ change: { documents, leaves }, result: null }),
      );
    } catch (error) {
      if (error instanceof DocumentConflictError) throw toConnectError("CONFLICT", error.message);
      throw error;
    }
    for (const document of documents) {
      this.state.add({ ...document, hash: sha256(document.body) });
    }
  }

  #signature(text: string): string {
    const { kid, sign } = this.#operator;
    return signDetached(text, { kid, typ: termsJwsType }, sign);
  }

  /** One after the other: what is checked is still so when it is written. */
  async #turn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(work);
    this.#last = turn.catch(() => undefined);
    return turn;
  }
}

const kindNames = Object.keys(termsKinds) as TermsKind[];

function isAgreed({ agreedUs }: TermsRecord): boolean {
  return agreedUs !== undefined;
}

function wayOf(jws: string): Consent["way"] {
  return jws === "" ? "credential" : "signature";
}

/** Whoever goes by a calendar or a table may say so; it is then in his log. */
function mayCountersign({ kind }: TermsRecord): boolean {
  return kind === "calendar" || kind === "standard-tokens";
}

/** A list for every tenant, and what is the operator's alone, is in the operator's own log. */
function leafIn(log: Party, { kind, id, text }: TermsRecord): NewLeaf[] {
  return [{ log: log as PairId | "internal", kind: leafKinds[kind], ref: `${kind}:${id}`, text }];
}

function refused(mistakes: readonly string[]): Error {
  return toConnectError("BAD_REQUEST", mistakes.join("; "));
}
