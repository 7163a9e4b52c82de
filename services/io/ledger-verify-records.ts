import type { HourKey } from "../core/settlement/pricing/charge.ts";
import { consumptionKey, ofRecord, ofSale } from "../core/settlement/ledger/cube.ts";
import { hourOf } from "../core/settlement/statements/period.ts";
import {
  consumptionText,
  type Charge,
  type Consumption,
  type PostedRecord,
  type SaleRow,
} from "../core/settlement/ledger/posting.ts";
import { toNano } from "../core/settlement/pricing/rate.ts";
import { shownTo } from "../core/settlement/statements/statement-lines.ts";
import { fromRecordText } from "../core/settlement/counting/record-text.ts";
import { fromSaleText } from "../core/settlement/ledger/sale-text.ts";
import { tokenClasses } from "../core/settlement/counting/usage.ts";
import type { PairId } from "../core/units.ts";
import type { LedgerStore } from "./ledger-store.ts";
import { named, pageRows, type Findings } from "./ledger-findings.ts";
import { sha256 } from "./signing.ts";

interface Sums {
  readonly tokens: bigint;
  readonly pico: bigint;
  readonly amountNano: bigint;
}

const nothing: Sums = { tokens: 0n, pico: 0n, amountNano: 0n };

/** Charges of a record or of its sale, on the keys of one pair. */
interface Charged {
  readonly pair: string;
  readonly period: string;
  readonly charges: readonly Charge[];
}

/** What the records and sales in force add up to. */
export class RecordSums {
  readonly #findings: Findings;
  /** By pair, period and line; then by pool. */
  readonly #rated = new Map<string, Map<string, Sums>>();
  /** By pair, hour, line, pool and region, whatever the booking. */
  readonly #hours = new Map<string, Sums>();
  /** By `consumptionText`: counts and amounts in the order of `vectorOf`. */
  readonly #consumption = new Map<string, bigint[]>();
  /** By pair. */
  readonly owed = new Map<string, bigint>();
  records = 0;

  constructor(findings: Findings) {
    this.#findings = findings;
  }

  /** Of each attempt the highest revision counts, and the sale that is billed. */
  async readRecords(store: LedgerStore): Promise<void> {
    let last: PostedRecord | undefined;
    for (;;) {
      const page = await store.recordsAfter(last, pageRows);
      if (page.length === 0) break;
      await this.#checkPage(store, page);
      for (const record of page) {
        if (last !== undefined && last.attempt !== record.attempt) this.#addRecord(last);
        last = record;
      }
      this.records += page.length;
      this.#findings.looked(page.length);
    }
    if (last !== undefined) this.#addRecord(last);
  }

  async compare(store: LedgerStore): Promise<void> {
    await this.#compareRated(store);
    await this.#compareHours(store);
    await this.#compareConsumption(store);
  }

