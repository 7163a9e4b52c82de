import { createClient, type Client, type Transport } from "@connectrpc/connect";
import type { Contract } from "../core/settlement/terms/contract.ts";
import { isWithVendor } from "../core/settlement/terms/other-contracts.ts";
import type { OwnTerms, OwnVersion } from "../core/settlement/claims/own-count.ts";
import type { Calendar } from "../core/settlement/pricing/price-book.ts";
import { readCanonical, type Shape } from "../core/settlement/terms/shape.ts";
import { termsKinds } from "../core/settlement/terms/terms-kinds.ts";
import type { VendorId } from "../core/units.ts";
import { loadCalendar } from "../io/preset.ts";
import {
  ContractService,
  TermsKind,
  type TermsVersion,
} from "../wire/gen/tokengrid/v1/contract_pb.js";

const callTimeoutMs = 10_000;
/** Versions whose text is kept: a vendor has a few. */
const textsMax = 1_000;

/** What the vendor has agreed to, as settlement has it on file. Texts are immutable and are asked for once. */
export class ClaimTerms {
  readonly #client: Client<typeof ContractService>;
  readonly #pair: string;
  readonly #textByHash = new Map<string, string>();
  /** By the hashes that it was made of. */
  #known: { readonly hashes: string; readonly terms: OwnTerms } | undefined;

  constructor(transport: Transport, vendor: VendorId) {
    this.#client = createClient(ContractService, transport);
    this.#pair = `vendor:${vendor}`;
  }

  /** Throws if the operator cannot be reached. */
  async current(signal: AbortSignal): Promise<OwnTerms> {
    const { terms } = await this.#client.listTerms({}, { signal, timeoutMs: callTimeoutMs });
    const used = terms.filter((each) => this.#isUsed(each));
    const hashes = used.map(({ hash }) => hash).join();
    if (this.#known?.hashes === hashes) return this.#known.terms;
    for (const each of used) await this.#learn(each, signal);
    const made = this.#made(used);
    this.#known = { hashes, terms: made };
    return made;
  }

  /**
   * What the vendor itself has agreed to: a version that only the operator still has to sign is claimed by, and its records
   * wait for that signature too.
   */
  #isUsed({ kind, pairId, agreedUs, missingParties }: TermsVersion): boolean {
    if (kind === TermsKind.CALENDAR) return agreedUs > 0n;
    if (pairId !== this.#pair) return false;
    if (kind === TermsKind.PRICE_VERSION) return !missingParties.includes(this.#pair);
    return kind === TermsKind.CONTRACT && agreedUs > 0n;
  }

  async #learn({ kind, termsId, hash }: TermsVersion, signal: AbortSignal): Promise<void> {
    if (this.#textByHash.has(hash)) return;
    const asked = { signal, timeoutMs: callTimeoutMs };
    const { terms } = await this.#client.getTerms({ kind, termsId }, asked);
    if (this.#textByHash.size >= textsMax) this.#textByHash.clear();
    this.#textByHash.set(hash, terms?.canonicalJson ?? "");
  }

  #made(used: readonly TermsVersion[]): OwnTerms {
    const calendars = this.#read(used, TermsKind.CALENDAR, termsKinds.calendar.shape(noCalendar));
    const calendarOf = (id: string): Calendar | undefined =>
      newestOf(calendars, id) ?? (loadCalendar().id === id ? loadCalendar() : undefined);
    const books = this.#read(
      used,
      TermsKind.PRICE_VERSION,
      termsKinds["price-version"].shape(calendarOf),
    );
    const contracts = this.#read(used, TermsKind.CONTRACT, termsKinds.contract.shape(noCalendar));
    return {
      versions: books.map(({ value: book, hash }): OwnVersion => ({ book, hash })),
      contracts: contracts.flatMap(({ value }): Contract[] => (isWithVendor(value) ? [value] : [])),
    };
  }

  #read<Value>(
    used: readonly TermsVersion[],
    kind: TermsKind,
    shape: Shape<Value>,
  ): { readonly value: Value; readonly hash: string }[] {
    return used
      .filter((each) => each.kind === kind)
      .map(({ termsId, hash }) => {
        const read = readCanonical(shape, this.#textByHash.get(hash) ?? "");
        if ("value" in read) return { value: read.value, hash };
        const [misfit] = read.misfits;
        throw new Error(`terms ${termsId}: ${misfit?.path.join(".")}: ${misfit?.message}`);
      });
  }
}

function noCalendar(): undefined {
  return undefined;
}

function newestOf(
  calendars: readonly { readonly value: Calendar }[],
  id: string,
): Calendar | undefined {
  return calendars
    .map(({ value }) => value)
    .filter((each) => each.id === id)
    .toSorted((a, b) => Number((b.version ?? 1n) - (a.version ?? 1n)))[0];
}
