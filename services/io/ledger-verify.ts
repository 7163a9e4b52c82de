import {
  addBalances,
  balanceText,
  movements,
  noBalance,
  payableAccount,
  receivableAccount,
  type Balance,
  type LedgerEntry,
} from "../core/settlement/ledger/ledger.ts";
import type { PairId, TenantId } from "../core/units.ts";
import { Findings, named, pageRows, type OnProgress } from "./ledger-findings.ts";
import type { LedgerStore } from "./ledger-store.ts";
import { verifyLogs, type LogHead } from "./ledger-verify-logs.ts";
import { RecordSums } from "./ledger-verify-records.ts";
import { sha256 } from "./signing.ts";

/** What a check of the whole ledger found. */
export interface Verification {
  readonly records: number;
  readonly entries: number;
  /** Size and root of every log, made of the texts of its leaves. */
  readonly heads: ReadonlyMap<string, LogHead>;
  /** Empty: every sum could be made again from the records and entries. */
  readonly mistakes: readonly string[];
}

/**
 * Makes every sum of a ledger again: balances and the trial balance from the entries, what is held from the open
 * holds, rated totals, hours and consumption from the records and sales in force, tiles from the leaves, and each
 * hash from its bytes. Reads page by page: what is kept in memory are sums.
 */
export async function verifyLedger(
  store: LedgerStore,
  onProgress: OnProgress = () => undefined,
): Promise<Verification> {
  const counts = await store.counts();
  const sizes = await store.logs();
  const leaves = [...sizes.values()].reduce((sum, size) => sum + size, 0n);
  const { records, entries, documents } = counts;
  const total = Number(records.rows + entries.rows + documents.rows + leaves);
  const findings = new Findings(total, onProgress);
  for (const [name, { rows, last }] of Object.entries(counts)) {
    if (rows !== last) findings.tell(`${name}: numbers up to ${last}, found ${rows} rows`);
  }
  const sums = new RecordSums(findings);
  await sums.readRecords(store);
  const moved = await movementsOf(store, findings);
  trialBalance(moved.balances, findings);
  sameBalances(await store.balances(), moved.balances, findings);
  await sameHolds(store, moved.balances, findings);
  sameOwed(moved.owed, sums.owed, findings);
  await sums.compare(store);
  const heads = await verifyLogs(store, findings);
  await documentsOf(store, findings);
  await claimsOf(store, findings);
  await waitingOf(store, findings);
  return {
    records: sums.records,
    entries: moved.entries,
    heads,
    mistakes: findings.mistakes,
  };
}

/** What entries of these kinds move on an account is owed for the records in force. */
const owedKinds: ReadonlySet<LedgerEntry["kind"]> = new Set([
  "usage",
  "reverse",
  "model-fee",
  "model-fee-reverse",
  "sale",
  "sale-reverse",
  "draw",
  "draw-reverse",
]);

async function movementsOf(store: LedgerStore, findings: Findings) {
  const balances = new Map<string, Balance>();
  const owed = new Map<string, Balance>();
  let entries = 0;
  for (;;) {
    const page = await store.entriesAfter(BigInt(entries), pageRows);
    if (page.length === 0) return { entries, balances, owed };
    entries += page.length;
    addAll(balances, movements(page));
    addAll(owed, movements(page.filter(({ kind }) => owedKinds.has(kind))));
    findings.looked(page.length);
  }
}

function addAll(balances: Map<string, Balance>, moved: ReadonlyMap<string, Balance>): void {
  for (const [account, by] of moved) {
    balances.set(account, addBalances(balances.get(account) ?? noBalance, by));
  }
}

function trialBalance(balances: ReadonlyMap<string, Balance>, findings: Findings): void {
  const byUnit = new Map<string, Balance>();
  for (const [key, balance] of balances) {
    const [unit = ""] = key.split("\n");
    byUnit.set(unit, addBalances(byUnit.get(unit) ?? noBalance, balance));
  }
  for (const [unit, { debit, credit, heldDebit, heldCredit }] of byUnit) {
    if (debit === credit && heldDebit === heldCredit) continue;
    const held = `${heldDebit} and ${heldCredit} held`;
    findings.tell(`trial balance of ${unit}: ${debit} debited, ${credit} credited, ${held}`);
  }
}

