import {
  Code,
  ConnectError,
  createClient,
  createRouterTransport,
  type Client,
} from "@connectrpc/connect";
import fc from "fast-check";
import { Registry as Metrics } from "prom-client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  batchOf,
  claimsJwsType,
  toBatchText,
} from "../../../services/core/settlement/claims/claim-batch.ts";
import type { UsageClaim } from "../../../services/core/settlement/claims/claim.ts";
import {
  disputeJwsType,
  toTransitionText,
  type Transition,
} from "../../../services/core/settlement/claims/dispute-text.ts";
import {
  missingMaxNano,
  type DisputeClaim,
  type Party,
} from "../../../services/core/settlement/claims/dispute.ts";
import { nettingJwsType } from "../../../services/core/settlement/claims/netting.ts";
import { signDetached } from "../../../services/core/settlement/proof/jws.ts";
import { balanceText, payableStates } from "../../../services/core/settlement/ledger/ledger.ts";
import { dayOf } from "../../../services/core/settlement/statements/period.ts";
import type { Statement } from "../../../services/core/settlement/statements/statement.ts";
import { bookText } from "../../../services/core/settlement/terms/terms-text.ts";
import type { PairId } from "../../../services/core/units.ts";
import { identityKey, type Identity } from "../../../services/io/grpc-identity.ts";
import { openSqliteLedger } from "../../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../../services/io/ledger-store.ts";
import { openLog } from "../../../services/io/log.ts";
import { newSigningKey } from "../../../services/io/signing.ts";
import { Agreements } from "../../../services/settlement/terms/agreements.ts";
import { ClosedPeriods } from "../../../services/settlement/statements/closed-periods.ts";
import { Documents } from "../../../services/settlement/documents.ts";
import { SettlementMetrics } from "../../../services/settlement/metrics.ts";
import { StatementSteps } from "../../../services/settlement/statements/statement-steps.ts";
import { Statements } from "../../../services/settlement/statements/statements.ts";
import { openTwoSides, type TwoSides } from "../../../services/settlement/claims/two-sides.ts";
import { fromUsageClaim } from "../../../services/wire/claim.ts";
import {
  ClaimService,
  DisputeService,
  NettingService,
} from "../../../services/wire/gen/tokengrid/v1/claim_pb.js";
import { friday, sha256 } from "../../core/settlement/fixtures.ts";
import { tokens, usageClaim } from "../../core/settlement/counted.ts";
import { buyBook, openBooks, record, type Books } from "../../io/ledger-books.ts";

const dayUs = 86_400_000_000n;
const day = dayOf(friday, "Asia/Shanghai");
const pair = "vendor:northgrid" as PairId;
const operator = newSigningKey();
const vendor = newSigningKey();
const priceHash = sha256(bookText(buyBook));

let store: LedgerStore;
let books: Books;
let sides: TwoSides;
let statements: Statements;
let steps: StatementSteps;
let nowUs: bigint;
let caller: Identity;
let anonymous: boolean;
let claims: Client<typeof ClaimService>;
let disputes: Client<typeof DisputeService>;
let netting: Client<typeof NettingService>;

beforeEach(async () => {
  store = await openSqliteLedger(":memory:");
  nowUs = day.toUs + 1n;
  caller = { kind: "operator", subject: "local" };
  anonymous = false;
  await open();
});

afterEach(async () => {
  await books.writer.drain();
  await store.close();
});

