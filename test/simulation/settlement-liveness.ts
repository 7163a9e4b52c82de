import { fromSaleText } from "../../services/core/settlement/ledger/sale-text.ts";
import { tokenClasses } from "../../services/core/settlement/counting/usage.ts";
import type { PairId, VendorId } from "../../services/core/units.ts";
import type { LedgerStore, StoredUsage } from "../../services/io/ledger-store.ts";
import { LogReader } from "../../services/settlement/logs/log-reader.ts";
import type { Settlement } from "./settlement-operator.ts";
import { days } from "./settlement-terms.ts";
import type { World } from "./settlement-world.ts";

/** Soon after the last fault everything is as if there had been none. */
export async function checkEnd(world: World, settlement: Settlement): Promise<void> {
  const { run, gateways, vendors } = world;
  const { store, sealer } = settlement;
  for (const gateway of gateways) {
    run.expect(gateway.isEmpty, "I13", () => `${gateway.name} owes ${gateway.unacknowledged}`);
  }
  await checkTruths(world, store);
  await checkOverspent(world, store);
  run.expect((await store.waitingCount()) === 0, "I13", () => "records wait in quarantine");
  const held = await store.holdsOpen(undefined, 10);
  run.expect(held.length === 0, "I35", () => `${held.map(({ id }) => id).join(" ")} are held`);
  const reader = new LogReader(store);
  for (const { terms, head } of vendors.map((vendor) => ({
    terms: vendor.terms,
    head: vendor.head(),
  }))) {
    const size = (await store.logs()).get(terms.pair) ?? 0n;
    const seen = await head;
    run.expect(seen?.size === size, "I24", () => `${terms.id} has seen ${seen?.size} of ${size}`);
    const root = await reader.root(terms.pair, size);
    run.expect(seen?.root === root, "I24", () => `${terms.id} has seen another root of ${size}`);
    const refusal = sealer.logs.get(terms.pair)?.refusal;
    run.expect(refusal === undefined, "I21", () => `${terms.pair}: ${refusal}`);
    await checkRecon(world, settlement, terms.pair);
  }
}

/** Who may not use more than its packages has done so only by what slices held that nobody could renew. */
async function checkOverspent({ run, truths, watch }: World, store: LedgerStore): Promise<void> {
  const sales = await store.salesOf([...truths.values()].map(({ attempt }) => attempt));
  const limited = sales.filter(({ tenant, state, rev }) => {
    return tenant === "limited" && state === "billed" && rev === 0n;
  });
  const overspent = limited.reduce((sum, { text }) => {
    const { tokens, draws } = fromSaleText(text).sale;
    const used = tokenClasses.reduce((all, each) => all + tokens[each], 0n);
    return sum + used - draws.reduce((all, { amount }) => all + amount, 0n);
  }, 0n);
  const { lostUnits } = watch;
  run.expect(overspent <= lostUnits, "I34", () => `${overspent} overspent, ${lostUnits} lost`);
}

/** Each of our records and each of their claims of a day is in one bucket. */
async function checkRecon({ run }: World, settlement: Settlement, pair: PairId) {
  for (const day of days.slice(0, 2)) {
    const { store, sides } = settlement;
    const counts = await sides.recon(pair, day);
    if (counts === undefined) continue;
    const attempts = new Set<string>();
    const vendor = pair.slice("vendor:".length) as VendorId;
    for (const { attempt } of await store.recordsIn(vendor, day, undefined, 1_000)) {
      attempts.add(attempt);
    }
    for (const { attempt } of await store.claims(pair, day, undefined, 1_000))
      attempts.add(attempt);
    const { duplicate, ...others } = counts;
    const sum = Object.values(others).reduce((all, each) => all + each, 0n);
    const isWhole = sum === BigInt(attempts.size) || duplicate > 0n;
    run.expect(isWhole, "I27", () => `${pair}: ${sum} compared of ${attempts.size}`);
  }
}

/** Who was promised that an attempt is safe finds it, once, with what was promised. */
async function checkTruths({ run, truths }: World, store: LedgerStore): Promise<void> {
  const usages = await allUsages(store);
  const byAttempt = Map.groupBy(usages, ({ attempt }) => attempt);
  for (const truth of truths.values()) {
    const { attempt, isOpened, isDispatched, closed, output, delivered } = truth;
    const found = byAttempt.get(attempt) ?? [];
    const first = found.find(({ rev }) => rev === 0n);
    run.expect(
      !isOpened || first !== undefined,
      "I13",
      () => `${attempt} was opened and is nowhere`,
    );
    if (first?.state !== "posted") continue;
    const last = found.toSorted((a, b) => Number(b.rev - a.rev))[0];
    const owed = last?.state === "posted" ? last.amountNano : 0n;
    // C0, C1: what was never sent costs nothing.
    run.expect(
      isDispatched || owed === 0n,
      "C0 C1",
      () => `${attempt} costs ${owed}, was not sent`,
    );
    const sold = tokenClasses.reduce((sum, each) => sum + first.sold[each], 0n);
    run.expect(
      first.sold.response <= delivered,
      "I18",
      () => `${attempt} sells ${first.sold.response} of ${delivered}`,
    );
    run.expect(
      first.tokens.response <= output,
      "I17",
      () => `${attempt} has ${first.tokens.response} of ${output}`,
    );
    if (closed === undefined) continue;
    const isComplete = closed.end === "complete";
    const whole = truth.input + output;
    run.expect(!isComplete || sold === whole, "I15", () => `${attempt} sells ${sold} of ${whole}`);
  }
}

async function allUsages(store: LedgerStore): Promise<StoredUsage[]> {
  const all: StoredUsage[] = [];
  let after: Parameters<LedgerStore["usages"]>[1]["after"];
  for (;;) {
    const page = await store.usages({}, { after, limit: 1_000 });
    if (page.length === 0) return all;
    all.push(...page);
    after = page.at(-1);
  }
}