function sameBalances(
  kept: ReadonlyMap<string, Balance>,
  made: ReadonlyMap<string, Balance>,
  findings: Findings,
): void {
  for (const key of new Set([...kept.keys(), ...made.keys()])) {
    const [is, should] = [written(kept.get(key)), written(made.get(key))];
    if (is !== should)
      findings.tell(`balance of ${named(key)}: kept ${is}, entries give ${should}`);
  }
}

function written({ debit, credit, heldDebit, heldCredit }: Balance = noBalance): string {
  const posted = `${debit} debited, ${credit} credited`;
  const isHeld = heldDebit !== 0n || heldCredit !== 0n;
  return isHeld ? `${posted}, ${heldDebit} and ${heldCredit} held` : posted;
}

/** What open holds have left is what their accounts have set aside. */
async function sameHolds(
  store: LedgerStore,
  balances: ReadonlyMap<string, Balance>,
  findings: Findings,
): Promise<void> {
  const made = new Map<string, Balance>();
  let after: string | undefined;
  for (;;) {
    const page = await store.holdsOpen(after, pageRows);
    if (page.length === 0) break;
    after = page.at(-1)?.id;
    for (const { unit, debit, credit, left } of page) {
      const on = (account: string) => balanceText({ unit, account });
      addAll(made, new Map([[on(debit), { ...noBalance, heldDebit: left }]]));
      addAll(made, new Map([[on(credit), { ...noBalance, heldCredit: left }]]));
    }
  }
  for (const key of new Set([...balances.keys(), ...made.keys()])) {
    const { heldDebit, heldCredit } = balances.get(key) ?? noBalance;
    const should = made.get(key) ?? noBalance;
    if (heldDebit === should.heldDebit && heldCredit === should.heldCredit) continue;
    const left = `${should.heldDebit} and ${should.heldCredit}`;
    findings.tell(
      `holds on ${named(key)}: ${heldDebit} and ${heldCredit} held, open ones have ${left} left`,
    );
  }
}

/** By pair: what a vendor or an owner is owed, and what a tenant owes, for the records in force. */
function sameOwed(
  moved: ReadonlyMap<string, Balance>,
  owed: ReadonlyMap<string, bigint>,
  findings: Findings,
): void {
  for (const [pair, should] of owed) {
    const [kind, ...id] = pair.split(":");
    const isTenant = kind === "tenant";
    const account = isTenant
      ? receivableAccount(id.join(":") as TenantId)
      : payableAccount(pair as PairId, "accrued");
    const { debit, credit } = moved.get(balanceText({ unit: "CNY:nano", account })) ?? noBalance;
    const is = isTenant ? debit - credit : credit - debit;
    const what = isTenant ? "receivable" : "payable";
    if (is !== should)
      findings.tell(`${what} of ${pair}: entries give ${is}, records give ${should}`);
  }
}

async function documentsOf(store: LedgerStore, findings: Findings): Promise<void> {
  let afterSeq = 0n;
  for (;;) {
    const page = await store.documents({}, { afterSeq, limit: pageRows });
    if (page.length === 0) return;
    afterSeq = page.at(-1)?.seq ?? afterSeq;
    for (const { kind, id, body, hash } of page) {
      if (sha256(body) !== hash)
        findings.tell(`document ${kind} ${id}: its bytes do not have the hash ${hash}`);
    }
    findings.looked(page.length);
  }
}

async function waitingOf(store: LedgerStore, findings: Findings): Promise<void> {
  let after: Parameters<LedgerStore["waiting"]>[0];
  for (;;) {
    const page = await store.waiting(after, pageRows);
    if (page.length === 0) return;
    after = page.at(-1);
    for (const { record, text, hash } of page) {
      if (sha256(text) !== hash)
        findings.tell(`record ${record}, which waits: its bytes do not have the hash ${hash}`);
    }
  }
}

async function claimsOf(store: LedgerStore, findings: Findings): Promise<void> {
  const ever = { fromUs: -(2n ** 62n), toUs: 2n ** 62n };
  for (const vendor of await store.vendors()) {
    const pair = `vendor:${vendor}` as PairId;
    let after: Parameters<LedgerStore["claims"]>[2];
    for (;;) {
      const page = await store.claims(pair, ever, after, pageRows);
      if (page.length === 0) break;
      after = page.at(-1);
      for (const { attempt, rev, text, hash } of page) {
        if (sha256(text) !== hash)
          findings.tell(
            `claim ${attempt}:${rev} of ${pair}: its bytes do not have the hash ${hash}`,
          );
      }
    }
  }
}