/** All that is known comes from the documents: opened again over the same store, it is as it was. */
async function open(): Promise<void> {
  books = await openBooks(store);
  const { writer } = books;
  const documents = new Documents();
  const closed = await ClosedPeriods.load(store);
  const log = openLog({ role: "test", level: "silent" });
  const agreements = new Agreements({
    buyBooks: { known: () => buyBook, find: async () => buyBook },
  });
  const keyOf = (party: PairId | "internal", kid: string) =>
    ({
      "internal grid": operator.publicKey,
      [`${pair} north`]: vendor.publicKey,
      [`${tenant} north`]: vendor.publicKey,
    })[`${party} ${kid}`];
  const parts = { store, writer, documents, agreements, closed, log, nowUs: () => nowUs };
  sides = openTwoSides(parts, keyOf);
  await documents.follow(store, writer);
  statements = new Statements({
    ...{ store, writer, closed, log, nowUs: () => nowUs, domain: "grid.example" },
    metrics: new SettlementMetrics(new Metrics()),
    sources: {
      termsOf: () => ({ hash: sha256("contract"), period: "daily", timeZone: "Asia/Shanghai" }),
      sign: () => undefined,
      trueUps: async () => ({ trueUps: [], entries: [] }),
      recon: async (of, period) => sides.recon(of, period),
      gatewaysBehind: () => [],
      unwitnessedSinceUs: () => undefined,
      calendars: () => [],
    },
  });
  steps = new StatementSteps({
    ...{ store, writer, keyOf, nowUs: () => nowUs },
    find: async (id) => statements.find(id),
    disputedNano: async (id) => sides.disputedNano(id),
  });
  const transport = createRouterTransport((router) => sides.routes(router), {
    router: {
      interceptors: [
        (next) => async (request) => {
          if (!anonymous) request.contextValues.set(identityKey, caller);
          return next(request);
        },
      ],
    },
  });
  claims = createClient(ClaimService, transport);
  disputes = createClient(DisputeService, transport);
  netting = createClient(NettingService, transport);
}

async function reason(work: Promise<unknown>): Promise<readonly [code: Code, says: string]> {
  return work.then(
    () => {
      throw new Error("expected a refusal");
    },
    (error: unknown) => {
      const { code, rawMessage } = ConnectError.from(error);
      return [code, rawMessage];
    },
  );
}

async function netOn(account: string): Promise<bigint> {
  const all = await store.balances();
  const { debit = 0n, credit = 0n } = all.get(balanceText({ unit: "CNY:nano", account })) ?? {};
  return credit - debit;
}

async function balances(): Promise<Record<string, bigint>> {
  const left: [string, bigint][] = [];
  for (const state of payableStates) {
    left.push([state, await netOn(`liab:payable:${pair}:${state}`)]);
  }
  return Object.fromEntries(left.filter(([, nano]) => nano !== 0n));
}

const cost = "exp:cogs:pool:p1";
const tenant = "tenant:acme" as PairId;
const nextDay = { ...day, fromUs: day.toUs, toUs: day.toUs + dayUs };

/** Usage of a few fen, closed. */
async function stated(of: PairId = pair): Promise<Statement> {
  await books.post(Array.from({ length: 80 }, (_, n) => record(`a${10 + n}`)));
  return statements.close(of, day);
}

async function statedNext(): Promise<Statement> {
  nowUs += dayUs;
  const openedUs = friday + dayUs;
  const clocks = {
    ...{ openedUs, dispatchedUs: openedUs, firstByteUs: openedUs + 1n },
    ...{ lastByteUs: openedUs + 2_000_000n, closedUs: openedUs + 3_000_000n },
  };
  await books.post(Array.from({ length: 80 }, (_, n) => record(`b${10 + n}`, clocks)));
  return statements.close(pair, nextDay);
}

/** The next transition of a dispute, signed by whoever has to. */
async function move(by: Transition["by"], step: Transition["step"], id = "d1") {
  const before = await disputes.getDispute({ disputeId: id }).then(
    ({ dispute }) => dispute,
    () => undefined,
  );
  const text = toTransitionText({
    ...{ dispute: id, pair, by, step, atUs: nowUs },
    number: before?.transitions ?? 0,
    prevHash: before?.lastHash ?? "",
  });
  const key = by === "counterparty" ? vendor : operator;
  const header = { kid: key === vendor ? "north" : "grid", typ: disputeJwsType };
  const jws = [signDetached(text, header, (payload) => key.sign(payload))];
  return disputes.moveDispute({ transitionJson: text, jws });
}

function opening(
  statement: Statement,
  amountNano: bigint,
  changes: { readonly opener?: Party; readonly id?: string; readonly account?: string } = {},
): { readonly to: "opened"; readonly claim: DisputeClaim } {
  const { opener = "operator", id = "d1", account = cost } = changes;
  const about = { id, pair, statement: statement.id, opener, reason: "QTY_OUTPUT" } as const;
  return { to: "opened", claim: { ...about, items: [{ account, amountNano }] } };
}

async function submit(...sent: readonly UsageClaim[]): Promise<void> {
  const made = batchOf(sent, { pair, head: undefined, submittedUs: friday, sha256 });
  const text = toBatchText(made);
  const header = { kid: "north", typ: claimsJwsType };
  const jws = signDetached(text, header, (payload) => vendor.sign(payload));
  const request = { vendorId: "northgrid", batchJson: text, jws, claims: sent.map(fromUsageClaim) };
  await claims.submitClaims(request);
}

