import { ConnectError } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { signDetached } from "../../../services/core/settlement/proof/jws.ts";
import { balanceText, payableStates } from "../../../services/core/settlement/ledger/ledger.ts";
import {
  dayOf,
  monthOf,
  type Period,
} from "../../../services/core/settlement/statements/period.ts";
import { statementJwsType } from "../../../services/core/settlement/statements/statement-check.ts";
import {
  payableNano,
  type Statement,
} from "../../../services/core/settlement/statements/statement.ts";
import type { GatewayId, ModelId, PairId } from "../../../services/core/units.ts";
import { openSqliteLedger } from "../../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../../services/io/ledger-store.ts";
import { openLog } from "../../../services/io/log.ts";
import { newSigningKey } from "../../../services/io/signing.ts";
import { ClosedPeriods } from "../../../services/settlement/statements/closed-periods.ts";
import { SettlementMetrics } from "../../../services/settlement/metrics.ts";
import { recompute } from "../../../services/settlement/statements/recompute.ts";
import { bookedHours } from "../../../services/settlement/statements/statement-hours.ts";
import { StatementSteps } from "../../../services/settlement/statements/statement-steps.ts";
import {
  Statements,
  type StatementSources,
} from "../../../services/settlement/statements/statements.ts";
import { trueUpsFrom } from "../../../services/settlement/statements/true-ups.ts";
import { friday, sha256 } from "../../core/settlement/fixtures.ts";
import { acme } from "../../core/settlement/package-ledger.ts";
import { buyBook, openBooks, record, type Books } from "../../io/ledger-books.ts";

const dayUs = 86_400_000_000n;
const day = dayOf(friday, "Asia/Shanghai");
const dayBefore = dayOf(friday - dayUs, "Asia/Shanghai");
const month = monthOf(friday, "Asia/Shanghai");
const northgrid = "vendor:northgrid" as PairId;
const pairs = [northgrid, "tenant:acme", "model:qwen", "channel:west"] as PairId[];

let store: LedgerStore;
let books: Books;
let statements: Statements;
let steps: StatementSteps;
let nowUs: bigint;
let terms: "daily" | "monthly";
let disputedNano: bigint;
const operator = newSigningKey();
const vendor = newSigningKey();

beforeEach(async () => {
  store = await openSqliteLedger(":memory:");
  books = await openBooks(store);
  [nowUs, terms, disputedNano] = [day.toUs + dayUs, "daily", 0n];
  await serve();
});

afterEach(async () => {
  await books.writer.drain();
  await store.close();
});

async function serve(
  sources: Partial<StatementSources> = {},
  metrics = new Metrics(),
): Promise<void> {
  const common = { store, writer: books.writer, nowUs: () => nowUs };
  statements = new Statements({
    ...common,
    closed: await ClosedPeriods.load(store),
    domain: "grid.example",
    log: openLog({ role: "test", level: "silent" }),
    metrics: new SettlementMetrics(metrics),
    sources: {
      termsOf: () => ({ hash: sha256("contract"), period: terms, timeZone: "Asia/Shanghai" }),
      sign: (payload) =>
        signDetached(payload, { kid: "grid", typ: statementJwsType }, (text) =>
          operator.sign(text),
        ),
      trueUps: async () => ({ trueUps: [], entries: [] }),
      recon: async () => undefined,
      gatewaysBehind: () => [],
      unwitnessedSinceUs: () => undefined,
      calendars: () => [],
      ...sources,
    },
  });
  steps = new StatementSteps({
    ...common,
    find: async (id) => statements.find(id),
    keyOf: (party, kid) =>
      party === "internal"
        ? { grid: operator.publicKey }[kid]
        : { northgrid: vendor.publicKey }[kid],
    disputedNano: async () => disputedNano,
  });
}

async function sell(...names: readonly string[]): Promise<void> {
  await books.post(names.map((name) => record(name, { tenant: acme })));
}

async function state(pair: PairId): Promise<Record<string, bigint>> {
  const keys = payableStates.map((each) => {
    return { unit: "CNY:nano", account: `liab:payable:${pair}:${each}` } as const;
  });
  const balances = await store.balancesOf(keys);
  const left = keys.map((key, place) => {
    const { debit = 0n, credit = 0n } = balances.get(balanceText(key)) ?? {};
    return [payableStates[place] ?? "", credit - debit] as const;
  });
  return Object.fromEntries(left.filter(([, nano]) => nano !== 0n));
}

