import { claimIdOf, claimTokenNames, type UsageClaim } from "../core/settlement/claims/claim.ts";
import {
  noTokens,
  tokenClasses,
  tokenClassNames,
  type TokenClass,
  type Tokens,
} from "../core/settlement/counting/usage.ts";
import type { AttemptId, InstantUs, ModelId, PoolId, VendorId } from "../core/units.ts";
import { CsvError, type CsvCell } from "./csv.ts";
import { sha256 } from "./signing.ts";

/** Claims of one file. A month that has more is sent in several. */
export const fileClaimsMax = 2_000_000;

/** Columns of a file of claims: one row for each attempt. Instants have their zone; counts are whole numbers. */
export const claimColumns = [
  /** Empty where the vendor has none: such a claim is matched by what it looks like. */
  "attempt_id",
  "pool_id",
  "model_id",
  ...Object.values(claimTokenNames),
  "price_hash",
  "slot",
  "opened_at",
  "closed_at",
] as const;

/** May be left out: 0. */
const optionalColumns = ["rev"] as const;

/**
 * Columns that are read of FOCUS rows: one row for each attempt and class, so `x_AttemptId` has to be there. Rows by the
 * hour say nothing of an attempt. Other columns may be there.
 */
export const focusClaimColumns = [
  "ChargeCategory",
  "ChargePeriodStart",
  "ChargePeriodEnd",
  "ConsumedQuantity",
  "ConsumedUnit",
  "ResourceId",
  "SkuId",
  "x_AttemptId",
  "x_PriceHash",
  "x_PriceSlot",
  "x_TokenClass",
] as const;

type Columns = ReadonlyMap<string, number>;

/** A row by the names of its columns. */
class Row {
  readonly #cells: readonly CsvCell[];
  readonly #columns: Columns;

  constructor(cells: readonly CsvCell[], columns: Columns) {
    this.#cells = cells;
    this.#columns = columns;
  }

  get line(): number {
    return this.#cells[0]?.line ?? 0;
  }

  get text(): string {
    return this.#cells.map(({ text }) => text).join("\u001f");
  }

  cell(name: string): CsvCell {
    const cell = this.#cells[this.#columns.get(name) ?? -1];
    return cell ?? { text: "", line: this.line, column: 1 };
  }

  required(name: string): string {
    const cell = this.cell(name);
    if (cell.text === "") throw new CsvError(cell, `${name}: expected a value, found none`);
    return cell.text;
  }

  refuse(name: string, expected: string): CsvError {
    const cell = this.cell(name);
    return new CsvError(cell, `${name}: expected ${expected}, found ${JSON.stringify(cell.text)}`);
  }
}

/** Makes claims of the rows of a file; the header says of which kind it is. Refused with line and column. */
export class ClaimFile {
  readonly #vendor: VendorId;
  readonly #lineByKey = new Map<string, number>();
  /** FOCUS: what is known so far of an attempt. */
  readonly #focus = new Map<string, UsageClaim>();
  #columns: Columns | undefined;
  #isFocus = false;
  #width = 0;

  constructor(vendor: VendorId) {
    this.#vendor = vendor;
  }