/** Agreed by all whose money moves. */
async function net(
  id: string,
  items: readonly { readonly pairId: string; readonly amountNano?: bigint }[],
): Promise<void> {
  const request = { nettingId: id, parties: [{ party: "acme", items: [...items] }] };
  const { atUs, toSign } = await netting.runNetting({ ...request, dryRun: true });
  const consents = toSign.map(({ pairId, textJson }) => {
    const header = { kid: "north", typ: nettingJwsType };
    return { pairId, jws: signDetached(textJson, header, (payload) => vendor.sign(payload)) };
  });
  await netting.runNetting({ ...request, atUs, consents });
}

const payment = (reference: string) => ({ by: "ann", amountNano: undefined, reference });

describe("what a vendor says is missing", () => {
  const missing = { opener: "counterparty" } as const;

  test("is bounded, and silence adds nothing that no signed claim shows", async () => {
    const statement = await stated();
    const { stated: whole = 0n } = await balances();
    const boundless = move("counterparty", opening(statement, 10n ** 18n, missing));
    expect((await reason(boundless))[1]).toContain("amount: expected at most 100000000000000 nano");
    await move("counterparty", opening(statement, missingMaxNano, missing));
    const more = opening(statement, 1n, { ...missing, id: "d2" });
    expect((await reason(move("counterparty", more, "d2")))[1]).toContain("at most 0 nano");
    nowUs += 7n * dayUs;
    expect(await sides.fireTimers()).toBe(1);
    expect(await balances()).toEqual({ stated: whole });
    expect(await books.post([record("z1")])).toHaveLength(1);
  });

  test("is added by silence as far as its claims show it, once", async () => {
    // One token more of response is 8,000 nano.
    const names = Array.from({ length: 80 }, (_, n) => `a${10 + n}`);
    await books.post(names.map((name) => record(name)));
    const counted = (name: string) => (name === "a10" ? { tokens: tokens({ response: 51n }) } : {});
    await submit(...names.map((name) => usageClaim(name, { priceHash, ...counted(name) })));
    const statement = await statements.close(pair, day);
    await move("counterparty", opening(statement, 5_000n, missing));
    await move("counterparty", opening(statement, 5_000n, { ...missing, id: "d2" }), "d2");
    nowUs += 7n * dayUs;
    await open();
    expect(await sides.fireTimers()).toBe(2);
    expect((await balances())["approved"]).toBe(8_000n);
  });

  test("is on accounts of the statement alone", async () => {
    const statement = await stated();
    for (const account of ["exp:cogs:pool:p9", "rev:platform", "exp:subsidy"]) {
      const other = opening(statement, 1n, { ...missing, account });
      expect((await reason(move("counterparty", other)))[1]).toContain(`found ${account}`);
    }
  });
});

test("a timer that cannot fire stops no other", async () => {
  const statement = await stated();
  await move("operator", opening(statement, 1_000n));
  await move("operator", opening(statement, 2_000n, { id: "d2" }), "d2");
  // Money of the first is gone: it is refused as overdrawn, every time.
  const { writer } = books;
  await writer.write(async () => ({
    change: {
      entries: [
        {
          ...{ id: "poison", txn: "poison", kind: "state", phase: "posted", cause: "test" },
          ...{ atUs: nowUs, unit: "CNY:nano", amount: 2_500n, corrects: "" },
          ...{ debit: `liab:payable:${pair}:disputed`, credit: `liab:payable:${pair}:stated` },
        } as const,
      ],
      documents: [],
    },
    result: undefined,
  }));
  await move("operator", opening(statement, 100n, { id: "d3" }), "d3");
  nowUs += 7n * dayUs;
  expect(await sides.fireTimers()).toBe(1);
  const { disputes: lapsed } = await disputes.listDisputes({ state: "lapsed" });
  expect(lapsed.map(({ disputeId }) => disputeId)).toEqual(["d3"]);
});

