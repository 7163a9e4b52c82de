import type { PairId } from "../../units.ts";
import type { TokenClass } from "../counting/usage.ts";
import { bookShape } from "../pricing/book-shape.ts";
import { partsOfLineId } from "../pricing/charge.ts";
import {
  everyTenant,
  pairOf,
  scopeOf,
  type Calendar,
  type PriceBook,
  type PriceLine,
} from "../pricing/price-book.ts";
import { nothingRated, rate, unrate, type Cumulative } from "../pricing/rate.ts";
import { readCanonical } from "../terms/shape.ts";
import { periodNamed } from "./period.ts";
import type { Statement } from "./statement.ts";

/** A version of a price book, with the SHA-256 of its bytes. */
export interface HashedBook {
  readonly book: PriceBook;
  readonly hash: string;
}

/** A version by its canonical text, or what is wrong with it. Its lines are wanted alone: no calendar is asked for. */
export function bookOfText(text: string): PriceBook | string {
  const read = readCanonical(bookShape(blankCalendar), text);
  if ("value" in read) return read.value;
  return read.misfits.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ");
}

function blankCalendar(id: string): Calendar {
  return { id, offsetMinutes: 0, kindByDate: new Map(), coversToUs: 0n };
}

type Words<Name extends string> = Readonly<Record<Name, string>>;
type TokenMembers = Words<
  "in_uncached" | "in_cache_read" | "in_cache_write" | "out_response" | "out_reasoning"
>;
type ChargeMembers = Words<"line_id" | "tokens" | "pico" | "nano" | "scope">;
type Priced = TokenMembers &
  Words<"period" | "slot" | "amount_nano"> & {
    readonly price_hash: string | null;
    readonly charges: readonly ChargeMembers[];
    readonly taken_back: readonly ChargeMembers[];
  };
type PricedLeaf =
  | {
      readonly type: "usage";
      readonly settled: Priced;
      readonly witness: Words<"model_id" | "pool_id">;
    }
  | (Priced & Words<"model_id"> & { readonly type: "fee" | "sale" })
  | { readonly type: "other" };

/** What is known of a rating key: all of it, or what was added since the range began. */
interface Key {
  readonly isWhole: boolean;
  total: Cumulative;
  nano: bigint;
}

/** What a revision takes back and has to bear: of a key that is known what stays on it, of another all that was charged. */
interface Left {
  readonly tokens: bigint;
  readonly pico: bigint;
  readonly nano: bigint;
}

/** What a leaf says of where it was used; undefined where it is not shown. */
interface Of {
  readonly model: string;
  readonly pool: string | undefined;
}

const messagesMax = 20;
const nothingLeft: Left = { tokens: 0n, pico: 0n, nano: 0n };

/**
 * Rates the leaves of a statement's log range again, in their order, by the books that both parties have signed. A key whose
 * period begins within the range comes out to the nano. Of one that is older the range does not say how much it held: its tokens
 * are held to the prices of its tiers, and its nano to their pico.
 */
export class LeafPrices {
  readonly #statement: Statement;
  readonly #bookById: ReadonlyMap<string, HashedBook>;
  readonly #lines = new Map<string, PriceLine | undefined>();
  readonly #keys = new Map<string, Key>();
  /** Of lines that cumulate at pools which are not shown: no further than a leaf. */
  readonly #ofLeaf = new Map<string, Key>();
  readonly #open = new Set<string>();
  readonly #messages: string[] = [];
  #isPoolShown = true;
  #index: bigint;
  #leaves = 0n;

  constructor(statement: Statement, books: readonly HashedBook[]) {
    this.#statement = statement;
    this.#index = statement.log.firstIndex;
    this.#bookById = new Map(books.map((each) => [`${each.book.id}@${each.book.version}`, each]));
  }

  /** Leaves that had prices. */
  get leaves(): bigint {
    return this.#leaves;
  }

  /** Rating keys of which the range has a part only, or does not say at which pool. */
  get openKeys(): number {
    return this.#open.size;
  }

  /** What is wrong, in words; the first few. */
  get messages(): readonly string[] {
    return this.#messages;
  }

  add(text: string): void {
    const leaf = JSON.parse(text) as PricedLeaf;
    if (leaf.type === "usage") {
      const { model_id: model, pool_id: pool } = leaf.witness;
      this.#price(leaf.settled, { model, pool });
    } else if (leaf.type === "fee" || leaf.type === "sale") {
      this.#price(leaf, { model: leaf.model_id, pool: undefined });
    }
    this.#index += 1n;
  }

