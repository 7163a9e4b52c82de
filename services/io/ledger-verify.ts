import { hash } from "node:crypto";
import type { RatingKey } from "../core/settlement/charge.ts";
import { movements, type AccountId, type Balance } from "../core/settlement/ledger.ts";
import { ratingText, type PostedRecord } from "../core/settlement/posting.ts";
import { toNano } from "../core/settlement/rate.ts";
import type { LedgerStore } from "./ledger-store.ts";

/** What a check of the whole ledger found. */
export interface Verification {
  readonly records: number;
  readonly entries: number;
  /** Empty: every sum could be made again from the records and entries. */
  readonly mistakes: readonly string[];
}

interface Sums {
  tokens: bigint;
  pico: bigint;
  amountNano: bigint;
}

const pageRecords = 1_000;

/**
 * Makes every sum of a ledger again: the trial balance, the balances from the entries, the rated totals and the
 * hours from the records in force, and each record's hash from its bytes.
 */
export async function verifyLedger(store: LedgerStore): Promise<Verification> {
  const found = await recordsOf(store);
  const moved = await movementsOf(store);
  return {
    records: found.records,
    entries: moved.entries,
    mistakes: [
      ...found.mistakes,
      ...trialBalance(moved.balances),
      ...sameBalances(await store.balances(), moved.balances),
      ...(await sameTotals(store, found.sumsByKey)),
      ...(await sameHours(store, found.sumsByLine)),
      ...samePayables(moved.balances, found.nanoByVendor),
    ],
  };
}

async function recordsOf(store: LedgerStore) {
  const mistakes: string[] = [];
  const sumsByKey = new Map<string, Sums>();
  const sumsByLine = new Map<string, Sums>();
  const nanoByVendor = new Map<string, bigint>();
  let records = 0;
  for await (const record of inForce(store, (each) => {
    records += 1;
    if (hash("sha256", each.text, "hex") !== each.hash) {
      mistakes.push(`record ${each.record}: its bytes do not have the hash ${each.hash}`);
    }
  })) {
    const { vendor, period, pool, region, charges, amountNano } = record;
    let sum = 0n;
    for (const { line, ...charge } of charges) {
      addTo(sumsByKey, ratingText({ vendor, period, line, pool }), charge);
      addTo(sumsByLine, [vendor, line, pool, region].join("\n"), charge);
      sum += charge.amountNano;
    }
    if (sum !== amountNano) {
      mistakes.push(`record ${record.record}: charges add up to ${sum}, not ${amountNano}`);
    }
    nanoByVendor.set(vendor, (nanoByVendor.get(vendor) ?? 0n) + amountNano);
  }
  return { records, mistakes, sumsByKey, sumsByLine, nanoByVendor };
}

/** The highest revision of each attempt; all of them are shown to `look`. */
async function* inForce(
  store: LedgerStore,
  look: (record: PostedRecord) => void,
): AsyncGenerator<PostedRecord> {
  let last: PostedRecord | undefined;
  for (;;) {
    const page = await store.recordsAfter(last, pageRecords);
    for (const record of page) {
      look(record);
      if (last !== undefined && last.attempt !== record.attempt) yield last;
      last = record;
    }
    if (page.length === 0) break;
  }
  if (last !== undefined) yield last;
}

async function movementsOf(store: LedgerStore) {
  const balances = new Map<AccountId, Balance>();
  let entries = 0;
  for (;;) {
    const page = await store.entriesAfter(BigInt(entries), pageRecords);
    if (page.length === 0) return { entries, balances };
    entries += page.length;
    for (const [account, { debitNano, creditNano }] of movements(page)) {
      const before = balances.get(account) ?? { debitNano: 0n, creditNano: 0n };
      balances.set(account, {
        debitNano: before.debitNano + debitNano,
        creditNano: before.creditNano + creditNano,
      });
    }
  }
}

