import {
  Frontier,
  verifyConsistency,
  verifyInclusion,
} from "../../services/core/settlement/proof/merkle.ts";
import { fromStatementText } from "../../services/core/settlement/statements/statement-text.ts";
import { dayAfter } from "../../services/core/settlement/statements/period.ts";
import { payableNano } from "../../services/core/settlement/statements/statement.ts";
import type { PairId } from "../../services/core/units.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { sha256 } from "../../services/io/signing.ts";
import { LogReader, tree } from "../../services/settlement/logs/log-reader.ts";
import { recompute } from "../../services/settlement/statements/recompute.ts";
import type { CommitWatch } from "./settlement-invariants.ts";
import type { Settlement } from "./settlement-operator.ts";
import { pairs, vendors } from "./settlement-terms.ts";
import type { Run } from "./settlement-time.ts";

/** What is looked at now and then: every sum of the ledger is made again. */
export async function checkLedger(run: Run, store: LedgerStore, watch: CommitWatch): Promise<void> {
  const { mistakes } = await verifyLedger(store);
  run.expect(mistakes.length === 0, "I2 I5 I7 I18 I22", () => mistakes.slice(0, 3).join("; "));
  const balances = await store.balances();
  for (const [key, { debit, credit }] of watch.balances) {
    const kept = balances.get(key);
    const isSame = kept?.debit === debit && kept.credit === credit;
    run.expect(isSame, "I2", () => `${key}: entries give ${debit} and ${credit}`);
  }
}

/** Every checkpoint that was ever signed is a beginning of the log as it is. */
export async function checkLogs(run: Run, store: LedgerStore, watch: CommitWatch): Promise<void> {
  const signed = [...watch.roots].map(([name, root]) => {
    const [log = "", size = "0"] = name.split(" ");
    return { log: log as PairId, size: BigInt(size), root };
  });
  for (const [log, own] of Map.groupBy(signed, (each) => each.log)) {
    const rootBySize = new Map(own.map(({ size, root }) => [size, root]));
    const frontier = new Frontier(tree);
    for (const hash of await store.leafHashes(log, 0n, 100_000)) {
      frontier.append(hash);
      const root = rootBySize.get(frontier.size);
      if (root === undefined) continue;
      run.expect(root === frontier.root(), "I21", () => `${log} ${frontier.size}: signed ${root}`);
      rootBySize.delete(frontier.size);
    }
    const [lost] = rootBySize.keys();
    run.expect(lost === undefined, "I21", () => `${log}: ${lost} leaves were signed`);
  }
  for (const { pair } of vendors) await checkProof(run, store, pair);
}

/** A proof is good, and is not when a bit of anything is another. */
async function checkProof(run: Run, store: LedgerStore, pair: PairId): Promise<void> {
  const size = (await store.logs()).get(pair) ?? 0n;
  if (size < 2n) return;
  const reader = new LogReader(store);
  const index = BigInt(run.between(0, Number(size) - 1));
  const [leaf] = await store.leaves(pair, index, 1);
  if (leaf === undefined) return;
  const root = await reader.root(pair, size);
  const path = await reader.inclusion(pair, index, size);
  const proof = { index, size, path, root, leaf: tree.leaf(leaf.text) };
  const flip = (hash: string): string => (hash.startsWith("0") ? "1" : "0") + hash.slice(1);
  const place = run.between(0, path.length - 1);
  const forged = [
    { ...proof, leaf: tree.leaf(`${leaf.text} `) },
    { ...proof, root: flip(root) },
    { ...proof, index: index === 0n ? 1n : index - 1n },
    { ...proof, path: path.map((hash, at) => (at === place ? flip(hash) : hash)) },
  ];
  const isGood = (of: typeof proof): boolean => verifyInclusion(of, tree);
  run.expect(isGood(proof), "I23", () => `${pair} ${index}: a good proof fails`);
  run.expect(!forged.some(isGood), "I23", () => `${pair} ${index}: a forged proof passes`);
  const oldSize = size / 2n;
  const old = { oldSize, oldRoot: await reader.root(pair, oldSize), size, root };
  const growth = { ...old, path: await reader.consistency(pair, oldSize, size) };
  run.expect(verifyConsistency(growth, tree), "I21", () => `${pair}: ${oldSize} to ${size}`);
  const isForgedGood = verifyConsistency({ ...growth, oldRoot: flip(growth.oldRoot) }, tree);
  run.expect(!isForgedGood, "I23", () => `${pair}: forged growth passes`);
}