  async #checkPage(store: LedgerStore, page: readonly PostedRecord[]): Promise<void> {
    const sales = await store.salesOf(page.map(({ attempt }) => attempt));
    const billed = new Map(
      sales
        .filter(({ state }) => state === "billed")
        .map((row) => [`${row.attempt}:${row.rev}`, row]),
    );
    const refs = page.map(({ vendor, record }) => {
      return { log: `vendor:${vendor}` as PairId, kind: "usage", ref: record };
    });
    const leaves = new Map((await store.leavesOf(refs)).map((leaf) => [leaf.ref, leaf]));
    for (const each of page) {
      const { record, vendor, text, hash } = each;
      if (sha256(text) !== hash)
        this.#tell(`record ${record}: its bytes do not have the hash ${hash}`);
      const leaf = leaves.get(record);
      if (leaf === undefined)
        this.#tell(`record ${record}: no leaf in the log of vendor:${vendor}`);
      else if (!leaf.text.includes(hash))
        this.#tell(`record ${record}: its leaf does not name the hash ${hash}`);
      const sale = billed.get(record);
      if (sale !== undefined) this.#addSale(each, sale);
    }
  }

  #addRecord(record: PostedRecord): void {
    const { vendor, period, charges, amountNano, fees } = record;
    const pair = `vendor:${vendor}`;
    this.#sumsTo(`record ${record.record}`, charges, amountNano);
    this.#addCharges(record, { pair, period, charges });
    this.#owe(pair, amountNano);
    for (const fee of fees) {
      this.#sumsTo(`fee of ${record.record}`, fee.charges, fee.amountNano);
      this.#addCharges(record, fee);
      this.#owe(fee.pair, fee.amountNano);
    }
    this.#consume(record, ofRecord(record));
  }

  #addSale(record: PostedRecord, row: SaleRow): void {
    const { sale, period, hash } = fromSaleText(row.text);
    const pair = `tenant:${sale.tenant}`;
    if (hash !== record.hash)
      this.#tell(`sale ${record.record}: expected one of the hash ${record.hash}, found ${hash}`);
    if (sale.billedNano !== row.billedNano)
      this.#tell(
        `sale ${record.record}: ${row.billedNano} billed, its text says ${sale.billedNano}`,
      );
    this.#sumsTo(`sale ${record.record}`, sale.charges, sale.saleNano);
    this.#addCharges(record, { pair, period, charges: sale.charges });
    this.#owe(pair, sale.billedNano);
    for (const { party, way, amountNano } of sale.parts) {
      if (way === "share" && party !== "internal") this.#owe(party, amountNano);
    }
    this.#consume(record, ofSale(sale));
  }

  #sumsTo(name: string, charges: readonly Charge[], amountNano: bigint): void {
    const sum = charges.reduce((nano, charge) => nano + charge.amountNano, 0n);
    if (sum !== amountNano) this.#tell(`${name}: charges add up to ${sum}, not ${amountNano}`);
  }

  #addCharges(record: PostedRecord, { pair, period, charges }: Charged): void {
    for (const charge of charges) {
      const key = `${pair}\n${period}\n${charge.line}`;
      const byPool = this.#rated.get(key) ?? new Map<string, Sums>();
      this.#rated.set(key, byPool);
      addTo(byPool, record.pool, charge);
      addTo(this.#hours, hourOfRecord(record, pair, charge.line), charge);
    }
  }

  #consume({ text }: PostedRecord, by: Consumption): void {
    const key = consumptionText(consumptionKey(fromRecordText(text)));
    const before = this.#consumption.get(key);
    this.#consumption.set(
      key,
      vectorOf(by).map((each, at) => each + (before?.[at] ?? 0n)),
    );
  }

  #owe(pair: string, nano: bigint): void {
    this.owed.set(pair, (this.owed.get(pair) ?? 0n) + nano);
  }

  async #compareRated(store: LedgerStore): Promise<void> {
    const kept = new Set<string>();
    for (const { key, total } of await store.cumulatives()) {
      const { pair, period, line, scope } = key;
      const made = this.#rated.get(`${pair}\n${period}\n${line}`) ?? new Map<string, Sums>();
      const { tokens, pico, amountNano } =
        scope === "*" ? sumOf(made.values()) : (made.get(scope) ?? nothing);
      for (const pool of scope === "*" ? made.keys() : [scope]) {
        kept.add(`${pair}\n${period}\n${line}\n${pool}`);
      }
      const isSame =
        tokens === total.tokens && pico === total.pico && amountNano === toNano(total.pico);
      if (isSame) continue;
      const name = [pair, period, line, scope].join(" ");
      const found = `kept ${exact(total)}, records give ${exact({ tokens, pico })}`;
      this.#tell(`total of ${name}: ${found}`);
    }
    for (const [key, byPool] of this.#rated) {
      const lost = [...byPool.keys()].find((pool) => !kept.has(`${key}\n${pool}`));
      if (lost !== undefined) this.#tell(`no total of ${named(key)} ${lost}`);
    }
  }

  async #compareHours(store: LedgerStore): Promise<void> {
    const kept = new Map<string, Sums>();
    for (const { key, total } of await store.hours()) addTo(kept, hourText(key), total);
    for (const key of new Set([...kept.keys(), ...this.#hours.keys()])) {
      const [is, should] = [written(kept.get(key)), written(this.#hours.get(key))];
      if (is !== should) this.#tell(`hours of ${named(key)}: kept ${is}, records give ${should}`);
    }
  }

  async #compareConsumption(store: LedgerStore): Promise<void> {
    const [fromUs, toUs] = [-(2n ** 62n), 2n ** 62n];
    const rows = await store.consumption(undefined, fromUs, toUs);
    const kept = new Map(rows.map(({ key, total }) => [consumptionText(key), vectorOf(total)]));
    for (const key of new Set([...kept.keys(), ...this.#consumption.keys()])) {
      const [is, should] = [consumed(kept.get(key)), consumed(this.#consumption.get(key))];
      if (is !== should)
        this.#tell(`consumption of ${named(key)}: kept ${is}, records give ${should}`);
    }
  }

  #tell(mistake: string): void {
    this.#findings.tell(mistake);
  }
}

function hourOfRecord(
  { openedUs, pool, region }: PostedRecord,
  pair: string,
  line: string,
): string {
  const shown = shownTo(pair as PairId, { pool, region });
  return hourText({ pair: pair as PairId, hourUs: hourOf(openedUs), line, ...shown });
}

function hourText({ pair, hourUs, line, pool, region }: Omit<HourKey, "booking">): string {
  return [pair, hourUs, line, pool, region].join("\n");
}

function addTo(sums: Map<string, Sums>, key: string, by: Sums): void {
  sums.set(key, added(sums.get(key) ?? nothing, by));
}

function added(a: Sums, b: Sums): Sums {
  return {
    tokens: a.tokens + b.tokens,
    pico: a.pico + b.pico,
    amountNano: a.amountNano + b.amountNano,
  };
}

function sumOf(all: Iterable<Sums>): Sums {
  let sum = nothing;
  for (const each of all) sum = added(sum, each);
  return sum;
}

function exact({ tokens, pico }: Pick<Sums, "tokens" | "pico">): string {
  return `${tokens} tokens, ${pico} pico`;
}

/** All that is compared, so that what differs can be seen. */
function written(sums: Sums = nothing): string {
  return `${exact(sums)}, ${sums.amountNano} nano`;
}

function vectorOf(of: Consumption): bigint[] {
  const { requests, tokens, saleNano, coveredNano, billedNano, releasedNano, costNano } = of;
  const money = [saleNano, coveredNano, billedNano, releasedNano, costNano];
  return [requests, ...tokenClasses.map((each) => tokens[each]), ...money];
}

/** Requests, tokens by class, then sold, covered, billed, released and cost. */
function consumed(vector: readonly bigint[] = []): string {
  return vector.some((each) => each !== 0n) ? vector.join(" ") : "nothing";
}
