import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { Client } from "pg";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import { openLedger, readLedger } from "../../services/io/ledger-open.ts";
import { LedgerStoppedError } from "../../services/io/ledger-store.ts";
import { openPostgres, whyNoPostgres, type Postgres } from "../fixtures/postgres.ts";
import { batch, openBooks, post, record } from "../io/ledger-books.ts";
import { everything, ledgerStoreSuite, producer } from "../io/ledger-store-suite.ts";
import { randomRecords } from "../io/random-records.ts";

const whyNot = whyNoPostgres();
const note = whyNot === undefined ? "" : ` (skipped: ${whyNot})`;

describe.skipIf(whyNot !== undefined)(`a ledger in a real PostgreSQL${note}`, () => {
  let postgres: Postgres;
  let ledgers = 0;
  const target = (): Promise<string> => postgres.url(`ledger${(ledgers += 1)}`);

  beforeAll(async () => {
    postgres = await openPostgres();
  });

  afterAll(() => postgres.close());

  ledgerStoreSuite("PostgreSQL", { target, open: openLedger, read: readLedger });

  const run = async (url: string, sql: string): Promise<unknown[]> => {
    const client = new Client(url);
    await client.connect();
    try {
      return (await client.query(sql)).rows as unknown[];
    } finally {
      await client.end();
    }
  };

  /** Of another version, and what is said of them. */
  const strangers: Readonly<Record<string, readonly [sql: string, found: string]>> = {
    "that has no number": ["CREATE TABLE writer (shard TEXT, epoch BIGINT)", "none"],
    "with another number": [
      "CREATE TABLE ledger_schema (name TEXT, version BIGINT); INSERT INTO ledger_schema VALUES ('ledger', 7)",
      "7",
    ],
  };

  for (const [what, [sql, found]] of Object.entries(strangers)) {
    test(`PostgreSQL: a ledger ${what} is not opened`, async () => {
      const url = await target();
      await run(url, sql);
      const message = new RegExp(`^expected a ledger with schema version 3, found ${found}: `);
      await expect(openLedger(url)).rejects.toThrow(message);
      await expect(readLedger(url)).rejects.toThrow(message);
    });
  }

  test("PostgreSQL: a ledger that nobody made is nothing to read", async () => {
    await expect(readLedger(await target())).rejects.toThrow("expected a ledger, found no tables");
  });

  test("PostgreSQL: two that open a new ledger at once make one", async () => {
    const url = await target();
    const stores = await Promise.all([openLedger(url), openLedger(url), openLedger(url)]);
    const ends = await Promise.allSettled(
      stores.map((store) => store.commit(batch({ producers: [producer(2n)] }))),
    );
    expect(ends.filter(({ status }) => status === "fulfilled").length).toBe(1);
    await Promise.all(stores.map((store) => store.close()));
  });

  test("PostgreSQL: the database itself refuses to change what was written", async () => {
    const url = await target();
    const store = await openLedger(url);
    await post(store, [record("a1")]);
    await store.close();
    for (const table of ["usage_record", "entry", "price_version", "leaf", "sale"]) {
      const told = `${table} is append-only`;
      await expect(run(url, `DELETE FROM ${table}`)).rejects.toThrow(told);
      await expect(run(url, `TRUNCATE ${table}`)).rejects.toThrow(told);
    }
    await expect(run(url, "UPDATE entry SET amount = amount + 1")).rejects.toThrow("append-only");
    const rights = `SELECT 1 FROM information_schema.table_privileges WHERE table_name = 'entry'
      AND table_schema = current_schema() AND privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')`;
    expect(await run(url, rights)).toEqual([]);
  });

  for (const [what, passOn] of Object.entries({ "reached the server": true, "was lost": false })) {
    test(`PostgreSQL: a connection that is lost during a commit that ${what} stops the ledger`, async () => {
      const url = await target();
      await (await openLedger(url)).close();
      const line = await openLine(url);
      const store = await openLedger(line.url);
      await store.commit(batch({ producers: [producer(2n)] }));
      line.cutAt("COMMIT\0", passOn);
      const commit = store.commit(batch({ producers: [producer(3n)] }));
      await expect(commit).rejects.toThrow(LedgerStoppedError);
      line.mend();
      await expect(store.commit(batch({ producers: [producer(4n)] }))).rejects.toThrow(
        LedgerStoppedError,
      );
      await store.close();
      // Whoever opens it next waits for what the server still does, and sees what came of it.
      const later = await openLedger(url);
      expect(await later.producers()).toEqual([producer(passOn ? 3n : 2n)]);
      await later.close();
      await line.close();
    });
  }

  test("PostgreSQL: a connection that is lost before the commit has written nothing, and the next commit has another", async () => {
    const url = await target();
    const line = await openLine(url);
    const store = await openLedger(line.url);
    line.cutAt("producer", true);
    const lost = store.commit(batch({ producers: [producer(2n)] }));
    await expect(lost).rejects.toThrow();
    await expect(lost).rejects.not.toThrow(LedgerStoppedError);
    line.mend();
    await store.commit(batch({ producers: [producer(5n)] }));
    expect(await store.producers()).toEqual([producer(5n)]);
    await store.close();
    await line.close();
  });

  const seed = Number(process.env["SEED"] ?? 20261122);

  test(`both stores keep the same books of the same records, whatever the batches (SEED=${seed})`, async () => {
    const folder = mkdtempSync(join(tmpdir(), "tokengrid-ledger-"));
    const records = randomRecords(seed, 160);
    const bySize: Awaited<ReturnType<typeof booksOf>>[] = [];
    for (const size of [1, 7, 50]) {
      const file = await booksOf(join(folder, `${size}.sqlite`), records, size);
      const server = await booksOf(await target(), records, size);
      // Rows, numbers, leaves and their order, to the byte.
      expect(server).toEqual(file);
      expect(file.mistakes).toEqual([]);
      bySize.push(file);
    }
    rmSync(folder, { recursive: true });
    const [first, ...others] = bySize.map(whateverTheBatches);
    for (const each of others) expect(each).toEqual(first);
    const { waiting, logs } = bySize[0] ?? {};
    // There was something to compare.
    expect(waiting).not.toBe(0);
    expect([...(logs?.keys() ?? [])].length).toBe(4);
  });
});