  #price(priced: Priced, of: Of): void {
    this.#leaves += 1n;
    this.#ofLeaf.clear();
    this.#isPoolShown = of.pool !== undefined;
    const { period, charges, taken_back: takenBack } = priced;
    const left = new Map<string, Left>();
    for (const charge of takenBack) left.set(charge.line_id, this.#takeBack(charge, period));
    for (const charge of charges) {
      this.#charge(charge, period, left.get(charge.line_id) ?? nothingLeft);
      left.delete(charge.line_id);
      if (charge.tokens !== "0") this.#checkLine(charge, priced, of);
    }
    for (const [line, rest] of left) this.#bear(line, rest, this.#isWhole(period, line));
    const sum = charges.reduce((total, { nano }) => total + BigInt(nano), 0n);
    this.#expect("amount_nano", sum, BigInt(priced.amount_nano));
    this.#checkClasses(priced);
  }

  /** On a line that is charged no more. */
  #bear(at: string, { tokens, pico, nano }: Left, isWhole: boolean): void {
    const line = this.#lineOf(at);
    if (line === undefined) return;
    if (!isWhole) {
      this.#bound(at, line, { tokens: -tokens, pico: -pico });
      return;
    }
    this.#expect(`pico left on ${at}`, pico, 0n);
    this.#expect(`nano left on ${at}`, nano, 0n);
  }

  /** Whatever was used before, a token costs no less than in the cheapest tier and no more than in the dearest. */
  #bound(at: string, { tiers }: PriceLine, by: Omit<Left, "nano">): void {
    const prices = tiers.map(({ pricePicoPerToken }) => by.tokens * pricePicoPerToken);
    const [first = 0n] = prices;
    const least = prices.reduce((one, other) => (other < one ? other : one), first);
    const most = prices.reduce((one, other) => (other > one ? other : one), first);
    if (by.pico >= least && by.pico <= most) return;
    this.#say(
      `pico of ${at}: expected ${least} to ${most} of ${by.tokens} tokens, found ${by.pico}`,
    );
  }

  /** Out of its key again; what stays there is of the revision that takes it back. */
  #takeBack(charge: ChargeMembers, period: string): Left {
    const line = this.#lineOf(charge.line_id);
    const { tokens, pico, nano } = amountsOf(charge);
    if (line === undefined) return nothingLeft;
    const key = this.#keyOf(charge, period);
    if (!key.isWhole) {
      this.#move(key, { tokens: -tokens, pico: -pico, nano: -nano });
      return { tokens, pico, nano };
    }
    if (tokens > key.total.tokens) {
      this.#say(
        `${charge.line_id}: expected at most ${key.total.tokens} tokens taken back, found ${tokens}`,
      );
      return nothingLeft;
    }
    const undone = unrate(tokens, line.tiers, key.total);
    key.total = undone.after;
    return { tokens: 0n, pico: pico + undone.pico, nano: nano + undone.amountNano };
  }

  #charge(charge: ChargeMembers, period: string, left: Left): void {
    const line = this.#lineOf(charge.line_id);
    if (line === undefined) return;
    const { tokens, pico, nano } = amountsOf(charge);
    const key = this.#keyOf(charge, period);
    const at = charge.line_id;
    if (key.isWhole) {
      const rated = rate(tokens, line.tiers, key.total);
      key.total = rated.after;
      this.#expect(`pico of ${at}`, rated.pico + left.pico, pico);
      this.#expect(`nano of ${at}`, rated.amountNano + left.nano, nano);
      return;
    }
    this.#bound(at, line, { tokens: tokens - left.tokens, pico: pico - left.pico });
    this.#move(key, { tokens, pico, nano });
    // Two rounded totals are less than a nano apart from the exact ones, together.
    const off = key.nano * 1_000n - key.total.pico;
    if (off > 1_000n || off < -1_000n) {
      this.#say(`nano of ${at}: expected ${key.total.pico} pico in all, found ${key.nano} nano`);
    }
  }

  #checkLine(
    charge: ChargeMembers,
    { slot, price_hash: hash }: Priced,
    { model, pool = "*" }: Of,
  ): void {
    const { line_id: at } = charge;
    const line = this.#lineOf(at);
    if (line === undefined) return;
    this.#expect(`model of ${at}`, line.model, model);
    this.#expect(`scope of ${at}`, scopeOf(line, pool), charge.scope);
    if (line.slot !== "any") this.#expect(`slot of ${at}`, line.slot, slot);
    this.#expect(`price_hash of ${at}`, this.#bookOf(at)?.hash, hash ?? "none");
    const most = line.variant === "minimum" ? (line.minPicoPerRequest ?? 0n) : 1n;
    if (line.tokenClass === "request" && BigInt(charge.tokens) > most) {
      this.#say(`${at}: expected at most ${most} of a record, found ${charge.tokens}`);
    }
  }

  /** No more of a class is charged than was settled. */
  #checkClasses(priced: Priced): void {
    const settled: Readonly<Record<TokenClass, string>> = {
      uncachedInput: priced.in_uncached,
      cacheRead: priced.in_cache_read,
      cacheWrite: priced.in_cache_write,
      response: priced.out_response,
      reasoning: priced.out_reasoning,
    };
    const charged = new Map<string, bigint>();
    for (const { line_id: at, tokens } of priced.charges) {
      const { tokenClass = "request" } = this.#lineOf(at) ?? {};
      charged.set(tokenClass, (charged.get(tokenClass) ?? 0n) + BigInt(tokens));
    }
    for (const [name, most] of Object.entries(settled)) {
      const tokens = charged.get(name) ?? 0n;
      if (tokens > BigInt(most)) {
        this.#say(`${name}: expected at most ${most} tokens charged, found ${tokens}`);
      }
    }
  }

  #move(key: Key, by: Left): void {
    const { tokens, pico, records } = key.total;
    key.total = { tokens: tokens + by.tokens, pico: pico + by.pico, records };
    key.nano += by.nano;
  }

  #keyOf({ line_id: line, scope }: ChargeMembers, period: string): Key {
    const text = `${period}\n${line}\n${scope}`;
    const keys = this.#isHidden(line) ? this.#ofLeaf : this.#keys;
    const known = keys.get(text);
    if (known !== undefined) return known;
    const key = { isWhole: this.#isWhole(period, line), total: nothingRated, nano: 0n };
    keys.set(text, key);
    if (!key.isWhole) this.#open.add(text);
    return key;
  }

  /** It cumulates at each pool by itself, and to whom the leaf is, no pool is shown. */
  #isHidden(line: string): boolean {
    return !this.#isPoolShown && this.#lineOf(line)?.scope !== "contract";
  }

  /** Nothing of a period is in the log before what was closed when it began. */
  #isWhole(name: string, line: string): boolean {
    if (this.#isHidden(line)) return false;
    const { log, period } = this.#statement;
    const named = periodNamed(name, period.timeZone);
    return log.firstIndex === 0n || (named !== undefined && named.fromUs >= period.fromUs);
  }

  #lineOf(text: string): PriceLine | undefined {
    if (this.#lines.has(text)) return this.#lines.get(text);
    const { line: id } = partsOfLineId(text);
    const known = this.#bookOf(text);
    const line = known?.book.lines.find((each) => each.id === id);
    this.#lines.set(text, line);
    if (known === undefined) this.#say(`${text}: expected its book among those given, found none`);
    else if (line === undefined) this.#say(`${text}: expected a line of the book, found none`);
    else if (!isOf(known.book, this.#statement.pair)) {
      this.#say(
        `${text}: expected a book of ${this.#statement.pair}, found one of ${pairOf(known.book)}`,
      );
    }
    return line;
  }

  #bookOf(text: string): HashedBook | undefined {
    const { book, version } = partsOfLineId(text);
    return this.#bookById.get(`${book}@${version}`);
  }

  #expect(what: string, expected: bigint | string | undefined, found: bigint | string): void {
    if (expected !== found) this.#say(`${what}: expected ${expected}, found ${found}`);
  }

  #say(message: string): void {
    if (this.#messages.length < messagesMax) this.#messages.push(`leaf ${this.#index}: ${message}`);
  }
}

function amountsOf({ tokens, pico, nano }: ChargeMembers): Left {
  return { tokens: BigInt(tokens), pico: BigInt(pico), nano: BigInt(nano) };
}

function isOf(book: PriceBook, pair: PairId): boolean {
  const of = pairOf(book);
  return of === pair || (of === everyTenant && pair.startsWith("tenant:"));
}
