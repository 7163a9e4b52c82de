import type { InstantUs, ModelId, PairId } from "../../units.ts";
import { consentKind, readConsent, termsJwsType, type Consent, type PartyKey } from "./consent.ts";
import { KeysOnFile } from "./keys-on-file.ts";
import { inForceAt } from "./effective.ts";
import { verifyDetached } from "../proof/jws.ts";
import type { PublicKey, Verify } from "../proof/note.ts";
import { isWithTenant, type AnyContract } from "./other-contracts.ts";
import type { Reprice } from "./other-shapes.ts";
import { retroactive } from "../pricing/calendar.ts";
import { mistakeText } from "./mistake.ts";
import { calendarFor } from "./pair-calendar.ts";
import { everyTenant, sideOf, type Calendar, type PriceBook } from "../pricing/price-book.ts";
import { pathText, readCanonical, type Misfit } from "./shape.ts";
import type { SplitRule } from "../packages/split.ts";
import { TermsTable, type TermsRecord, type Which } from "./terms-table.ts";
import type { StandardTable } from "../pricing/standard-token.ts";
import {
  isTermsKind,
  termsId,
  termsKinds,
  type KindRules,
  type Party,
  type TermsByKind,
  type TermsKind,
} from "./terms-kinds.ts";

/** A document of the ledger, as far as terms are concerned. */
export interface TermsDocument {
  readonly kind: string;
  readonly id: string;
  readonly atUs: InstantUs;
  readonly body: string;
  readonly hash: string;
}

export type { TermsRecord } from "./terms-table.ts";

/** What a document has brought about. */
export interface Added {
  /** Why it is of no use. */
  readonly wrong?: string;
  /** What everybody who has to has agreed on with it. */
  readonly agreed?: TermsRecord;
}

type Tables = { readonly [Kind in TermsKind]: TermsTable<Kind> };

/**
 * All terms, made from the ledger's documents in their order: the same documents, the same state. What was not agreed by all
 * who have to is known and not used; a consent that does not hold is as good as none.
 */