/** Statements are dense, and come out the same when they are made again. */
export async function checkStatements(run: Run, { store, closed }: Settlement): Promise<void> {
  for (const pair of pairs) {
    const daily = closed.of(pair).filter(({ kind }) => kind === "daily");
    const names = daily.map(({ name }) => name);
    const isDense = names.slice(1).every((name, at) => {
      return name === dayAfter(names[at] ?? "", "Asia/Shanghai");
    });
    run.expect(isDense, "I32", () => `${pair} has ${names.join(" ")}`);
    let prev = "";
    for (const { statement: id } of daily) {
      const body = (await store.document("statement", id))?.body ?? "";
      const statement = fromStatementText(body, sha256);
      const { prevDigest } = statement;
      run.expect(prevDigest === prev, "I32", () => `${id} follows on ${prevDigest}, not ${prev}`);
      prev = statement.digest;
      run.expect(statement.text === body, "I36", () => `${id} reads back as other bytes`);
      for (const source of ["hours", "leaves"] as const) {
        const found = await recompute(store, statement, { source });
        run.expect(found.length === 0, "I36", () => `${id} by ${source}: ${found.join("; ")}`);
      }
      const { roundingNano, netNano } = statement.totals;
      const fen = 10_000_000n;
      run.expect(roundingNano < fen && -roundingNano < fen, "I8", () => `${id}: ${roundingNano}`);
      const sum =
        statement.lines.reduce((nano, { amountNano }) => nano + amountNano, 0n) +
        statement.fees.reduce((nano, { amountNano }) => nano + amountNano, 0n) +
        statement.totals.creditsNano;
      run.expect(sum === netNano, "I8", () => `${id}: lines give ${sum}, net is ${netNano}`);
      const payable = payableNano(statement);
      run.expect(payable === netNano + roundingNano, "I8", () => `${id}: payable ${payable}`);
    }
  }
}

/** The same records in one batch, without a single crash: all that is owed by a price is the same. */
export async function checkConvergence(
  run: Run,
  store: LedgerStore,
  options: {
    readonly post: (into: LedgerStore, texts: readonly string[]) => Promise<void>;
    /** Who of two winners is billed depends on who comes first. */
    readonly hasTwoWinners: boolean;
  },
): Promise<void> {
  const texts: string[] = [];
  const revs = new Map<string, string>();
  let last: Parameters<LedgerStore["recordsAfter"]>[0];
  for (;;) {
    const page = await store.recordsAfter(last, 1_000);
    if (page.length === 0) break;
    for (const { record, text } of page) revs.set(record, text);
    last = page.at(-1);
  }
  // In the order of a life: each attempt and then its corrections.
  texts.push(...[...revs].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, text]) => text));
  const fresh = await openSqliteLedger(":memory:");
  await options.post(fresh, texts);
  const rated = async (of: LedgerStore): Promise<Map<string, string>> =>
    new Map(
      (await of.cumulatives())
        .filter(({ total }) => total.tokens !== 0n || total.pico !== 0n)
        .filter(({ key }) => !options.hasTwoWinners || !key.pair.startsWith("tenant:"))
        .map(({ key, total }) => [Object.values(key).join(" "), `${total.tokens} ${total.pico}`]),
    );
  const [is, should] = [await rated(store), await rated(fresh)];
  for (const key of new Set([...is.keys(), ...should.keys()])) {
    const [found, expected] = [is.get(key), should.get(key)];
    run.expect(
      found === expected,
      "I11 I13",
      () => `${key}: ${found}, without crashes ${expected}`,
    );
  }
  await fresh.close();
}

/** What a package was sold with is used, expired, given back, or still there. */
export async function checkPackages(run: Run, { packages }: Settlement): Promise<void> {
  for (const { package: each, used, left, held, prepaidNano } of await packages.reports(
    undefined,
  )) {
    const { id, sku, expiredUnits, refundedUnits } = each;
    const sum = used + left + expiredUnits + refundedUnits;
    run.expect(sum === sku.quantity && left >= 0n, "I6", () => `${id}: ${sum} of ${sku.quantity}`);
    run.expect(left > 0n || prepaidNano === 0n, "I6", () => `${id} is empty, ${prepaidNano} left`);
    run.expect(held <= left, "I3", () => `${id} has ${left}, of which ${held} are held`);
  }
}
