import type { Consent } from "./consent.ts";
import type { Party, TermsByKind, TermsKind } from "./terms-kinds.ts";
import type { InstantUs } from "../../units.ts";

/** A version of something that parties agree on, and who has. */
export interface TermsRecord<Kind extends TermsKind = TermsKind> {
  readonly kind: Kind;
  /** `northgrid-list@2`. */
  readonly id: string;
  readonly series: string;
  readonly version: bigint;
  readonly pair: Party;
  readonly value: TermsByKind[Kind];
  readonly text: string;
  readonly hash: string;
  readonly proposedUs: InstantUs;
  readonly signers: readonly Party[];
  readonly consents: readonly Consent[];
  /** When the last one who had to agree did. Undefined: it cannot be used. */
  readonly agreedUs: InstantUs | undefined;
}

/** Which of several is meant that have one name. */
export interface Which {
  readonly pair?: Party | undefined;
  readonly hash?: string | undefined;
}

/**
 * Versions of one kind. A name is taken by what all have signed: until then each pair may have a proposal of its own by it,
 * so that nobody keeps a name from another.
 */
export class TermsTable<Kind extends TermsKind> {
  /** In the order in which they came. */
  readonly #records = new Map<string, TermsRecord<Kind>>();
  readonly #keysById = new Map<string, string[]>();
  /** Whose a series is. */
  readonly #owners = new Map<string, Party>();
  #list: readonly TermsRecord<Kind>[] | undefined;

  put(record: TermsRecord<Kind>): void {
    const key = keyOf(record);
    if (!this.#records.has(key)) {
      this.#keysById.set(record.id, [...(this.#keysById.get(record.id) ?? []), key]);
    }
    if (record.agreedUs !== undefined) this.#owners.set(record.series, record.pair);
    this.#records.set(key, record);
    this.#list = undefined;
  }

  /** Among several the one that was agreed, or else the first. */
  find(id: string, { pair, hash }: Which = {}): TermsRecord<Kind> | undefined {
    let first: TermsRecord<Kind> | undefined;
    for (const key of this.#keysById.get(id) ?? []) {
      const record = this.#records.get(key);
      if (record === undefined || (pair !== undefined && record.pair !== pair)) continue;
      if (hash !== undefined && record.hash !== hash) continue;
      if (record.agreedUs !== undefined) return record;
      first ??= record;
    }
    return first;
  }

  get list(): readonly TermsRecord<Kind>[] {
    this.#list ??= [...this.#records.values()];
    return this.#list;
  }

  /** With whom any version of a series was agreed. */
  ownerOf(series: string): Party | undefined {
    return this.#owners.get(series);
  }
}

function keyOf({ pair, id }: Pick<TermsRecord, "pair" | "id">): string {
  return `${pair}/${id}`;
}