export class TermsState {
  readonly #verify: Verify;
  /** Calendars that came with the product, for as long as nobody agreed on another version. */
  readonly #installed: ReadonlyMap<string, Calendar>;
  readonly #tables: Tables = {
    contract: new TermsTable(),
    "price-version": new TermsTable(),
    calendar: new TermsTable(),
    "split-rule": new TermsTable(),
    "standard-tokens": new TermsTable(),
    reprice: new TermsTable(),
  };
  readonly keys = new KeysOnFile();

  constructor(options: { readonly verify: Verify; readonly calendars: readonly Calendar[] }) {
    this.#verify = options.verify;
    this.#installed = new Map(options.calendars.map((each) => [each.id, each]));
  }

  /** Documents of other kinds change nothing. */
  add(document: TermsDocument): Added {
    const { kind, body } = document;
    if (isTermsKind(kind)) return this.#addTerms(kind, document);
    const wrong = this.keys.add(kind, body);
    if (wrong !== undefined) return { wrong };
    if (kind === consentKind) {
      const consent = readConsent(body);
      return consent === undefined ? { wrong: "expected a signature" } : this.#agree(consent);
    }
    return {};
  }

  /** What is wrong with a consent; undefined if it counts. */
  objectionTo(consent: Consent): string | undefined {
    const { kind, id, hash, party, way, jws } = consent;
    const record = this.find(kind, id, { hash });
    if (record === undefined) {
      const other = this.find(kind, id);
      return other === undefined
        ? `there is no ${kind} ${id}`
        : `hash: expected ${other.hash}, found ${hash}`;
    }
    const taken = this.#takenBy(record);
    if (taken !== undefined) return taken;
    const late = this.#lateness(record, consent) ?? this.#changedDays(record, consent);
    if (late !== undefined) return late;
    if (way === "credential") return this.#objectionToCredential(record, party);
    const keyOf = (kid: string): PublicKey | undefined => this.keyOf(party, kid);
    const signed = { jws, payload: record.text, typ: termsJwsType, keyOf };
    const header = verifyDetached(signed, this.#verify);
    return typeof header === "string" ? `signature of ${party}: ${header}` : undefined;
  }

  /** Of several that have one name, as different pairs may propose, the one that was agreed, or else the first. */
  find<Kind extends TermsKind>(
    kind: Kind,
    id: string,
    which?: Which,
  ): TermsRecord<Kind> | undefined {
    return this.#tables[kind].find(id, which);
  }

  /** In the order in which they came. */
  list<Kind extends TermsKind>(kind: Kind): readonly TermsRecord<Kind>[] {
    return this.#tables[kind].list;
  }

  /** The newest version of a series, agreed or not. */
  newest<Kind extends TermsKind>(
    kind: Kind,
    series: string,
    isMeant: (record: TermsRecord<Kind>) => boolean = () => true,
  ): TermsRecord<Kind> | undefined {
    return this.list(kind)
      .filter((record) => record.series === series && isMeant(record))
      .reduce<TermsRecord<Kind> | undefined>(
        (best, each) => (best === undefined || each.version > best.version ? each : best),
        undefined,
      );
  }

  /** The version of a series in force at an instant; of a kind without a start the newest that was agreed. */
  recordAt<Kind extends TermsKind>(
    kind: Kind,
    series: string,
    us: InstantUs,
  ): TermsRecord<Kind> | undefined {
    return this.#agreedAt(kind, (record) => record.series === series, us);
  }

  contractAt(pair: PairId, us: InstantUs): AnyContract | undefined {
    return this.#agreedAt("contract", ({ value }) => value.pair === pair, us)?.value;
  }

  /** Whoever has a contract at an instant, by whatever its pair begins with: `tenant:`, `model:`. */
  contractsAt(prefix: string, us: InstantUs): readonly AnyContract[] {
    const pairs = new Set(
      this.list("contract").flatMap(({ value }) =>
        value.pair.startsWith(prefix) ? [value.pair] : [],
      ),
    );
    return [...pairs].flatMap((pair) => this.contractAt(pair, us) ?? []);
  }

  /** The version that a record names, if it was agreed. */
  bookVersion(book: string, version: bigint): PriceBook | undefined {
    const record = this.find("price-version", `${book}@${version}`);
    return record?.agreedUs === undefined ? undefined : this.withCalendar(record.value);
  }

  bookAt(book: string, us: InstantUs): PriceBook | undefined {
    const found = this.recordAt("price-version", book, us);
    return found && this.withCalendar(found.value);
  }

  /** The rule for a model, or the one for all models. */
  splitRuleAt(id: string, model: ModelId, us: InstantUs): SplitRule | undefined {
    const found =
      this.recordAt("split-rule", `${id}/${model}`, us) ??
      this.recordAt("split-rule", `${id}/*`, us);
    return found?.value;
  }

  standardTableAt(id: string, us: InstantUs): StandardTable | undefined {
    return this.recordAt("standard-tokens", id, us)?.value;
  }

  /** All that there are. */
  get calendarIds(): readonly string[] {
    const agreed = this.list("calendar").map(({ series }) => series);
    return [...new Set([...this.#installed.keys(), ...agreed])];
  }

  /** The newest version that was agreed, or the one that came with the product. */
  calendarOf(id: string): Calendar | undefined {
    const agreed = this.list("calendar").filter(
      (record) => record.series === id && record.agreedUs !== undefined,
    );
    return agreed.at(-1)?.value ?? this.#installed.get(id);
  }

  /** A version that was agreed, or that came with the product. */
  calendarVersion(id: string, version: bigint): Calendar | undefined {
    const record = this.find("calendar", `${id}@${version}`);
    if (record?.agreedUs !== undefined) return record.value;
    const installed = this.#installed.get(id);
    return (installed?.version ?? 1n) === version ? installed : undefined;
  }

  /** The book with the newest version of its calendar that its parties go by. */
  withCalendar(book: PriceBook): PriceBook {
    const known = this.#recasts.get(book);
    const calendars = this.list("calendar");
    if (known?.calendars === calendars) return known.book;
    const calendar = calendarFor(book, calendars);
    const isSame = calendar === (known?.book ?? book).calendar;
    const made = isSame ? (known?.book ?? book) : { ...book, calendar };
    this.#recasts.set(book, { calendars, book: made });
    return made;
  }

  repricesOf(pair: PairId): readonly Reprice[] {
    return this.list("reprice").flatMap(({ pair: of, agreedUs, value }) =>
      of === pair && agreedUs !== undefined ? [value] : [],
    );
  }

  /** A key of the party by its name. */
  keyOf(party: Party, kid: string): PublicKey | undefined {
    return this.keys.keyOf(party, kid);
  }

  keysOf(party: Party): readonly PartyKey[] {
    return this.keys.keysOf(party);
  }

  /** Who still has to agree before it can be used. */
  missing({ signers, consents }: TermsRecord): readonly Party[] {
    return signers.filter((party) => !consents.some((each) => each.party === party));
  }

  /** As of these versions of calendars. */
  readonly #recasts = new WeakMap<
    PriceBook,
    { readonly calendars: readonly TermsRecord<"calendar">[]; readonly book: PriceBook }
  >();

  /** A name is whose it was agreed to be; and a pair has one contract. */
  #takenBy<Kind extends TermsKind>({ kind, series, pair }: TermsRecord<Kind>): string | undefined {
    const owner = this.#tables[kind].ownerOf(series);
    if (owner !== undefined && owner !== pair) {
      return `expected a name that is not agreed with others, found ${series}`;
    }
    if (kind !== "contract") return undefined;
    const other = this.list("contract").find(
      (each) => each.pair === pair && each.series !== series && each.agreedUs !== undefined,
    );
    return (
      other && `contract_id: expected ${other.series}, the contract of ${pair}, found ${series}`
    );
  }

  /** What was a day to come when a calendar was proposed may be over when it is signed. */
  #changedDays({ kind, series, version, agreedUs }: TermsRecord, consent: Consent) {
    const record = kind === "calendar" ? this.find(kind, consent.id) : undefined;
    const before = this.calendarOf(series);
    if (record === undefined || before === undefined || agreedUs !== undefined) return undefined;
    if ((before.version ?? 1n) >= version) return undefined;
    const [mistake] = retroactive(record.value, before, consent.atUs);
    return mistake && mistakeText(mistake);
  }

  #lateness(record: TermsRecord, { party, atUs }: Consent): string | undefined {
    const missing = this.missing(record);
    const { effectiveFromUs: from } = datesOf(record.value);
    const isLast = missing.length === 1 && missing[0] === party;
    if (!isLast || atUs <= from || mayComeLate(record)) return undefined;
    if (this.#hasSaleWaited(record, from, atUs)) return undefined;
    return `effective_from_us: retroactive: expected the last signature by ${from}, found it at ${atUs}`;
  }

  /** A contract with a tenant that bought without any when others had one: none of it was billed, so that nothing is undone. */
  #hasSaleWaited({ value }: TermsRecord, fromUs: InstantUs, toUs: InstantUs): boolean {
    if (!("sellBook" in value)) return false;
    const ofSale = [...this.list("contract"), ...this.list("price-version")].flatMap((record) => {
      const { agreedUs, value: terms } = record;
      return agreedUs !== undefined && isOfSale(terms) ? [{ ...terms, agreedUs }] : [];
    });
    const isWaiting = ofSale.some(
      (each) => each.agreedUs <= fromUs && each.effectiveFromUs <= fromUs,
    );
    const isCovered = ofSale.some((each) => {
      const { pair, effectiveFromUs, effectiveToUs } = each;
      const isOwn = pair === value.pair && "sellBook" in each;
      const isOver = effectiveToUs !== undefined && effectiveToUs <= fromUs;
      return (isOwn || pair === everyTenant) && effectiveFromUs <= toUs && !isOver;
    });
    return isWaiting && !isCovered;
  }

  #objectionToCredential({ pair, value: own }: TermsRecord, party: Party): string | undefined {
    if (party === "internal") return "expected a signature of the operator, found a credential";
    if (this.keysOf(party).length > 0) {
      return `expected a signature of ${party}, whose key is on file, found a credential`;
    }
    const isOwn = "signatures" in own && own.signatures === "required";
    const isRequired =
      isOwn ||
      this.list("contract").some(
        ({ value, agreedUs }) =>
          value.pair === pair && agreedUs !== undefined && value.signatures === "required",
      );
    return isRequired
      ? `expected a signature of ${party}, as its contract requires, found a credential`
      : undefined;
  }

  #addTerms<Kind extends TermsKind>(kind: Kind, document: TermsDocument): Added {
    const { atUs, body, hash } = document;
    const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
    const read = readCanonical(
      rules.shape((calendar) => this.calendarOf(calendar)),
      body,
    );
    if ("misfits" in read) return { wrong: read.misfits.map(misfitText).join("; ") };
    const { value } = read;
    const [id, pair] = [termsId(kind, value), rules.pair(value)];
    if (this.find(kind, id, { pair }) !== undefined) return {};
    this.#tables[kind].put({
      kind,
      id,
      series: rules.series(value),
      version: rules.version(value),
      pair,
      value,
      text: body,
      hash,
      proposedUs: atUs,
      signers: rules.signers(value),
      consents: [],
      agreedUs: undefined,
    });
    return {};
  }

  #agree(consent: Consent): Added {
    const wrong = this.objectionTo(consent);
    return wrong === undefined ? this.#note(consent.kind, consent) : { wrong };
  }

  #note<Kind extends TermsKind>(kind: Kind, consent: Consent): Added {
    const record = this.find(kind, consent.id, { hash: consent.hash });
    if (record === undefined || record.consents.some(({ party }) => party === consent.party))
      return {};
    const next = { ...record, consents: [...record.consents, consent] };
    const isAgreed = record.agreedUs === undefined && this.missing(next).length === 0;
    const kept = isAgreed ? { ...next, agreedUs: consent.atUs } : next;
    this.#tables[kind].put(kept);
    return isAgreed ? { agreed: kept } : {};
  }

  #agreedAt<Kind extends TermsKind>(
    kind: Kind,
    isMeant: (record: TermsRecord<Kind>) => boolean,
    us: InstantUs,
  ): TermsRecord<Kind> | undefined {
    const dated = this.list(kind).flatMap((record) => {
      const { value, agreedUs, version } = record;
      if (agreedUs === undefined || !isMeant(record)) return [];
      return [{ ...datesOf(value), record, version }];
    });
    return inForceAt(dated, us)?.record;
  }
}

/** A kind without a start is in force when it is agreed. */
function datesOf(value: TermsByKind[TermsKind]): Dates {
  return "effectiveFromUs" in value ? value : { effectiveFromUs: 0n };
}

interface Dates {
  readonly effectiveFromUs: InstantUs;
  readonly effectiveToUs?: InstantUs | undefined;
}

/**
 * Terms are not signed into the past: from their start on something else was in force, and what was used has been settled
 * by it. Only where nothing was, so that all of it has waited, may a signature come later: of the first version of prices,
 * rules and tables, and of prices that records name themselves.
 */
function mayComeLate({ kind, version, value }: TermsRecord): boolean {
  if (kind === "contract") return false;
  const isNamed = kind === "price-version" && "currency" in value && sideOf(value) === "buy";
  return version === 1n || isNamed || kind === "calendar" || kind === "reprice";
}

/** Says what a tenant pays. */
function isOfSale(value: AnyContract | PriceBook): boolean {
  return "currency" in value ? sideOf(value) === "sell" : isWithTenant(value);
}

export function misfitText({ path, message }: Misfit): string {
  return path.length === 0 ? message : `${pathText(path)}: ${message}`;
}
