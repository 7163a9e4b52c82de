import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { toJsonString } from "@bufbuild/protobuf";
import { afterEach, beforeEach, expect, test } from "vitest";
import { randomFromSeed } from "../../services/core/random.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { verifyLedger } from "../../services/io/ledger-verify.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { fromPriceBook } from "../../services/wire/price.ts";
import { priceBook } from "../core/settlement/fixtures.ts";
import { batchesToWrite } from "./ledger-batches.ts";

const writer = new URL("./ledger-writer/main.ts", import.meta.url).pathname;
const kills = 6;

let folder: string;
let registryPath: string;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-crash-"));
  registryPath = join(folder, "registry.sqlite");
  const registry = await openSqliteRegistry(registryPath);
  const value = toJsonString(
    PriceBookSchema,
    fromPriceBook(priceBook({ calendar: loadCalendar() })),
  );
  await registry.set({
    ...{ kind: "price-book", key: "northgrid-list@1", value },
    ...{ baseRevision: 0, author: "test", comment: "" },
  });
  await registry.close();
});

afterEach(() => rmSync(folder, { recursive: true }));

/** Runs the writer, kills it as soon as so many batches are durable, and returns what it said. */
async function run(ledgerPath: string, killAfter: number): Promise<string[]> {
  const child = spawn(process.execPath, [writer, registryPath, ledgerPath], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines: string[] = [];
  for await (const line of createInterface({ input: child.stdout })) {
    lines.push(line);
    // It goes on writing while the signal is on its way.
    if (lines.length - 1 === killAfter) child.kill("SIGKILL");
  }
  return lines;
}

async function booksOf(ledgerPath: string) {
  const store = openSqliteLedger(ledgerPath);
  const { mistakes } = await verifyLedger(store);
  const records = await store.recordsAfter(undefined, 10_000);
  const books = {
    mistakes,
    ids: records.map(({ record }) => record),
    entryIds: (await store.entriesAfter(0n, 10_000)).map(({ id }) => id).toSorted(),
    cumulatives: await store.cumulatives(),
    balances: await store.balances(),
    producers: await store.producers(),
  };
  await store.close();
  return books;
}

const seed = Number(process.env["SEED"] ?? 20261121);

test(`killed at any moment, a ledger loses nothing it said it has, and doubles nothing (SEED=${seed})`, async () => {
  const batches = batchesToWrite();
  const random = randomFromSeed(seed);
  const ledgerPath = join(folder, "killed.sqlite");
  let durable = 0;
  for (let kill = 0; kill < kills; kill++) {
    const lines = await run(ledgerPath, 1 + Math.floor(random() * 15) + kill * 15);
    durable = Math.max(durable, lines.filter((line) => line.startsWith("durable")).length);
    const books = await booksOf(ledgerPath);
    const promised = new Set(
      batches
        .slice(0, durable)
        .flat()
        .map(({ id }) => id),
    );
    expect(books.mistakes).toEqual([]);
    expect(promised.difference(new Set(books.ids))).toEqual(new Set());
    expect(new Set(books.ids).size).toBe(books.ids.length);
  }
  expect((await run(ledgerPath, Infinity)).at(-1)).toBe("done");
  const uncut = join(folder, "uncut.sqlite");
  expect((await run(uncut, Infinity)).at(-1)).toBe("done");
  expect(await booksOf(ledgerPath)).toEqual(await booksOf(uncut));
}, 120_000);