async function booksOf(target: string, records: readonly UsageRecord[], size: number) {
  const store = await openLedger(target);
  const books = await openBooks(store);
  await books.buyPackage();
  for (let from = 0; from < records.length; from += size) {
    await books.post(records.slice(from, from + size));
  }
  const sales = await store.salesOf(records.map(({ attempt }) => attempt));
  const found = { ...(await everything(store)), sales, logs: await store.logs() };
  const waiting = await store.waitingCount();
  await store.close();
  return { ...found, waiting };
}

/** Entries of a batch are in another order; the logs are not. */
function whateverTheBatches({ entries, ...books }: Awaited<ReturnType<typeof booksOf>>) {
  return { ...books, entries: entries.toSorted((a, b) => (a.id < b.id ? -1 : 1)) };
}

/** A line to the server that can be cut. */
async function openLine(url: string) {
  const { hostname, port, href } = new URL(url);
  let cut: { readonly at: string; readonly passOn: boolean } | undefined;
  const sockets = new Set<Socket>();
  const server: Server = createServer((near) => {
    const far = connect(Number(port), hostname);
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => other.destroy());
    }
    far.on("data", (bytes) => near.write(bytes));
    near.on("data", (bytes) => {
      if (cut === undefined || !bytes.includes(cut.at)) return void far.write(bytes);
      // Nothing comes back any more; what was sent may still arrive.
      far.removeAllListeners("data");
      near.removeAllListeners("close");
      near.destroy();
      if (cut.passOn) far.write(bytes);
      far.end();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const through = new URL(href);
  through.port = String((server.address() as AddressInfo).port);
  return {
    url: through.href,
    cutAt: (at: string, passOn: boolean) => {
      cut = { at, passOn };
    },
    mend: () => {
      cut = undefined;
    },
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