describe("a statement that is paid", () => {
  test("is disputed without another one's money: what it was paid too much is owed back", async () => {
    const first = await stated();
    await steps.approve(first.id, "ann");
    await steps.pay(first.id, payment("t1"));
    const { paid = 0n } = await balances();
    const second = await statedNext();
    const { stated: owed = 0n } = await balances();
    await move("operator", opening(first, 3_000n));
    expect(await balances()).toEqual({ paid, stated: owed });
    await steps.approve(second.id, "ann");
    await steps.pay(second.id, payment("t2"));
    expect(await balances()).toEqual({ paid: paid + owed });
    await move("counterparty", { to: "acknowledged" });
    await move("operator", { to: "evidence", bundles: [sha256("ours")] });
    await move("counterparty", { to: "evidence", bundles: [sha256("theirs")] });
    await move("counterparty", { to: "accepted-by-vendor" });
    await move("operator", { to: "settled" });
    expect(await balances()).toEqual({ paid: paid + owed });
    expect(await netOn(`asset:vendor_credit:${pair}`)).toBe(-3_000n);
  });
});

describe("what was set off", () => {
  test("is not paid again, by the vendor's statement or by the tenant's bill", async () => {
    const [statement, bill] = [await stated(), await statements.close(tenant, day)];
    const owed = -(await netOn(`asset:receivable:${tenant}`));
    await steps.approve(statement.id, "ann");
    await steps.approve(bill.id, "ann");
    const { approved = 0n } = await balances();
    await net("2026-11-21:1", [{ pairId: pair }, { pairId: tenant, amountNano: 100_000n }]);
    expect(await balances()).toEqual({ approved: approved - 100_000n });
    const whole = { by: "ann", amountNano: approved, reference: "all" };
    expect((await reason(steps.pay(statement.id, whole)))[1]).toContain("expected at most");
    await steps.pay(statement.id, payment("t1"));
    expect(await balances()).toEqual({ paid: approved - 100_000n });
    await steps.pay(bill.id, payment("r1"));
    expect(await netOn(`asset:receivable:${tenant}`)).toBe(0n);
    expect(owed).toBeGreaterThan(100_000n);
  });

  test("is not settled again by a dispute that was decided", async () => {
    const [statement, bill] = [await stated(), await statements.close(tenant, day)];
    await steps.approve(bill.id, "ann");
    await move("counterparty", opening(statement, 5_000_000n, { opener: "counterparty" }));
    await move("operator", { to: "acknowledged" });
    await move("counterparty", { to: "evidence", bundles: [sha256("claims")] });
    await move("operator", { to: "accepted-by-operator" });
    await net("2026-11-21:1", [{ pairId: pair }, { pairId: tenant, amountNano: 4_000_000n }]);
    await open();
    await move("operator", { to: "settled" });
    const { approved = 0n, paid } = await balances();
    expect([approved, paid]).toEqual([0n, 1_000_000n]);
  });
});

test("a caller without a key is told that, whatever it asks", async () => {
  anonymous = true;
  const get = disputes.getDispute({ disputeId: "d1" });
  expect((await reason(get))[0]).toBe(Code.Unauthenticated);
  const said = disputes.moveDispute({ transitionJson: "{}", jws: ["x"] });
  expect((await reason(said))[0]).toBe(Code.Unauthenticated);
  anonymous = false;
  const [, says] = await reason(disputes.moveDispute({ transitionJson: "{}", jws: ["x"] }));
  expect(says).toContain("dispute_id: expected a text, found none");
});

/** What any of them does next; what may not be done now is refused, and that is all. */
const acts = fc.array(
  fc.record({
    what: fc.constantFrom("approve", "pay", "dispute", "answer", "net", "silence", "restart"),
    of: fc.nat({ max: 1 }),
    part: fc.bigInt({ min: 1n, max: 100n }),
    isVendors: fc.boolean(),
  }),
  { maxLength: 14 },
);

type Act = Parameters<Parameters<(typeof acts)["map"]>[0]>[0][number];

const expectedCodes = [Code.FailedPrecondition, Code.InvalidArgument, Code.PermissionDenied].concat(
  [Code.Aborted, Code.NotFound],
);

/** Documents and disputes of a run of acts. */
interface Run {
  readonly all: readonly Statement[];
  readonly opened: string[];
  runs: number;
}

const doing: Readonly<
  Record<Act["what"], (act: Act, statement: Statement, run: Run) => Promise<unknown>>