  /** Claims that are complete with this row; those of FOCUS rows are at the end. */
  push(cells: readonly CsvCell[]): UsageClaim[] {
    if (this.#columns === undefined) {
      this.#columns = this.#header(cells);
      return [];
    }
    const [first] = cells;
    if (cells.length !== this.#width && first !== undefined) {
      throw new CsvError(first, `expected ${this.#width} cells, found ${cells.length}`);
    }
    const row = new Row(cells, this.#columns);
    if (this.#isFocus) {
      this.#addFocus(row);
      return [];
    }
    return [this.#claimOf(row)];
  }

  end(): UsageClaim[] {
    return [...this.#focus.values()];
  }

  #header(cells: readonly CsvCell[]): Columns {
    const columns = new Map<string, number>();
    for (const [index, cell] of cells.entries()) {
      if (columns.has(cell.text)) throw new CsvError(cell, `expected column ${cell.text} once`);
      columns.set(cell.text, index);
    }
    this.#width = cells.length;
    this.#isFocus = columns.has("ChargePeriodStart");
    const wanted: readonly string[] = this.#isFocus ? focusClaimColumns : claimColumns;
    const missing = wanted.filter((name) => !columns.has(name));
    const at = cells[0] ?? { line: 1, column: 1 };
    if (missing.length > 0) throw new CsvError(at, `expected columns ${missing.join(", ")}`);
    const known = new Set<string>([...wanted, ...optionalColumns]);
    const stranger = this.#isFocus ? undefined : cells.find(({ text }) => !known.has(text));
    if (stranger === undefined) return columns;
    const expected = [...known].join(", ");
    throw new CsvError(
      stranger,
      `expected one of ${expected}, found ${JSON.stringify(stranger.text)}`,
    );
  }

  #claimOf(row: Row): UsageClaim {
    const named = row.cell("attempt_id").text;
    // The same row of the same file is the same claim, however often it is sent.
    const attempt = (named === "" ? `~${sha256(row.text).slice(0, 32)}` : named) as AttemptId;
    const rev = row.cell("rev").text === "" ? 0n : count(row, "rev");
    this.#once(row, `${attempt}:${rev}`);
    const tokens = tokenClasses.map((each) => [each, count(row, claimTokenNames[each])]);
    return {
      id: claimIdOf(this.#vendor, attempt, rev),
      attempt,
      rev,
      pool: row.required("pool_id") as PoolId,
      model: row.required("model_id") as ModelId,
      tokens: Object.fromEntries(tokens) as Tokens,
      priceHash: row.required("price_hash"),
      slot: row.required("slot"),
      openedUs: instant(row, "opened_at"),
      closedUs: instant(row, "closed_at"),
    };
  }

  #addFocus(row: Row): void {
    // Purchases, credits and the rounding row are no usage.
    if (row.cell("ChargeCategory").text !== "Usage") return;
    const attempt = row.required("x_AttemptId") as AttemptId;
    const tokenClass = classOf(row);
    this.#once(row, `${attempt}:${tokenClass}`);
    if (row.cell("ConsumedUnit").text !== "Tokens") throw row.refuse("ConsumedUnit", "Tokens");
    const before = this.#focus.get(attempt) ?? this.#focusClaim(row, attempt);
    const same = this.#focusClaim(row, attempt);
    for (const [field, column] of [
      ["pool", "ResourceId"],
      ["model", "SkuId"],
      ["priceHash", "x_PriceHash"],
      ["slot", "x_PriceSlot"],
      ["openedUs", "ChargePeriodStart"],
      ["closedUs", "ChargePeriodEnd"],
    ] as const) {
      if (before[field] !== same[field]) {
        throw row.refuse(column, `${before[field]} as in the other rows of ${attempt}`);
      }
    }
    const tokens = { ...before.tokens, [tokenClass]: quantity(row) };
    this.#focus.set(attempt, { ...before, tokens });
  }

  #focusClaim(row: Row, attempt: AttemptId): UsageClaim {
    return {
      id: claimIdOf(this.#vendor, attempt, 0n),
      attempt,
      rev: 0n,
      pool: row.required("ResourceId") as PoolId,
      // `model/class`.
      model: row.required("SkuId").replace(/\/[^/]*$/, "") as ModelId,
      tokens: noTokens,
      priceHash: row.required("x_PriceHash"),
      slot: row.required("x_PriceSlot"),
      openedUs: instant(row, "ChargePeriodStart"),
      closedUs: instant(row, "ChargePeriodEnd"),
    };
  }

  #once(row: Row, key: string): void {
    const before = this.#lineByKey.get(key);
    const at = { line: row.line, column: 1 };
    if (before !== undefined)
      throw new CsvError(at, `expected ${key} once, found it in line ${before}`);
    if (this.#lineByKey.size >= fileClaimsMax) {
      throw new CsvError(at, `expected at most ${fileClaimsMax} rows: send them in several files`);
    }
    this.#lineByKey.set(key, row.line);
  }
}

function classOf(row: Row): TokenClass {
  const name = row.cell("x_TokenClass").text;
  const found = tokenClasses.find((each) => tokenClassNames[each] === name);
  if (found !== undefined) return found;
  throw row.refuse("x_TokenClass", Object.values(tokenClassNames).join(", "));
}

function count(row: Row, name: string): bigint {
  const { text } = row.cell(name);
  if (/^\d{1,15}$/.test(text)) return BigInt(text);
  throw row.refuse(name, "a whole number of at most 15 digits");
}

/** FOCUS writes decimals; tokens are whole. */
function quantity(row: Row): bigint {
  const [, digits] = /^(\d{1,15})(?:\.0*)?$/.exec(row.cell("ConsumedQuantity").text) ?? [];
  if (digits !== undefined) return BigInt(digits);
  throw row.refuse("ConsumedQuantity", "a whole number of tokens");
}

const instantPattern =
  /^(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,6}))?(Z|[+-]\d\d:\d\d)?$/;

/** RFC 3339 to the microsecond, or microseconds since the epoch. Local time is nobody's time. */
function instant(row: Row, name: string): InstantUs {
  const { text } = row.cell(name);
  if (/^\d{16}$/.test(text)) return BigInt(text);
  const [, , , , , , , fraction = "", zone] = instantPattern.exec(text) ?? [];
  if (instantPattern.test(text) && zone === undefined) {
    throw row.refuse(name, "an instant with its zone, such as 2026-11-21T08:00:00+08:00");
  }
  const seconds = text.replace(/\.\d+/, "").replace(" ", "T");
  const ms = Date.parse(seconds);
  // A day that does not exist would become another.
  const isReal = !Number.isNaN(ms) && sameDay(seconds, ms);
  if (zone === undefined || !isReal) {
    throw row.refuse(name, "an instant such as 2026-11-21T00:00:00Z");
  }
  return BigInt(ms) * 1_000n + BigInt(fraction.padEnd(6, "0"));
}

/** Whether an instant, in its own zone, has the date and time that were written. */
function sameDay(seconds: string, ms: number): boolean {
  const [, sign, hours = "0", minutes = "0"] = /([+-])(\d\d):(\d\d)$/.exec(seconds) ?? [];
  const offset = (Number(hours) * 60 + Number(minutes)) * 60_000 * (sign === "-" ? -1 : 1);
  return new Date(ms + offset).toISOString().slice(0, 19) === seconds.slice(0, 19);
}