async function reason(work: Promise<unknown>): Promise<string> {
  return work.then(
    () => "",
    (error: unknown) => ConnectError.from(error).rawMessage,
  );
}

describe("every counterparty has a statement that adds up and can be made again", () => {
  for (const pair of pairs) {
    test(pair, async () => {
      await books.buyPackage();
      // More than the package has.
      await sell(...Array.from({ length: 12 }, (_, each) => `a${each}`));
      const accrued = await state(pair);
      const statement = await statements.close(pair, day);
      expect(statement.kind).toBe("daily");
      expect(statement.totals.netNano).toBeGreaterThan(0n);
      expect(pair === "tenant:acme" ? {} : { accrued: statement.totals.netNano }).toEqual(accrued);
      expect(await statements.close(pair, day)).toEqual(statement);
      for (const source of ["hours", "leaves"] as const) {
        expect(await recompute(store, statement, { source })).toEqual([]);
      }
      const hours: bigint[] = [];
      for await (const page of bookedHours(store, statement, 2)) {
        hours.push(...page.map(({ amountNano, coveredNano }) => amountNano - coveredNano));
      }
      const fees = statement.fees.reduce((sum, { amountNano }) => sum + amountNano, 0n);
      expect(hours.reduce((sum, nano) => sum + nano, fees)).toBe(statement.totals.netNano);
    });
  }

  test("a vendor's from the records of the ledger too, a corrected one among them", async () => {
    await sell("a1", "a2");
    await books.post([record("a1", { id: "a1:1", tenant: acme, finishReason: "length" })]);
    const statement = await statements.close(northgrid, day);
    expect(statement.totals.attempts).toBe(2n);
    let items = 0;
    const onItems = (count: number): void => {
      items += count;
    };
    expect(await recompute(store, statement, { source: "records", onItems })).toEqual([]);
    expect(items).toBe(3);
  });

  test("what packages paid is a credit of the tenant, what was shared a fee of the channel", async () => {
    await books.buyPackage();
    await sell("a1");
    const bill = await statements.close("tenant:acme" as PairId, day);
    expect(bill.totals.creditsNano).toBeLessThan(0n);
    expect(bill.lines.map(({ pool }) => pool)).toEqual(bill.lines.map(() => "*"));
    const share = await statements.close("channel:west" as PairId, day);
    expect(share.fees).toMatchObject([{ part: "channel", party: "channel:west" }]);
    expect([share.lines, share.totals.attempts]).toEqual([[], undefined]);
  });
});

test("a statement that is not what the ledger says is found out, and where", async () => {
  await sell("a1");
  const statement = await statements.close(northgrid, day);
  const lines = statement.lines.map((line) => ({ ...line, amountNano: line.amountNano + 1n }));
  const [found] = await recompute(store, { ...statement, lines }, { source: "leaves" });
  expect(found).toMatch(/^line northgrid-list:1:/);
  const log = { ...statement.log, root: sha256("other") };
  expect(await recompute(store, { ...statement, log }, { source: "hours" })).toEqual([
    expect.stringMatching(/^log root of size/),
  ]);
});

test("closing states what is accrued, in whole fen, with a leaf and a seal", async () => {
  await sell("a1", "a2");
  const statement = await statements.close(northgrid, day);
  expect(await state(northgrid)).toEqual(
    payableNano(statement) === 0n ? {} : { stated: payableNano(statement) },
  );
  const leaf = await store.leafOf(northgrid, "statement", statement.id);
  expect(JSON.parse(leaf?.text ?? "")).toEqual({
    ...{ type: "statement", v: "1", statement_id: statement.id, hash: statement.digest },
  });
  const seal = await store.leafOf(northgrid, "seal", statement.id);
  expect(JSON.parse(seal?.text ?? "")).toMatchObject({ root: statement.frozen.seal });
  expect([statement.log.firstIndex, statement.log.endIndex, seal?.index]).toEqual([0n, 2n, 2n]);
});

