import { Registry as Metrics } from "prom-client";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { listedContract } from "../../services/core/settlement/terms/other-contracts.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import { bookText, contractText } from "../../services/core/settlement/terms/terms-text.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type {
  AttemptId,
  BookId,
  InstantUs,
  PairId,
  RequestId,
  TenantId,
} from "../../services/core/units.ts";
import { systemClock } from "../../services/io/clock.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { newSigningKey } from "../../services/io/signing.ts";
import { Agreements } from "../../services/settlement/terms/agreements.ts";
import { Documents } from "../../services/settlement/documents.ts";
import { Ingest } from "../../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import { Producers } from "../../services/settlement/ingest/producers.ts";
import { Terms } from "../../services/settlement/terms/terms.ts";
import { friday, usageRecord } from "../core/settlement/fixtures.ts";
import { buyBook, sellBook } from "../core/settlement/market.ts";

const beta = "tenant:beta" as PairId;
const acme = "tenant:acme" as PairId;
const day = 86_400_000_000n;
const log = openLog({ role: "test", level: "silent" });

function agreements(): Agreements {
  return new Agreements({ buyBooks: { known: () => buyBook, find: async () => buyBook } });
}

function list(id: string, changes: Partial<PriceBook> = {}): PriceBook {
  return { ...sellBook, id: id as BookId, effectiveFromUs: friday, ...changes };
}

function ofBeta(openedUs: InstantUs): UsageRecord {
  return usageRecord({ tenant: "beta" as TenantId, openedUs });
}

/** By which book a tenant without a contract is sold to; `nothing` if nobody is sold to, `waits` if it is only this one. */
function soldBy(of: Agreements, openedUs: InstantUs): string {
  const { sell } = of.termsOf(ofBeta(openedUs));
  if (sell === undefined) return "nothing";
  return sell.isUncovered === true ? "waits" : `${sell.book?.id ?? "no book"}`;
}

function contractOf(pair: PairId, sellBookId: string, effectiveFromUs: InstantUs) {
  return { ...listedContract(pair, sellBookId as BookId), id: pair.slice(7), effectiveFromUs };
}

describe("a tenant without a contract", () => {
  test("is sold nothing while nobody is", () => {
    expect(soldBy(agreements(), friday)).toBe("nothing");
  });

  test("is sold to by the list for every tenant from its start on, by the house's terms", () => {
    const of = agreements();
    of.addBook(list("public"));
    expect([friday - 1n, friday].map((us) => soldBy(of, us))).toEqual(["nothing", "public"]);
    expect(of.contractOf(beta, friday)).toMatchObject({
      ...{ id: "house-default", pair: beta, sellBook: "public" },
      ...{ creditNano: undefined, period: "daily" },
    });
    expect(of.contractOf(beta, friday)).toBe(of.contractOf(beta, friday + 1n));
  });

  test("goes on by the list that was agreed first, whatever is agreed later", () => {
    const of = agreements();
    of.addBook(list("public", { effectiveToUs: friday + day }));
    of.addBook(list("a-later-one", { effectiveFromUs: friday - day }));
    const at = [friday - 1n, friday, friday + day];
    expect(at.map((us) => soldBy(of, us))).toEqual(["a-later-one", "public", "a-later-one"]);
  });

  test("waits where others are sold to and there is no list", () => {
    const of = agreements();
    of.addBook(list("acme-only", { pair: acme }));
    of.addContract(contractOf(acme, "acme-only", friday + day));
    expect([friday - 1n, friday].map((us) => soldBy(of, us))).toEqual(["nothing", "waits"]);
  });

  test("whose own has ended goes by the list, and waits without one", () => {
    const of = agreements();
    of.addContract({ ...contractOf(beta, "beta-only", friday), effectiveToUs: friday + day });
    expect([friday, friday + day].map((us) => soldBy(of, us))).toEqual(["no book", "waits"]);
    of.addBook(list("public"));
    expect([friday, friday + day].map((us) => soldBy(of, us))).toEqual(["no book", "public"]);
  });
});

