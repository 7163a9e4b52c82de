import {
  Code,
  ConnectError,
  createClient,
  createRouterTransport,
  type Client,
} from "@connectrpc/connect";
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
import type { DisputeClaim, Party } from "../../../services/core/settlement/claims/dispute.ts";
import { nettingJwsType } from "../../../services/core/settlement/claims/netting.ts";
import { signDetached } from "../../../services/core/settlement/proof/jws.ts";
import { balanceText, payableStates } from "../../../services/core/settlement/ledger/ledger.ts";
import { dayOf } from "../../../services/core/settlement/statements/period.ts";
import type { Statement } from "../../../services/core/settlement/statements/statement.ts";
import { bookText } from "../../../services/core/settlement/terms/terms-text.ts";
import type { UsageRecord } from "../../../services/core/settlement/counting/usage.ts";
import type { PairId, PoolId } from "../../../services/core/units.ts";
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
  ClaimStatus,
  DisputeService,
  NettingService,
  ReconcileService,
  type Discrepancy,
  type ReconcileReport,
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
const { ACCEPTED, EXISTS, CONFLICT, REFUSED } = ClaimStatus;

let store: LedgerStore;
let books: Books;
let sides: TwoSides;
let statements: Statements;
let steps: StatementSteps;
let nowUs: bigint;
let caller: Identity;
let claims: Client<typeof ClaimService>;
let reconciling: Client<typeof ReconcileService>;
let disputes: Client<typeof DisputeService>;
let netting: Client<typeof NettingService>;

beforeEach(async () => {
  store = await openSqliteLedger(":memory:");
  nowUs = day.toUs + 1n;
  caller = { kind: "operator", subject: "local" };
  await open();
});

afterEach(async () => {
  await books.writer.drain();
  await store.close();
});

/** All that is known comes from the documents: opened again over the same store, it is as it was. */
async function open(options: { readonly pageRows?: number } = {}): Promise<void> {
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
      "vendor:southgrid north": vendor.publicKey,
    })[`${party} ${kid}`];
  const parts = { store, writer, documents, agreements, closed, log, nowUs: () => nowUs };
  sides = openTwoSides(parts, keyOf, options);
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
          request.contextValues.set(identityKey, caller);
          return next(request);
        },
      ],
    },
  });
  claims = createClient(ClaimService, transport);
  reconciling = createClient(ReconcileService, transport);
  disputes = createClient(DisputeService, transport);
  netting = createClient(NettingService, transport);
}

/** What the records of the fixtures settle to, as an honest vendor claims it. */
function claim(attempt: string, changes: Partial<UsageClaim> = {}): UsageClaim {
  return usageClaim(attempt, { priceHash, ...changes });
}

/** The next batch of the chain, signed. */
async function batch(sent: readonly UsageClaim[], key = vendor) {
  const { batches, lastHash } = await claims.getClaimChain({ vendorId: "northgrid" });
  const head = batches === 0n ? undefined : { number: batches, hash: lastHash };
  const made = batchOf(sent, { pair, head, submittedUs: friday, sha256 });
  const text = toBatchText(made);
  const jws = signDetached(text, { kid: "north", typ: claimsJwsType }, (payload) =>
    key.sign(payload),
  );
  return { vendorId: "northgrid", batchJson: text, jws, claims: sent.map(fromUsageClaim) };
}

async function submit(...sent: readonly UsageClaim[]): Promise<ClaimStatus[]> {
  const { results } = await claims.submitClaims(await batch(sent));
  return results.map(({ status }) => status);
}

