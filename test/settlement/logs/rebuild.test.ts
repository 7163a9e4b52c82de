import { spawn } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { toJsonString } from "@bufbuild/protobuf";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { expect, onTestFinished, test } from "vitest";
import { LogFollower } from "../../../services/agent/witness.ts";
import { parseKey } from "../../../services/core/settlement/proof/note.ts";
import type { UsageRecord } from "../../../services/core/settlement/counting/usage.ts";
import type { AttemptId, RequestId } from "../../../services/core/units.ts";
import { identityKey, localOperator } from "../../../services/io/grpc-identity.ts";
import { openLeafCopy, readLeafCopy } from "../../../services/io/leaf-copy.ts";
import { readLedger } from "../../../services/io/ledger-open.ts";
import { verifyLedger } from "../../../services/io/ledger-verify.ts";
import { loadCalendar } from "../../../services/io/preset.ts";
import { openSqliteRegistry } from "../../../services/io/registry-sqlite.ts";
import { sha256 } from "../../../services/io/signing.ts";
import { openWitnessState } from "../../../services/io/witness-state.ts";
import { Witness } from "../../../services/io/witness.ts";
import { openSettlement } from "../../../services/settlement/compose.ts";
import { rebuildLedger } from "../../../services/settlement/logs/rebuild-ledger.ts";
import { compareLog } from "../../../services/settlement/logs/rebuild.ts";
import { LogService } from "../../../services/wire/gen/tokengrid/v1/log_pb.js";
import { PriceBookSchema } from "../../../services/wire/gen/tokengrid/v1/price_pb.js";
import { RecordStatus, UsageService } from "../../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { fromPriceBook } from "../../../services/wire/price.ts";
import { fromUsageRecord } from "../../../services/wire/usage.ts";
import { friday, priceBook, usageRecord } from "../../core/settlement/fixtures.ts";
import { log, witnessKey } from "../log-fixtures.ts";

const calendar = loadCalendar();
const book = priceBook({ calendar });
const pair = `vendor:${book.vendor}`;
const theDayAfter = { now: () => Number(friday / 1_000n) + 86_400_000 };
const nowUs = friday + 86_400_000_000n;
const { POSTED, EXISTS } = RecordStatus;

function places() {
  const folder = mkdtempSync(join(tmpdir(), "rebuild-"));
  const at = (name: string): string => join(folder, name);
  return {
    ledger: at("ledger.sqlite"),
    backup: at("backup.sqlite"),
    lost: at("lost.sqlite"),
    secrets: at("secrets"),
    copy: at("copy"),
  };
}

type Places = ReturnType<typeof places>;

/** Settlement over a ledger, as its operator sees it. */
async function open({ ledger, secrets }: Places) {
  const registry = await openSqliteRegistry(":memory:");
  await registry.set({
    kind: "price-book",
    key: `${book.id}@${book.version}`,
    value: toJsonString(PriceBookSchema, fromPriceBook(book)),
    ...{ baseRevision: 0, author: book.vendor, comment: "" },
  });
  const stop = new AbortController();
  const { signal } = stop;
  const settlement = await openSettlement({
    ...{ registry, ledger, secretsPath: secrets, domain: "grid.example" },
    ...{ log, metrics: new Metrics(), clock: theDayAfter, signal },
  });
  const transport = createRouterTransport((router) => settlement.routes(router), {
    router: {
      requestGate: ({ values }) => {
        values.set(identityKey, localOperator);
      },
    },
  });
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    stop.abort();
    await settlement.close();
    await registry.close();
  };
  onTestFinished(close);
  const usage = createClient(UsageService, transport);
  return {
    ...{ settlement, transport, close, logs: createClient(LogService, transport) },
    record: async (records: readonly UsageRecord[]) => {
      const { results } = await usage.record({ records: records.map(fromUsageRecord) });
      return results.map(({ status }) => status);
    },
  };
}

type Opened = Awaited<ReturnType<typeof open>>;

function records(from: number, to: number): UsageRecord[] {
  return Array.from({ length: to - from }, (_each, at) =>
    usageRecord({
      attempt: `a${from + at}` as AttemptId,
      id: `a${from + at}:0`,
      request: `r${from + at}` as RequestId,
    }),
  );
}