describe("records of such a tenant", () => {
  let store: LedgerStore;

  beforeEach(async () => {
    store = await openSqliteLedger(":memory:");
  });

  afterEach(async () => {
    await store.close();
  });

  function openIngest(terms: Agreements) {
    const metrics = new Metrics();
    const ingest = new Ingest({
      ...{ writer: new LedgerWriter({ store, log }), terms, log },
      metrics: new SettlementMetrics(metrics),
      producers: new Producers({ states: [], clock: systemClock, onLost: () => undefined }),
      saltOf: (record) => `salt of ${record}`,
    });
    const unsold = async () => {
      const metric = metrics.getSingleMetric("tokengrid_settlement_unsold_requests_total");
      return (await metric?.get())?.values.map(({ value }) => value);
    };
    return { ingest, unsold };
  }

  function record(name: string, changes: Partial<UsageRecord> = {}): UsageRecord {
    const [attempt = ""] = name.split(":");
    return {
      ...usageRecord({ attempt: attempt as AttemptId, request: `r-${attempt}` as RequestId }),
      ...{ id: name, tenant: "beta" as TenantId, ...changes },
    };
  }

  test("are counted where nobody pays: once for a request, and not for what did not serve it", async () => {
    const { ingest, unsold } = openIngest(agreements());
    await ingest.record([record("a1:0"), record("a2:0", { isWinner: false }), record("a3:0")]);
    await ingest.record([record("a1:0"), record("a1:1", { outputTokensMax: 900n })]);
    expect(await unsold()).toEqual([2]);
    expect(await store.salesWaitingCount()).toBe(0);
  });

  test("are billed by the list, and none is counted as unsold", async () => {
    const terms = agreements();
    terms.addBook(list("public"));
    const { ingest, unsold } = openIngest(terms);
    await ingest.record([record("a1:0")]);
    const [sale] = await store.salesOf(["a1" as AttemptId]);
    expect(sale).toMatchObject({ state: "billed", tenant: "beta" });
    expect(sale?.billedNano).toBeGreaterThan(0n);
    expect(await unsold()).toEqual([0]);
    expect((await verifyLedger(store)).mistakes).toEqual([]);
  });

  test("wait with the reason where there is none, and are billed once there is", async () => {
    const terms = agreements();
    terms.addBook(list("acme-only", { pair: acme }));
    const { ingest, unsold } = openIngest(terms);
    await ingest.record([record("a1:0")]);
    const [waiting] = await store.salesWaiting(undefined, 9);
    expect(waiting?.reason).toBe(
      "contract-unknown: tenant:beta had neither a contract nor a price list for every tenant",
    );
    expect(await ingest.releaseSales()).toBe(0);
    terms.addBook(list("public"));
    expect(await ingest.releaseSales()).toBe(1);
    expect([await store.salesWaitingCount(), await unsold()]).toEqual([0, [0]]);
    expect((await verifyLedger(store)).mistakes).toEqual([]);
  });
});

describe("a first contract that is signed after its start", () => {
  const calendar = loadCalendar();
  const start = friday;

  /** The books are agreed on a day before the start, the contract is proposed and signed a day after it. */
  async function signedLate(books: readonly PriceBook[]) {
    const store = await openSqliteLedger(":memory:");
    const writer = new LedgerWriter({ store, log });
    const documents = new Documents();
    const clock = { us: start - day };
    const key = newSigningKey();
    const operator = { kid: "operator", publicKey: key.publicKey, sign: key.sign };
    const nowUs = (): InstantUs => clock.us;
    const terms = new Terms({ documents, writer, operator, calendars: [calendar], nowUs, log });
    await documents.follow(store, writer);
    await terms.start();
    for (const book of books) {
      const text = bookText({ ...book, calendar });
      const { id, hash } = await terms.propose("price-version", text, "internal");
      await terms.sign({ kind: "price-version", id, hash }, "internal", "");
    }
    clock.us = start + day;
    const contract = contractOf(beta, "acme-only", start);
    const { id, hash } = await terms.propose("contract", contractText(contract), "internal");
    const signed = { kind: "contract", id, hash } as const;
    await terms.sign(signed, beta, "");
    const end = await terms.sign(signed, "internal", "").then(
      ({ agreedUs }) => agreedUs,
      (error: unknown) => String(error),
    );
    await store.close();
    return end;
  }

  const early = { effectiveFromUs: start - day };

  test("counts where the tenant's sales have waited for it", async () => {
    expect(
      await signedLate([
        list("other", { ...early, pair: "tenant:*" as PairId, effectiveToUs: start }),
      ]),
    ).toBe(start + day);
  });

  const refusedWith = [
    ["nobody was sold to, so that nothing waited", []],
    [
      "others were sold to only later",
      [list("other", { effectiveFromUs: start + 1n, effectiveToUs: start + 2n })],
    ],
    ["a list has billed it", [list("public", early)]],
    [
      "a list has billed the last of it",
      [
        list("old", { ...early, effectiveToUs: start }),
        list("public", { effectiveFromUs: start + day }),
      ],
    ],
  ] as const;

  for (const [why, books] of refusedWith) {
    test(`is refused where ${why}`, async () => {
      expect(await signedLate(books)).toContain("retroactive: expected the last signature by");
    });
  }
});