async function reconcile(options: { discrepanciesMax?: number; severeOnly?: boolean } = {}) {
  let report: ReconcileReport | undefined;
  const found: Discrepancy[] = [];
  const steps = reconciling.reconcile({ vendorId: "northgrid", period: day, ...options });
  for await (const { part } of steps) {
    if (part.case === "report") report = part.value;
    if (part.case === "discrepancies") found.push(...part.value.discrepancies);
  }
  const buckets = (report?.buckets ?? [])
    .map(({ bucket, ours, theirs }) => [bucket, `${ours?.items ?? 0}+${theirs?.items ?? 0}`])
    .filter(([, count]) => count !== "0+0");
  return { report, found, buckets: Object.fromEntries(buckets) as Record<string, string> };
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

async function balances(): Promise<Record<string, bigint>> {
  const all = await store.balances();
  const left = payableStates.map((state) => {
    const at = { unit: "CNY:nano", account: `liab:payable:${pair}:${state}` } as const;
    const { debit = 0n, credit = 0n } = all.get(balanceText(at)) ?? {};
    return [state, credit - debit] as const;
  });
  return Object.fromEntries(left.filter(([, nano]) => nano !== 0n));
}

describe("claims", () => {
  test("are taken once, with a leaf for their batch, whatever is sent again", async () => {
    const first = await batch([claim("a1"), claim("a2")]);
    const { results, batchId, batchHash } = await claims.submitClaims(first);
    expect(results.map(({ status }) => status)).toEqual([ACCEPTED, ACCEPTED]);
    expect(batchId).toBe("vendor:northgrid:1");
    const again = await claims.submitClaims(first);
    expect(again.results.map(({ status }) => status)).toEqual([EXISTS, EXISTS]);
    const leaves = await store.leaves(pair, 0n, 9);
    expect(leaves.map(({ kind, ref, text }) => [kind, ref, text])).toEqual([
      ["claim", batchId, first.batchJson],
    ]);
    expect(sha256(first.batchJson)).toBe(batchHash);
    await open();
    const chain = await claims.getClaimChain({ vendorId: "northgrid" });
    expect([chain.batches, chain.lastHash]).toEqual([1n, batchHash]);
  });

  test("in a later batch exist, conflict or are refused alone; the rest passes", async () => {
    await submit(claim("a1"));
    const other = claim("a1", { tokens: tokens({ response: 51n }) });
    const backwards = claim("a3", { closedUs: friday - 1n });
    const next = await batch([claim("a1"), other, claim("a2"), backwards]);
    const { results } = await claims.submitClaims(next);
    expect(results.map(({ status }) => status)).toEqual([EXISTS, CONFLICT, ACCEPTED, REFUSED]);
    expect(results.at(-1)?.reason).toBe(
      `claims[3].closed_us: expected at least opened_us ${friday}, found ${friday - 1n}`,
    );
    const again = await claims.submitClaims(next);
    expect(again.results.map(({ status }) => status)).toEqual([EXISTS, CONFLICT, EXISTS, REFUSED]);
    expect(again.results.map(({ reason: why }) => why)).toEqual(
      results.map(({ reason: why }) => why),
    );
    const { claims: listed } = await claims.listClaims({ vendorId: "northgrid", period: day });
    expect(listed.map(({ attemptId }) => attemptId)).toEqual(["a1", "a2"]);
  });

  test("come up to 45 days after their statement, and with up to 100 revisions", async () => {
    await books.post([record("a1")]);
    await submit(claim("a1"));
    const statement = await statements.close(pair, day);
    const last = nowUs + 45n * dayUs;
    nowUs = last;
    await submit(claim("a1", { id: "northgrid:a1:99", rev: 99n }));
    const beyond = await batch([claim("a1", { id: "northgrid:a1:100", rev: 100n })]);
    expect((await claims.submitClaims(beyond)).results).toMatchObject([
      { status: REFUSED, reason: "claims[0].rev: expected up to 99, found 100" },
    ]);
    nowUs = last + 1n;
    const late = await batch([claim("a1"), claim("a2")]);
    const { results } = await claims.submitClaims(late);
    expect(results).toMatchObject([
      { status: EXISTS },
      {
        status: REFUSED,
        reason: `claims[1].opened_us: expected a claim up to 45 days after ${statement.id}, at ${last}, found a later one`,
      },
    ]);
    expect((await claims.submitClaims(late)).results).toEqual(results);
  });

  test("are listed a page at a time, to their last", async () => {
    await submit(claim("a1"), claim("a2"), claim("a3"));
    const seen: string[] = [];
    let pageToken = "";
    do {
      const asked = { vendorId: "northgrid", period: day, limit: 2, pageToken };
      const page = await claims.listClaims(asked);
      seen.push(page.claims.map(({ claimId }) => claimId).join());
      pageToken = page.nextPageToken;
    } while (pageToken !== "");
    expect(seen).toEqual(["northgrid:a1:0,northgrid:a2:0", "northgrid:a3:0"]);
  });

  const spoilt: Readonly<
    Record<string, (good: Awaited<ReturnType<typeof batch>>) => Promise<object> | object>
  > = {
    "jws: signature: expected a signature": async () => batch([claim("a9")], newSigningKey()),
    "digest: expected": (good) => ({ ...good, claims: [fromUsageClaim(claim("a8"))] }),
    "size: expected": (good) => ({ ...good, claims: [...good.claims, ...good.claims] }),
    "batch_json: expected the canonical text": (good) => ({
      ...good,
      batchJson: `${good.batchJson} `,
    }),
    "jws: signature: expected header..signature": (good) => ({ ...good, jws: "none" }),
    "batch_json: expected a JSON object": (good) => ({ ...good, batchJson: "[" }),
  };

  for (const [says, spoil] of Object.entries(spoilt)) {
    test(`of a batch are refused as a whole: ${says}`, async () => {
      const request = await spoil(await batch([claim("a1")]));
      const [, message] = await reason(claims.submitClaims(request));
      expect(message).toContain(says);
      expect((await store.logs()).get(pair)).toBeUndefined();
    });
  }

  test("of a batch that does not follow on the last are refused as a whole", async () => {
    const first = await batch([claim("a1")]);
    const rival = await batch([claim("a2")]);
    await claims.submitClaims(first);
    expect(await reason(claims.submitClaims(rival))).toEqual([
      Code.Aborted,
      `overlap: expected batch 1 as ${sha256(first.batchJson)}, found ${sha256(rival.batchJson)}`,
    ]);
    const made = batchOf([claim("a3")], {
      ...{ pair, sha256, submittedUs: friday },
      head: { number: 1n, hash: "ab".repeat(32) },
    });
    const text = toBatchText(made);
    const jws = signDetached(text, { kid: "north", typ: claimsJwsType }, (payload) =>
      vendor.sign(payload),
    );
    const forked = { ...rival, batchJson: text, jws, claims: [fromUsageClaim(claim("a3"))] };
    const [code, says] = await reason(claims.submitClaims(forked));
    expect([code, says.slice(0, 30)]).toEqual([
      Code.FailedPrecondition,
      "chain: expected previous batch",
    ]);
  });

  test("are the vendor's own: others may neither send nor see them", async () => {
    const good = await batch([claim("a1")]);
    caller = { kind: "vendor", subject: "southgrid" };
    for (const call of [
      claims.submitClaims(good),
      claims.getClaimChain({ vendorId: "northgrid" }),
      claims.listClaims({ vendorId: "northgrid", period: day }),
      reconcile(),
    ]) {
      expect((await reason(call))[0]).toBe(Code.PermissionDenied);
    }
    caller = { kind: "vendor", subject: "northgrid" };
    expect((await claims.submitClaims(good)).results).toHaveLength(1);
  });
});

describe("reconciliation", () => {
  const plain = (name: string, changes: Partial<UsageRecord> = {}) => record(name, changes);

  test("of an honest vendor finds nothing, at equal value", async () => {
    await books.post([plain("a1"), plain("a2")]);
    expect(await submit(claim("a1"), claim("a2"))).toEqual([ACCEPTED, ACCEPTED]);
    const { buckets, found, report } = await reconcile();
    expect(buckets).toEqual({ matched: "2+2" });
    expect(found).toEqual([]);
    const [line] = report?.lines ?? [];
    expect(line?.ours).toEqual(line?.theirs);
    expect([line?.priceHash, line?.ours?.unpriced]).toEqual([priceHash, 0n]);
    expect(line?.ours?.valueNano).toBeGreaterThan(0n);
  });

  test("finds each kind, says what it comes to, and only warnings can be left out", async () => {
    await books.post(["a1", "a2", "a3", "a4", "a5"].map((name) => plain(name)));
    // Not accounted for by any book: it waits, and the vendor's claim for it is no phantom.
    await books.post([plain("a6", { priceVersion: 9n })]);
    await submit(
      claim("a1", { tokens: tokens({ response: 51n }) }),
      claim("a2", { priceHash: "99".repeat(32) }),
      claim("a3", { slot: "peak" }),
      claim("a4", { pool: "p2" as PoolId }),
      claim("a4", { rev: 1n }),
      claim("a6"),
      claim("a7"),
    );
    const { buckets, found } = await reconcile();
    expect(buckets).toEqual({
      quantity: "1+1",
      price: "3+3",
      "missing-vendor": "1+0",
      "missing-operator": "0+2",
      duplicate: "0+1",
    });
    const rows = found.map(({ attemptId, severity, reason: why, valueNano }) => [
      attemptId,
      `${severity} ${why}`.trim(),
      valueNano !== undefined,
    ]);
    expect(rows).toEqual([
      ["a1", "severe QTY_OUTPUT", true],
      ["a2", "severe PRICE", false],
      ["a3", "severe TOU", true],
      ["a4", "severe MODEL_SUBSTITUTED", true],
      ["a4", "severe DUPLICATE", true],
      ["a5", "warning", true],
      ["a6", "warning", true],
      ["a7", "severe PHANTOM", true],
    ]);
    expect(found[0]?.valueNano).toBe(8_000n);
    const severe = await reconcile({ severeOnly: true, discrepanciesMax: 2 });
    expect(severe.found.map(({ attemptId }) => attemptId)).toEqual(["a1", "a2"]);
    expect(severe.report?.discrepancies).toBe(8n);
  });

  for (const pageRows of [1, 2, 3, 4, 100]) {
    test(`goes by the revision in force, in pages of ${pageRows}`, async () => {
      await open({ pageRows });
      const names = ["a1", "a2", "a3", "a4", "a5"];
      await books.post(names.map((name) => plain(name)));
      const counts = { ...plain("a2").engineCounts, output: 60n };
      const corrected = ["a2", "a3"].map((name) =>
        plain(name, { id: `${name}:1`, engineCounts: counts }),
      );
      await books.post(corrected);
      const more = { tokens: tokens({ response: 60n }) };
      await submit(
        ...names.map((name) =>
          claim(name, corrected.some((each) => each.attempt === name) ? more : {}),
        ),
      );
      expect((await reconcile()).buckets).toEqual({ matched: "5+5" });
    });
  }

  test("matches an import without ids by its looks, marked", async () => {
    await books.post([plain("a1"), plain("a2")]);
    await submit(claim("a2"), claim("~file.1", { openedUs: friday + 1_000_000n }));
    const { buckets, report } = await reconcile();
    expect(buckets).toEqual({ matched: "2+2" });
    expect(report?.fuzzyPairs).toBe(1n);
  });

  test("a claim after the books of its day were closed is late; before, the statement has the counts", async () => {
    await books.post([plain("a1"), plain("a2")]);
    await submit(claim("a1"));
    const statement = await statements.close(pair, day);
    expect(statement.frozen.recon).toMatchObject({ matched: 1n, missing_vendor: 1n });
    nowUs += 1n;
    await submit(claim("a2"));
    expect((await reconcile()).buckets).toEqual({ matched: "1+1", late: "1+1" });
  });

  test("a vendor without claims has no counts in its statement", async () => {
    await books.post([plain("a1")]);
    expect(await sides.recon(pair, day)).toBeUndefined();
    expect(await sides.recon("tenant:acme" as PairId, day)).toBeUndefined();
  });

  test("a closed period is evidence once: one token more on each record sets the audit, and stays", async () => {
    const names = Array.from({ length: 40 }, (_, n) => `a${10 + n}`);
    await books.post(names.map((name) => plain(name)));
    await submit(...names.map((name) => claim(name, { tokens: tokens({ response: 51n }) })));
    expect((await reconcile()).report?.audits).toEqual([]);
    await statements.close(pair, day);
    const audits = async () =>
      ((await reconcile()).report?.audits ?? []).map(
        ({ modelId, check, records, sincePeriod }) =>
          `${modelId} ${check} ${records} ${sincePeriod}`,
      );
    const first = await audits();
    expect(first).toEqual(["qwen3-32b direction 13 2026-11-20"]);
    expect(await audits()).toEqual(first);
    await open();
    expect(await audits()).toEqual(first);
    expect(await store.documents({ kind: "suspicion" }, { afterSeq: 0n, limit: 9 })).toHaveLength(
      1,
    );
    caller = { kind: "vendor", subject: "northgrid" };
    expect(await audits()).toEqual([]);
  });
});

/** What is owed for them is a few fen. */
const some = Array.from({ length: 80 }, (_, n) => record(`a${10 + n}`));

describe("a dispute", () => {
  const cost = "exp:cogs:pool:p1";

  async function stated(): Promise<Statement> {
    // More than a fen, to which statements are rounded.
    await books.post(some);
    return statements.close(pair, day);
  }

  /** The next transition of dispute d1, signed by whoever has to. */
  async function move(
    by: Transition["by"],
    step: Transition["step"],
    signers: readonly (typeof vendor)[] = signersBy[by],
  ) {
    const before = await disputes
      .getDispute({ disputeId: "d1" })
      .then(({ dispute }) => dispute)
      .catch(() => undefined);
    const text = toTransitionText({
      ...{ dispute: "d1", pair, by, step, atUs: nowUs },
      number: before?.transitions ?? 0,
      prevHash: before?.lastHash ?? "",
    });
    const jws = signers.map((key) => {
      const kid = key === vendor ? "north" : "grid";
      return signDetached(text, { kid, typ: disputeJwsType }, (payload) => key.sign(payload));
    });
    return disputes.moveDispute({ transitionJson: text, jws });
  }

  const signersBy: Readonly<Record<Transition["by"], readonly (typeof vendor)[]>> = {
    operator: [operator],
    counterparty: [vendor],
    both: [operator, vendor],
    arbiter: [operator, vendor],
    timer: [],
  };

  function opening(
    statement: Statement,
    amountNano: bigint,
    opener: Party = "operator",
  ): { readonly to: "opened"; readonly claim: DisputeClaim } {
    return {
      to: "opened",
      claim: {
        ...{ id: "d1", pair, statement: statement.id, opener, reason: "QTY_OUTPUT" },
        items: [{ account: cost, amountNano }],
      },
    };
  }

  test("takes its money out of what is stated; the rest is approved and paid meanwhile (I31)", async () => {
    const statement = await stated();
    const { stated: whole = 0n } = await balances();
    const { dispute, moved } = await move("operator", opening(statement, 3_000n));
    expect([dispute?.state, dispute?.dueUs]).toEqual(["opened", nowUs + 7n * dayUs]);
    expect(moved.map(({ amountNano }) => amountNano)).toEqual([3_000n]);
    expect(await balances()).toEqual({ stated: whole - 3_000n, disputed: 3_000n });
    await steps.approve(statement.id, "local");
    await steps.pay(statement.id, { by: "local", amountNano: undefined, reference: "t1" });
    expect(await balances()).toEqual({ disputed: 3_000n, paid: whole - 3_000n });
    await move("counterparty", { to: "acknowledged" });
    await move("operator", { to: "evidence", bundles: [sha256("ours")] });
    await move("counterparty", { to: "evidence", bundles: [sha256("theirs")] });
    const split = await move("both", { to: "split", num: 1n, den: 3n });
    expect(
      split.moved.map(({ fromAccount, toAccount, amountNano }) => [
        fromAccount,
        toAccount,
        amountNano,
      ]),
    ).toEqual([
      [`liab:payable:${pair}:disputed`, `liab:payable:${pair}:approved`, 1_000n],
      [`liab:payable:${pair}:disputed`, cost, 2_000n],
    ]);
    await move("operator", { to: "settled" });
    expect(await balances()).toEqual({ paid: whole - 2_000n });
    const { transitions } = await disputes.getDispute({ disputeId: "d1" });
    const leaves = await store.leaves(pair, 0n, 99);
    expect(leaves.filter(({ kind }) => kind === "dispute").map(({ text }) => text)).toEqual(
      transitions.map(({ transitionJson }) => transitionJson),
    );
  });

  test("sent twice moves once, and something else in its place is refused (C15)", async () => {
    const statement = await stated();
    const step = opening(statement, 3_000n);
    const frame = { dispute: "d1", pair, by: "operator", number: 0, prevHash: "" } as const;
    const text = toTransitionText({ ...frame, atUs: nowUs, step });
    const signed = (payload: string) => ({
      transitionJson: payload,
      jws: [
        signDetached(payload, { kid: "grid", typ: disputeJwsType }, (each) => operator.sign(each)),
      ],
    });
    const once = await disputes.moveDispute(signed(text));
    const twice = await disputes.moveDispute(signed(text));
    expect(twice).toEqual(once);
    expect((await balances())["disputed"]).toBe(3_000n);
    const other = toTransitionText({ ...frame, atUs: nowUs, step: opening(statement, 2_000n) });
    expect((await reason(disputes.moveDispute(signed(other))))[0]).toBe(Code.Aborted);
    await open();
    expect(await disputes.moveDispute(signed(text))).toEqual(once);
  });

  test("nobody answers: the timer decides once, also after a restart", async () => {
    const statement = await stated();
    const { stated: whole = 0n } = await balances();
    await move("operator", opening(statement, 3_000n));
    expect(await sides.fireTimers()).toBe(0);
    nowUs += 7n * dayUs;
    await open();
    expect((await reason(move("counterparty", { to: "acknowledged" })))[1]).toContain("time: ");
    expect(await sides.fireTimers()).toBe(1);
    expect(await sides.fireTimers()).toBe(0);
    expect(await balances()).toEqual({ stated: whole - 3_000n });
    const { disputes: found } = await disputes.listDisputes({ state: "lapsed" });
    expect(found.map(({ disputeId, approvedNano }) => [disputeId, approvedNano])).toEqual([
      ["d1", 0n],
    ]);
  });

  test("of what is missing in a statement adds it when it is right", async () => {
    const statement = await stated();
    const { stated: whole = 0n } = await balances();
    await move("counterparty", opening(statement, 5_000n, "counterparty"));
    await move("operator", { to: "acknowledged" });
    await move("counterparty", { to: "evidence", bundles: [sha256("claims")] });
    await move("operator", { to: "accepted-by-operator" });
    expect(await balances()).toEqual({ stated: whole, approved: 5_000n });
  });

  test("withdrawn, its money is stated again", async () => {
    const statement = await stated();
    const before = await balances();
    await move("operator", opening(statement, 3_000n));
    await move("operator", { to: "withdrawn" });
    expect(await balances()).toEqual(before);
  });

  const refusals: Readonly<Record<string, (statement: Statement) => Promise<unknown>>> = {
    "signature of internal: ": async (statement) =>
      move("operator", opening(statement, 1n), [vendor]),
    "expected 1 signatures, found 2": async (statement) =>
      move("operator", opening(statement, 1n), [operator, vendor]),
    "by: expected one of": async () => move("timer", { to: "lapsed" }, [operator]),
    "amount: expected at most": async (statement) =>
      move("operator", opening(statement, 1_000_000_000_000n)),
    "statement_id: there is no vendor:northgrid:daily:2026-11-01:0": async (statement) =>
      move("operator", opening({ ...statement, id: "vendor:northgrid:daily:2026-11-01:0" }, 1n)),
    "items: expected accounts of cost or revenue, found asset:bank": async (statement) => {
      const { to, claim: asked } = opening(statement, 1n);
      return move("operator", {
        to,
        claim: { ...asked, items: [{ account: "asset:bank", amountNano: 1n }] },
      });
    },
    "actor: expected counterparty, found operator": async (statement) => {
      await move("operator", opening(statement, 1n));
      return move("operator", { to: "acknowledged" });
    },
  };

  for (const [says, work] of Object.entries(refusals)) {
    test(`is refused where it says ${says}`, async () => {
      const statement = await stated();
      expect((await reason(work(statement)))[1]).toContain(says);
    });
  }

  test("is told to its own pair alone", async () => {
    const statement = await stated();
    await move("operator", opening(statement, 3_000n));
    caller = { kind: "vendor", subject: "southgrid" };
    expect((await reason(disputes.getDispute({ disputeId: "d1" })))[0]).toBe(Code.NotFound);
    expect((await disputes.listDisputes({})).disputes).toEqual([]);
    expect((await reason(disputes.listDisputes({ pairId: pair })))[0]).toBe(Code.PermissionDenied);
    caller = { kind: "vendor", subject: "northgrid" };
    expect((await disputes.listDisputes({})).disputes).toHaveLength(1);
  });
});

describe("netting", () => {
  test("sets off what is approved, once, and leaves the rest to be paid", async () => {
    await books.post(some);
    const statement = await statements.close(pair, day);
    await steps.approve(statement.id, "local");
    const { approved = 0n } = await balances();
    const request = {
      nettingId: "2026-11-21:1",
      parties: [
        { party: "north", items: [{ pairId: pair }] },
        { party: "south", items: [{ pairId: "vendor:southgrid" }] },
      ],
      obligations: [
        { obligationId: "o1", fromPairId: pair, toPairId: "vendor:southgrid", amountNano: 700n },
      ],
    };
    const dry = await netting.runNetting({ ...request, dryRun: true });
    expect(await balances()).toEqual({ approved });
    const alone = netting.runNetting({ ...request, atUs: dry.atUs });
    expect((await reason(alone))[1]).toContain(`expected a signature of ${pair} over its text`);
    const signed = async (keys: readonly (typeof vendor)[]) => ({
      ...{ ...request, atUs: dry.atUs },
      consents: dry.toSign.map(({ pairId, textJson }, n) => ({
        pairId,
        jws: signDetached(textJson, { kid: "north", typ: nettingJwsType }, (payload) =>
          (keys[n] ?? vendor).sign(payload),
        ),
      })),
    });
    expect(dry.toSign.map(({ pairId }) => pairId)).toEqual([pair, "vendor:southgrid"]);
    const forged = netting.runNetting(await signed([operator, vendor]));
    expect((await reason(forged))[1]).toContain(`signature of ${pair}: expected a signature`);
    expect(await balances()).toEqual({ approved });
    const agreed = await signed([vendor, vendor]);
    const done = await netting.runNetting(agreed);
    expect(done.positions).toEqual(dry.positions);
    expect(done.positions.map(({ party, netNano }) => [party, netNano])).toEqual([
      ["north", approved - 700n],
      ["south", 700n],
    ]);
    expect(done.operatorNano).toBe(-approved);
    expect(await balances()).toEqual({ approved: approved - 700n });
    expect(await netting.runNetting(agreed)).toEqual(done);
    expect(await balances()).toEqual({ approved: approved - 700n });
    const other = { ...request, obligations: [] };
    expect((await reason(netting.runNetting(other)))[0]).toBe(Code.Aborted);
    const progress = await steps.pay(statement.id, {
      ...{ by: "ann", amountNano: undefined, reference: "rest" },
    });
    expect(progress.paidNano).toBe(approved);
    expect(await balances()).toEqual({ paid: approved - 700n });
    for (const log of [pair, "vendor:southgrid", "internal"] as (PairId | "internal")[]) {
      expect(await store.leafOf(log, "netting", "2026-11-21:1")).toMatchObject({ log });
    }
  });

  test("of more than is open, or with who did not agree, is refused", async () => {
    const items = [{ pairId: pair, amountNano: 1n }];
    const request = { nettingId: "2026-11-21:1", parties: [{ party: "north", items }] };
    expect((await reason(netting.runNetting(request)))[1]).toContain("expected at most 0");
    const stranger = {
      ...request,
      parties: [{ party: "north", items: [{ pairId: pair }] }],
      obligations: [{ obligationId: "o1", fromPairId: pair, toPairId: "vendor:x", amountNano: 1n }],
    };
    expect((await reason(netting.runNetting(stranger)))[1]).toContain("expected vendor:x among");
    caller = { kind: "vendor", subject: "northgrid" };
    expect((await reason(netting.runNetting(stranger)))[0]).toBe(Code.PermissionDenied);
  });
});