test("a period that is not over has an interim statement, which is not kept", async () => {
  await sell("a1");
  nowUs = friday + 3_600_000_000n;
  const interim = await statements.close(northgrid, day);
  expect([interim.kind, interim.id]).toEqual(["interim", "vendor:northgrid:interim:2026-11-20:0"]);
  expect(await statements.find(interim.id)).toBeUndefined();
  await sell("a2");
  expect((await statements.close(northgrid, day)).totals.attempts).toBe(2n);
  expect((await statements.close(northgrid, month)).totals.attempts).toBe(2n);
});

describe("days are closed one after the other", () => {
  test("and each names the one before", async () => {
    await books.post([record("a0", { openedUs: friday - dayUs })]);
    await sell("a1");
    expect(await reason(statements.close(northgrid, day))).toMatch(
      /^day-before-open: expected 2026-11-19/,
    );
    const first = await statements.close(northgrid, dayBefore);
    const second = await statements.close(northgrid, day);
    expect([first.prevDigest, second.prevDigest]).toEqual(["", first.digest]);
    expect(second.log.firstIndex).toBe(0n);
  });

  test("or all at once, and the month is their sum", async () => {
    await books.post([record("a0", { openedUs: friday - 2n * dayUs })]);
    await sell("a1");
    nowUs = month.toUs + dayUs;
    terms = "monthly";
    expect(await reason(statements.close(northgrid, month))).toMatch(/^days-open/);
    const closed = await statements.closeThrough(northgrid, month);
    expect([closed.kind, closed.days.length]).toEqual(["monthly", 13]);
    const days = await Promise.all(closed.days.map(async ({ id }) => statements.find(id)));
    const netNano = days.reduce((sum, each) => sum + (each?.totals.netNano ?? 0n), 0n);
    expect(closed.totals).toMatchObject({ netNano, attempts: 2n });
    expect(days.map((each) => each?.totals.minorUnits)).toEqual(days.map(() => undefined));
    expect(await state(northgrid)).toEqual(
      payableNano(closed) === 0n ? {} : { stated: payableNano(closed) },
    );
    expect(await recompute(store, closed, { source: "hours" })).toEqual([]);
    // Statements outlive the process.
    await serve();
    expect(await statements.close(northgrid, month)).toEqual(closed);
  });

  test("days that were paid by themselves are not rounded again with their month", async () => {
    await sell("a1");
    nowUs = month.toUs + dayUs;
    const summary = await statements.closeThrough(northgrid, month);
    const paid = await statements.close(northgrid, day);
    expect([summary.isPayable, summary.totals]).toEqual([false, paid.totals]);
  });
});

test("a minimum is trued up to at close, and only once", async () => {
  await sell("a1");
  const closed = await ClosedPeriods.load(store);
  const lines = new Map(buyBook.lines.map((line) => [`${buyBook.id}:1:${line.id}`, line]));
  await serve({
    trueUps: trueUpsFrom({
      ...{ store, closed, nowUs: () => nowUs },
      lineOf: (id) => lines.get(id),
      termsOf: () => ({ minimumNano: 1_000_000_000n, discountPpm: 0n }),
      ruleOf: () => undefined,
      bookingOf: () => "2026-11-20",
    }),
  });
  const statement = await statements.close(northgrid, day);
  expect(statement.trueUps.map(({ line, period }) => [line, period])).toEqual([
    ["minimum", "2026-11-20"],
  ]);
  expect(statement.totals).toMatchObject({ netNano: 1_000_000_000n, minorUnits: 100n });
  expect(await state(northgrid)).toEqual({ stated: 1_000_000_000n });
  expect(await recompute(store, statement, { source: "hours" })).toEqual([]);
  expect(await recompute(store, statement, { source: "records" })).toEqual([]);
});

// prettier-ignore
const objections: readonly [string, Partial<StatementSources>][] = [
  ["open-attempts", { gatewaysBehind: () => [{ gateway: "gw-1" as GatewayId, completeUntilUs: 0n }] }],
  ["unwitnessed",   { unwitnessedSinceUs: () => 0n }],
];
for (const [name, sources] of objections) {
  test(`closing is refused because of ${name}, and changes nothing`, async () => {
    await sell("a1");
    nowUs = day.toUs + 1n;
    await serve(sources);
    const before = await store.balances();
    expect(await reason(statements.close(northgrid, day))).toMatch(
      new RegExp(`^${name}: expected`),
    );
    expect(await store.balances()).toEqual(before);
    await serve();
    expect((await statements.close(northgrid, day)).kind).toBe("daily");
  });
}