function trialBalance(balances: ReadonlyMap<AccountId, Balance>): string[] {
  let [debits, credits] = [0n, 0n];
  for (const { debitNano, creditNano } of balances.values()) {
    debits += debitNano;
    credits += creditNano;
  }
  return debits === credits ? [] : [`trial balance: ${debits} debited, ${credits} credited`];
}

function sameBalances(
  kept: ReadonlyMap<AccountId, Balance>,
  made: ReadonlyMap<AccountId, Balance>,
): string[] {
  const accounts = new Set([...kept.keys(), ...made.keys()]);
  return [...accounts].flatMap((account) => {
    const [is, should] = [netOf(kept.get(account)), netOf(made.get(account))];
    return is === should ? [] : [`balance of ${account}: kept ${is}, entries give ${should}`];
  });
}

function netOf(balance: Balance | undefined): string {
  return `${balance?.debitNano ?? 0n} debited, ${balance?.creditNano ?? 0n} credited`;
}

async function sameTotals(store: LedgerStore, made: ReadonlyMap<string, Sums>): Promise<string[]> {
  const kept = await store.cumulatives();
  const mistakes = kept.flatMap(({ key, total }) => {
    const { tokens, pico, amountNano } = made.get(ratingText(key)) ?? nothing;
    const isSame =
      tokens === total.tokens && pico === total.pico && amountNano === toNano(total.pico);
    return isSame
      ? []
      : [
          `total of ${nameOf(key)}: kept ${written(total)}, records give ${written({ tokens, pico })}`,
        ];
  });
  return [...mistakes, ...missing(made, new Set(kept.map(({ key }) => ratingText(key))))];
}

async function sameHours(store: LedgerStore, made: ReadonlyMap<string, Sums>): Promise<string[]> {
  const kept = new Map<string, Sums>();
  for (const { key, total } of await store.hours()) {
    addTo(kept, [key.vendor, key.line, key.pool, key.region].join("\n"), total);
  }
  const mistakes = [...kept].flatMap(([line, sums]) => {
    const should = made.get(line) ?? nothing;
    const isSame =
      sums.tokens === should.tokens &&
      sums.pico === should.pico &&
      sums.amountNano === should.amountNano;
    return isSame
      ? []
      : [`hours of ${spaced(line)}: kept ${written(sums)}, records give ${written(should)}`];
  });
  return [...mistakes, ...missing(made, new Set(kept.keys()))];
}

function samePayables(
  balances: ReadonlyMap<AccountId, Balance>,
  nanoByVendor: ReadonlyMap<string, bigint>,
): string[] {
  return [...nanoByVendor].flatMap(([vendor, should]) => {
    const balance = balances.get(`liab:payable:vendor:${vendor}:accrued`);
    const is = (balance?.creditNano ?? 0n) - (balance?.debitNano ?? 0n);
    return is === should ? [] : [`payable of ${vendor}: kept ${is}, records give ${should}`];
  });
}

function missing(made: ReadonlyMap<string, Sums>, kept: ReadonlySet<string>): string[] {
  const lost = [...made.keys()].filter((key) => !kept.has(key));
  return lost.map((key) => `no total of ${spaced(key)}`);
}

const nothing: Sums = { tokens: 0n, pico: 0n, amountNano: 0n };

function addTo(sums: Map<string, Sums>, key: string, by: Sums): void {
  const before = sums.get(key) ?? nothing;
  sums.set(key, {
    tokens: before.tokens + by.tokens,
    pico: before.pico + by.pico,
    amountNano: before.amountNano + by.amountNano,
  });
}

/** All that is compared, so that what differs can be seen. */
function written(sums: Pick<Sums, "tokens" | "pico"> & { readonly amountNano?: bigint }): string {
  const { tokens, pico, amountNano } = sums;
  const exact = `${tokens} tokens, ${pico} pico`;
  return amountNano === undefined ? exact : `${exact}, ${amountNano} nano`;
}

/** Keys have their parts on lines of their own. */
function spaced(key: string): string {
  return key.replaceAll("\n", " ");
}

function nameOf({ vendor, period, line, pool }: RatingKey): string {
  return [vendor, period, line, pool].join(" ");
}