/** The vendor looks at its log, signs it, and keeps every leaf. */
async function follow({ logs, transport }: Opened, { copy: folder }: Places): Promise<void> {
  await logs.sealLogs({});
  const { logKey } = await logs.listKeys({ logId: pair });
  const key = parseKey(logKey, sha256);
  if (typeof key === "string") throw new Error(key);
  const own = witnessKey("northgrid.example/witness");
  const copy = await openLeafCopy(folder, pair);
  const state = openWitnessState(":memory:");
  const witness = new Witness({
    ...{ key: own.key, sign: own.signing.sign, heads: state },
    keysOf: () => [key],
    nowSeconds: () => nowUs / 1_000_000n,
  });
  const follower = new LogFollower({
    ...{ transport, witness, copy, logId: pair, logKeys: [key], isEveryLeafRead: false },
  });
  // Nobody has told the operator of this witness: it has no use for the signature, and the copy is there.
  await expect(follower.look(new AbortController().signal)).rejects.toThrow("of a witness");
  await copy.close();
}

async function sealed({ logs }: Opened) {
  return (await logs.sealLogs({})).logs.find(({ logId }) => logId === pair);
}

/** What the ledger says in the end. */
async function said(ledger: string) {
  const store = await readLedger(ledger);
  const { mistakes, heads } = await verifyLedger(store, () => undefined);
  const balances = await store.balances();
  await store.close();
  return { mistakes, heads, balances };
}

/** A price version and ten records are in the backup, fifteen in the ledger that is lost and in the vendor's copy. */
async function lost() {
  const at = places();
  const first = await open(at);
  await first.record(records(0, 10));
  await first.logs.sealLogs({});
  await first.close();
  copyFileSync(at.ledger, at.backup);
  const second = await open(at);
  await second.record(records(10, 15));
  await follow(second, at);
  await second.close();
  renameSync(at.ledger, at.lost);
  copyFileSync(at.backup, at.ledger);
  return at;
}

async function rebuilt(at: Places, giveUp: readonly string[] = []) {
  const { ledger, secrets: secretsPath } = at;
  const copies = [await readLeafCopy(at.copy)];
  return rebuildLedger({ ...{ ledger, secretsPath, copies, giveUp, log, nowUs } });
}

test("from an old backup, the vendor's copy and the records again: the ledger that was lost (C19)", async () => {
  const at = await lost();
  const halted = await open(at);
  expect(halted.settlement.whyNot()).toContain("16 leaves were signed, the log has 11");
  await expect(halted.record(records(10, 12))).rejects.toThrow("the ledger cannot be written");
  await halted.close();

  const { logs, lost: missing } = await rebuilt(at);
  expect(logs).toEqual([
    {
      log: pair,
      ledgerSize: 11n,
      copySize: 16n,
      differsFrom: undefined,
      missing: new Map([["usage", 5n]]),
    },
  ]);
  expect(missing.map(({ index, kind, ref }) => [index, kind, ref])).toEqual(
    [10n, 11n, 12n, 13n, 14n].map((each) => [each + 1n, "usage", `a${each}:0`]),
  );

  const again = await open(at);
  expect(again.settlement.whyNot()).toBe(undefined);
  // From the gateways' spools, in the order in which they were posted first; and what was never lost.
  expect(await again.record(records(9, 15))).toEqual([
    EXISTS,
    ...Array.from({ length: 5 }, () => POSTED),
  ]);
  await again.close();
  const [before, after] = [await said(at.lost), await said(at.ledger)];
  expect(after).toEqual({ ...before, mistakes: [] });

  const next = await open(at);
  await next.record(records(15, 17));
  expect(await sealed(next)).toMatchObject({ size: 18n, signedSize: 18n, refusal: "" });
  await next.close();
  const store = await readLedger(at.ledger);
  const compared = await compareLog(store, await readLeafCopy(at.copy));
  await store.close();
  expect(compared).toMatchObject({ ledgerSize: 18n, differsFrom: undefined, missing: new Map() });
});

test("records that came in another order are posted, and the leaves stay as they were signed", async () => {
  const at = await lost();
  await rebuilt(at);
  const again = await open(at);
  for (const record of records(10, 15).toReversed())
    expect(await again.record([record])).toEqual([POSTED]);
  const state = await sealed(again);
  expect(state).toMatchObject({ size: 16n, refusal: "" });
  await again.close();
  const [before, after] = [await said(at.lost), await said(at.ledger)];
  // Telescoped: the parts may differ, their sum does not.
  expect(after.balances).toEqual(before.balances);
  expect(after.heads.get(pair)).toEqual(before.heads.get(pair));
});