test("gateways are waited for no longer than an hour", async () => {
  await sell("a1");
  const metrics = new Metrics();
  await serve(
    { gatewaysBehind: () => [{ gateway: "gw-1" as GatewayId, completeUntilUs: undefined }] },
    metrics,
  );
  nowUs = day.toUs + 3_599_999_999n;
  expect(await reason(statements.close(northgrid, day))).toMatch(/found no word of gw-1$/);
  nowUs += 1n;
  expect((await statements.close(northgrid, day)).kind).toBe("daily");
  expect(await metrics.metrics()).toContain("closed_without_gateways_total 1");
});

const odd: Period = { ...day, toUs: day.toUs - 3_600_000_000n };
test("a period that is neither a day nor a month is refused", async () => {
  expect(await reason(statements.close(northgrid, odd))).toMatch(
    /^period: expected a day or a month/,
  );
});

describe("a closed statement", () => {
  let statement: Statement;
  let stated: bigint;

  beforeEach(async () => {
    const many = Array.from({ length: 40 }, (_, each) => `a${each}`);
    await sell(...many);
    statement = await statements.close(northgrid, day);
    stated = payableNano(statement);
    expect(stated).toBeGreaterThan(0n);
  });

  const jwsOf = (kid: string, key = vendor, text = statement.text): string =>
    signDetached(text, { kid, typ: statementJwsType }, (each) => key.sign(each));

  test("is signed by both, each once", async () => {
    const jws = jwsOf("northgrid");
    expect((await steps.sign(statement.id, "counterparty", jws)).kid).toBe("northgrid");
    await steps.sign(statement.id, "counterparty", jws);
    const { signatures } = await steps.progress(statement.id);
    expect(signatures.map(({ party, kid }) => [party, kid])).toEqual([
      ["operator", "grid"],
      ["counterparty", "northgrid"],
    ]);
    const other = steps.sign(statement.id, "operator", jwsOf("grid", operator));
    // Ed25519 signs the same bytes the same way.
    expect(await reason(other)).toBe("");
  });

  test("takes no signature of a stranger, of other bytes or by another's key", async () => {
    const bad = [jwsOf("nobody"), jwsOf("northgrid", operator), jwsOf("northgrid", vendor, "{}")];
    const answers = await Promise.all(
      bad.map(async (jws) => reason(steps.sign(statement.id, "counterparty", jws))),
    );
    expect(answers).toEqual(answers.map(() => expect.stringMatching(/^jws: /)));
    expect((await steps.progress(statement.id)).signatures.length).toBe(1);
  });

  test("is approved and paid, in parts, and nothing twice", async () => {
    await steps.approve(statement.id, "ann");
    await steps.approve(statement.id, "ann");
    expect(await state(northgrid)).toEqual({ approved: stated });
    const pay = async (amountNano: bigint | undefined, reference: string) =>
      steps.pay(statement.id, { by: "ann", amountNano, reference });
    await pay(1n, "first");
    await pay(1n, "first");
    expect(await state(northgrid)).toEqual({ approved: stated - 1n, paid: 1n });
    expect(await reason(pay(2n, "first"))).toMatch(/^reference: expected a payment of 1 nano/);
    expect(await reason(pay(stated, "more"))).toMatch(/^amount_nano: expected at most/);
    expect((await pay(undefined, "rest")).paidNano).toBe(stated);
    expect(await state(northgrid)).toEqual({ paid: stated });
  });

  test("is approved but for what is in dispute", async () => {
    disputedNano = 5n;
    expect((await steps.approve(statement.id, "ann")).approvedNano).toBe(stated - 5n);
    disputedNano = 0n;
    expect((await steps.approve(statement.id, "ann")).approvedNano).toBe(stated);
  });

  test("that nobody made is not found", async () => {
    expect(await reason(steps.approve("vendor:x:daily:2026-11-20:0", "ann"))).toMatch(
      /there is no/,
    );
  });

  test("without usage is empty, and of another model the same line by line", async () => {
    const empty = await statements.close("model:other" as ModelId & PairId, day);
    expect(empty.totals).toMatchObject({ netNano: 0n, minorUnits: 0n });
  });
});