> = {
  approve: async (_, { id }) => steps.approve(id, "ann"),
  pay: async ({ part }, { id }, run) => {
    const { approvedNano, paidNano } = await steps.progress(id);
    const amountNano = ((approvedNano - paidNano) * part) / 100n;
    run.runs += 1;
    return steps.pay(id, { by: "ann", amountNano, reference: `t${run.runs}` });
  },
  dispute: async ({ part, isVendors }, statement, { opened }) => {
    const id = `d${opened.length}`;
    const amountNano = (statement.totals.netNano * part) / 100n;
    const opener = isVendors ? "counterparty" : "operator";
    await move(opener, opening(statement, amountNano, { opener, id }), id);
    opened.push(id);
  },
  answer: async ({ part, isVendors }, _, { opened }) => {
    const id = opened[Number(part) % Math.max(1, opened.length)] ?? "none";
    const { dispute } = await disputes.getDispute({ disputeId: id });
    const isOperators = dispute?.opener === "operator";
    const nextByState: Readonly<Record<string, Parameters<typeof move>>> = {
      opened: [isOperators ? "counterparty" : "operator", { to: "acknowledged" }, id],
      acknowledged: ["operator", { to: "evidence", bundles: [sha256("ours")] }, id],
      evidence: isVendors
        ? ["counterparty", { to: "accepted-by-vendor" }, id]
        : ["operator", { to: "accepted-by-operator" }, id],
    };
    return move(...(nextByState[dispute?.state ?? ""] ?? ["operator", { to: "settled" }, id]));
  },
  net: async ({ part }, _, run) => {
    run.runs += 1;
    const amountNano = part * 10_000n;
    await net(`2026-11-21:${run.runs}`, [
      { pairId: pair, amountNano },
      { pairId: tenant, amountNano },
    ]);
  },
  silence: async () => {
    nowUs += 7n * dayUs;
    return sides.fireTimers();
  },
  restart: async () => open(),
};

test("whatever is disputed, set off and paid in any order, nothing is paid twice (I7, I31)", async () => {
  let done = 0;
  await fc.assert(
    fc.asyncProperty(acts, async (chosen) => {
      await books.writer.drain();
      await store.close();
      store = await openSqliteLedger(":memory:");
      nowUs = day.toUs + 1n;
      await open();
      const first = await stated();
      const bill = await statements.close(tenant, day);
      await steps.approve(bill.id, "ann");
      const all = [first, await statedNext()];
      const run: Run = { all, opened: [], runs: 0 };
      const { stated: owed = 0n } = await balances();
      for (const act of chosen) {
        const statement = all[act.of] ?? first;
        await doing[act.what](act, statement, run).then(
          () => (done += 1),
          (error: unknown) => {
            // Refused with a reason: neither a bug nor a store that said no.
            expect(expectedCodes).toContain(ConnectError.from(error).code);
          },
        );
        const now = await balances();
        expect(Object.values(now).filter((nano) => nano < 0n)).toEqual([]);
        expect(-(await netOn(`asset:receivable:${tenant}`))).toBeGreaterThanOrEqual(0n);
        // What is owed is where it was, but for what decisions took back or added, and what was set off.
        const credit = await netOn(`asset:vendor_credit:${pair}`);
        const kept = Object.values(now).reduce((sum, nano) => sum + nano, credit);
        const decided = sides.disputes().reduce((sum, each) => {
          const { approvedNano, amountNano, opener, state } = each;
          if (approvedNano === undefined || state === "withdrawn") return sum;
          return sum + approvedNano - (opener === "operator" ? amountNano : 0n);
        }, 0n);
        expect(kept).toBe(owed + decided - (await nettedNano()));
      }
      // All that is left undisputed can be paid.
      nowUs += 40n * dayUs;
      await sides.fireTimers();
      for (const { id } of all) {
        await steps.approve(id, "ann");
        const { approvedNano, paidNano } = await steps.progress(id);
        const rest = steps.pay(id, payment("rest"));
        await (approvedNano === paidNano ? rest.catch(() => undefined) : rest);
      }
      for (const id of run.opened)
        await move("operator", { to: "settled" }, id).catch(() => undefined);
      const { paid: _, ...unpaid } = await balances();
      const isOpen = sides.disputes().some(({ approvedNano }) => approvedNano === undefined);
      expect(isOpen ? {} : unpaid).toEqual({});
    }),
    { numRuns: 40 },
  );
  expect(done).toBeGreaterThan(40);
});

async function nettedNano(): Promise<bigint> {
  const entries = await store.entriesAfter(0n, 10_000);
  return entries
    .filter(({ kind, debit }) => kind === "netting" && debit.startsWith(`liab:payable:${pair}:`))
    .reduce((sum, { amount }) => sum + amount, 0n);
}