test("a copy that lags: what nobody has is given up by name, and the ledger says so", async () => {
  const at = await lost();
  renameSync(at.lost, at.ledger);
  const more = await open(at);
  await more.record(records(15, 18));
  await more.logs.sealLogs({});
  await more.close();
  copyFileSync(at.backup, at.ledger);

  await rebuilt(at);
  const short = await open(at);
  expect(short.settlement.whyNot()).toContain("19 leaves were signed, the log has 16");
  await short.close();
  await rebuilt(at, [pair]);
  const again = await open(at);
  expect(again.settlement.whyNot()).toBe(undefined);
  await again.record(records(15, 18));
  const state = await sealed(again);
  expect(state).toMatchObject({ size: 19n, signedSize: 19n, refusal: "" });
  await again.close();
  const store = await readLedger(at.ledger);
  expect((await store.document("lost-tail", `${pair}#19`))?.body).toContain('"signed_size":"19"');
  await store.close();
});

test("nothing is written from a copy of another log's leaves, or into a ledger that went on", async () => {
  const at = await lost();
  const forked = places();
  const stranger = await open(forked);
  await stranger.record(records(50, 62));
  await stranger.close();
  // Its own secrets, and another's copy: the ledger differs from the first record on.
  await expect(rebuilt({ ...forked, copy: at.copy })).rejects.toThrow(
    "leaf 1 of the ledger is not that",
  );
  const empty = places();
  await (await open(empty)).close();
  await expect(rebuilt({ ...empty, copy: at.copy })).rejects.toThrow("that the operator signed");
});

test("while settlement runs nothing is rebuilt", async () => {
  const at = await lost();
  const running = await open(at);
  await expect(rebuilt(at)).rejects.toThrow("that nobody else holds");
  await running.close();
});

test("a ledger that is gone as a whole comes back from the copy, with its terms (C19)", async () => {
  const at = await lost();
  for (const end of ["", "-wal", "-shm"]) rmSync(`${at.ledger}${end}`, { force: true });
  const halted = await open(at);
  expect(halted.settlement.isReady()).toBe(false);
  expect(halted.settlement.whyNot()).toContain("nothing is signed for 2 logs");
  await halted.close();
  // Nobody follows the internal log.
  await rebuilt(at, ["internal"]);
  const again = await open(at);
  expect(again.settlement.whyNot()).toBe(undefined);
  await again.record(records(0, 15));
  expect(await sealed(again)).toMatchObject({ size: 16n, signedSize: 16n, refusal: "" });
  await again.close();
  const [before, after] = [await said(at.lost), await said(at.ledger)];
  expect([after.mistakes, after.balances]).toEqual([[], before.balances]);
  expect(after.heads.get(pair)).toEqual(before.heads.get(pair));
});

test("the commands say from where on it differs, write the evidence, and put it back", async () => {
  const at = await lost();
  const evidence = `${at.copy}.jsonl`;
  const compare = ["ledger", "compare", at.copy, "--ledger", at.ledger];
  const before = await run([...compare, "--out", evidence, "--output", "json"]);
  expect([before.code, JSON.parse(before.out)]).toEqual([
    2,
    {
      logs: [
        {
          ...{ log_id: pair, ledger_size: "11", copy_size: "16", differs_from: null },
          missing: { usage: "5" },
        },
      ],
      lost: [],
    },
  ]);
  const [first] = readFileSync(evidence, "utf8").split("\n");
  expect(JSON.parse(first ?? "")).toMatchObject({ index: "11", kind: "usage", ref: "a10:0" });

  const settings = ["--ledger", at.ledger, "--secrets", at.secrets];
  const rebuild = await run(["ledger", "rebuild", at.copy, ...settings]);
  expect([rebuild.code, rebuild.out]).toEqual([
    0,
    expect.stringContaining("5 leaves were put back"),
  ]);
  const after = await run([...compare, "--output", "json"]);
  expect([after.code, (JSON.parse(after.out) as { lost: unknown[] }).lost.length]).toEqual([2, 5]);
  const nobodys = await run(["ledger", "rebuild", at.secrets, ...settings]);
  expect([nobodys.code, nobodys.out]).toEqual([1, ""]);
  expect(nobodys.err).toContain("expected a copy of a log, found none");
});

/** The program as a person runs it. */
async function run(args: readonly string[]) {
  const program = spawn(process.execPath, ["services/cli/main.ts", ...args]);
  const [out, err, [code]] = await Promise.all([
    text(program.stdout),
    text(program.stderr),
    once(program, "close") as Promise<[number]>,
  ]);
  return { code, out, err };
}
