import { toJsonString } from "@bufbuild/protobuf";
import { Registry as Metrics } from "prom-client";
import { expect, test } from "vitest";
import type { AttemptId, RequestId } from "../../services/core/units.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import { systemClock } from "../../services/io/clock.ts";
import { newSigningKey } from "../../services/io/signing.ts";
import { AgreedBooks, feed } from "../../services/settlement/terms/agreed-books.ts";
import { Agreements } from "../../services/settlement/terms/agreements.ts";
import { Books } from "../../services/settlement/terms/books.ts";
import { Documents } from "../../services/settlement/documents.ts";
import { Ingest } from "../../services/settlement/ingest/ingest.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import { Producers } from "../../services/settlement/ingest/producers.ts";
import { Terms } from "../../services/settlement/terms/terms.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook } from "../../services/wire/price.ts";
import { friday, priceBook, usageRecord } from "../core/settlement/fixtures.ts";

test("a record that is the first to name a new price version is posted: the version is written before its turn", async () => {
  const log = openLog({ role: "test", level: "silent" });
  const store = await openSqliteLedger(":memory:");
  const registry = await openSqliteRegistry(":memory:");
  const writer = new LedgerWriter({ store, log });
  const documents = new Documents();
  const key = newSigningKey();
  const terms = new Terms({
    ...{ documents, writer, calendars: [loadCalendar()], nowUs: () => friday, log },
    operator: { kid: "operator", publicKey: key.publicKey, sign: key.sign },
  });
  const books = new Books({ registry, calendarOf: (id) => terms.state.calendarOf(id), log });
  const agreements = new Agreements({ buyBooks: new AgreedBooks({ books, terms, registry, log }) });
  feed(terms, agreements, () => undefined);
  await documents.follow(store, writer);
  await terms.start();
  const ingest = new Ingest({
    ...{ writer, terms: agreements, metrics: new SettlementMetrics(new Metrics()), log },
    producers: new Producers({ states: [], clock: systemClock, onLost: () => undefined }),
    saltOf: (record) => `salt of ${record}`,
  });
  const book = priceBook({ calendar: loadCalendar() });
  await registry.set({
    ...{ kind: "price-book", key: `${book.id}@${book.version}`, baseRevision: 0, comment: "" },
    ...{ value: toJsonString(PriceBookSchema, fromPriceBook(book)), author: book.vendor },
  });
  const record = (attempt: string, producerSeq: bigint) =>
    usageRecord({
      ...{ attempt: attempt as AttemptId, request: `r-${attempt}` as RequestId, producerSeq },
    });
  const both = Promise.all([ingest.record([record("a1", 1n)]), ingest.record([record("a2", 2n)])]);
  await ingest.drain();
  expect((await store.recordsAfter(undefined, 9)).map(({ state }) => state)).toEqual([
    "posted",
    "posted",
  ]);
  expect((await both).flat().map(({ status }) => status)).toEqual(["posted", "posted"]);
  await store.close();
  await registry.close();
});
