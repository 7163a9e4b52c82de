import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toJsonString } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { complaintOf, exitCodeOf } from "../../services/cli/outcome.ts";
import { program } from "../../services/cli/program.ts";
import type { AttemptId, BookId, RequestId, VendorId } from "../../services/core/units.ts";
import { createKey } from "../../services/io/keys.ts";
import { formatKey, noteKey } from "../../services/core/settlement/proof/note.ts";
import { openSigningKey, sha256 } from "../../services/io/signing.ts";
import { openIdentities } from "../../services/io/grpc-identity.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import type { Registry } from "../../services/io/registry.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import { openSettlement, type Settlement } from "../../services/settlement/main.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { UsageService } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { fromPriceBook } from "../../services/wire/price.ts";
import { fromUsageRecord } from "../../services/wire/usage.ts";
import { friday, priceBook, usageRecord } from "../core/settlement/fixtures.ts";
import { focusMistakes, readCsv, toInteger } from "../core/settlement/focus-rules.ts";

/** The commands as people type them, against settlement over a socket. Each test goes on from the last. */

const id = "vendor:northgrid:daily:2026-11-20:0";
const stop = new AbortController();
let today = Number(friday / 1_000n) + 86_400_000;
let folder: string;
let registry: Registry;
let settlement: Settlement;
let server: RpcServer;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-statement-cli-"));
  registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  const book = priceBook({ calendar: loadCalendar() });
  await registry.set({
    ...{ kind: "price-book", key: `${book.id}@${book.version}`, baseRevision: 0 },
    ...{
      value: toJsonString(PriceBookSchema, fromPriceBook(book)),
      author: book.vendor,
      comment: "",
    },
  });
  const log = openLog({ role: "test", level: "silent" });
  const { signal } = stop;
  settlement = await openSettlement({
    ...{ registry, ledger: join(folder, "ledger.sqlite"), log, metrics: new Metrics() },
    ...{ clock: { now: () => today }, signal },
    ...{ domain: "grid.example", secretsPath: join(folder, "secrets") },
  });
  server = await serveRpc({
    ...{ host: "127.0.0.1", port: 0, signal, log },
    routes: (router) => settlement.routes(router),
    identify: await openIdentities({ registry, log, signal }),
  });
  const usage = createClient(UsageService, rpcTransport({ url: address() }));
  const records = Array.from({ length: 30 }, (_, each) => {
    const attempt = `a${each}` as AttemptId;
    return fromUsageRecord(
      usageRecord({ attempt, id: `${attempt}:0`, producerSeq: BigInt(each + 1) }),
    );
  });
  await usage.record({ records });
});

afterAll(async () => {
  stop.abort();
  await server.close();
  await settlement.close();
  await registry.close();
  await rm(folder, { recursive: true, force: true });
});

function address(): string {
  return `http://127.0.0.1:${server.port}`;
}

/** In this process: what is printed is kept, and so is the exit code. */
async function tokengrid(...words: readonly string[]) {
  vi.stubEnv("TOKENGRID_ADDR", address());
  const printed: string[] = [];
  const out = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
  const before = process.exitCode;
  try {
    const [name = ""] = words;
    await (await program([name])).parseAsync([...words], { from: "user" });
    return { code: process.exitCode, out: printed.join(""), err: "" };
  } catch (error) {
    return { code: exitCodeOf(error), out: printed.join(""), err: complaintOf(error) };
  } finally {
    out.mockRestore();
    vi.unstubAllEnvs();
    process.exitCode = before;
  }
}

const at = (name: string): string => join(folder, name);

/** File of a new credential of the vendor, which is known when this resolves. */
async function vendorKey(): Promise<string> {
  const { secret, record } = createKey({ kind: "vendor", subject: "northgrid", nowUs: friday });
  const value = JSON.stringify(record);
  await registry.set({
    ...{ kind: "key", key: record.prefix, value, baseRevision: 0, author: "test", comment: "" },
  });
  writeFileSync(at("vendor.key"), secret, { mode: 0o600 });
  return at("vendor.key");
}

async function exported(format: string, ...more: readonly string[]): Promise<string> {
  const path = at(format);
  const ended = await tokengrid("statement", "export", "--format", format, "--out", path, ...more);
  expect(ended.err).toBe("");
  return readFileSync(path, "utf8");
}

test("a day that is over is closed, made again from every source, and listed", async () => {
  for (const source of ["hours", "records", "leaves"]) {
    const made = await tokengrid(
      ...["statement", "generate", "--period", "2026-11-20", "-o", "name", "--recompute", source],
    );
    expect([made.err, made.out]).toEqual(["", `${id}\n`]);
  }
  const { out } = await tokengrid("statement", "list", "--vendor", "northgrid", "-o", "name");
  expect(out).toBe(`${id}\n`);
});

test("exports keep the rules of FOCUS and add up to what is paid", async () => {
  for (const [format, version] of [
    ["focus", "1.4"],
    ["focus-1.3", "1.3"],
  ] as const) {
    const { header, rows } = readCsv(await exported(format, id));
    expect(focusMistakes(header, rows, version)).toEqual([]);
    const nano = rows.reduce((sum, row) => sum + toInteger(row["BilledCost"] ?? "", 9), 0n);
    expect(nano % 10_000_000n).toBe(0n);
    expect(nano).toBeGreaterThan(0n);
  }
  expect((await exported("parquet", "--last")).startsWith("PAR1")).toBe(true);
  const events = (await exported("cloudevents", id)).trimEnd().split("\n");
  expect(events.map((line) => (JSON.parse(line) as { type: string }).type)).toEqual([
    "io.tokengrid.statement.v1",
    ...Array.from({ length: 30 }, () => "io.tokengrid.usage.v1"),
  ]);
  expect(await exported("html", id)).toContain("<h1>Daily statement");
  expect(await exported("focus", "--period", "2026-11-20", "--vendor", "northgrid")).toMatch(
    /^BilledCost,/,
  );
});

test("rows have the evidence of their records where it is asked for", async () => {
  const { header, rows } = readCsv(await exported("focus", id, "--evidence"));
  expect(focusMistakes(header, rows, "1.4")).toEqual([]);
  const usage = rows.filter(({ ChargeCategory }) => ChargeCategory === "Usage");
  const bytes = usage.map((row) => [
    row["x_TokenClass"],
    row["x_CountBasis"],
    row["x_OutputBytes"],
  ]);
  expect(bytes).toContainEqual(["response", "engine-final", "6000.0"]);
  expect(bytes).toContainEqual(["uncached_input", "engine-final", ""]);
});

test("a vendor checks it offline with keys alone, and signs it", async () => {
  await exported("json", id);
  await exported("leaves", id);
  const key = ["--key", at("key.pem"), "--kid", "northgrid"];
  const as = ["--token-file", await vendorKey()];
  const sign = () => tokengrid("statement", "sign", id, ...key, ...as);
  expect((await sign()).err).toMatch(/expected a private key, found no file/);
  await openSigningKey(at("key.pem"));
  // Nobody has told settlement of the key.
  expect((await sign()).err).toMatch(/no key is given for kid/);
  const told = await tokengrid("contract", "register-key", "vendor:northgrid", ...key, ...as);
  expect(told.out).toMatch(/^northgrid: on file for vendor:northgrid/);
  expect((await sign()).out).toMatch(/party +counterparty\nkid +northgrid\n/);
  const policy = await tokengrid("ledger", "keys", "vendor:northgrid");
  writeFileSync(at("keys"), policy.out);
  await tokengrid("statement", "get", id, "--out", at("got"));
  const signature = ["--signature", join(at("got"), "statement.operator.jws")];
  const verify = async (...more: readonly string[]) =>
    tokengrid(
      "statement",
      "verify",
      at("json"),
      "--keys",
      at("keys"),
      "--leaves",
      at("leaves"),
      ...more,
    );
  const good = await verify(...signature);
  expect([good.err, good.out]).toEqual(["", expect.stringMatching(/^vendor:northgrid:daily/)]);
  expect(good.out).toMatch(/not checked +counterparty +no signature of vendor:northgrid/);
  // Nobody's word: bytes and leaves that hold together anybody can write.
  const unsigned = await verify();
  expect([unsigned.code, unsigned.out.match(/^WRONG +\S+/gm)]).toEqual([
    2,
    ["operator", "root"].map((name) => expect.stringMatching(`${name}$`) as string),
  ]);
  expect(good.out).not.toContain("WRONG");
  expect(good.out).toMatch(/not checked +prices +prices not checked/);
  const text = readFileSync(at("json"), "utf8");
  writeFileSync(at("json"), text.replace(/"nano":"(\d+)"/, '"nano":"9$1"'));
  const bad = await verify(...signature, "-o", "json");
  expect(bad.code).toBe(2);
  const { checks } = JSON.parse(bad.out) as {
    checks: { name: string; is_good: boolean; detail: string }[];
  };
  const wrong = checks.filter(({ is_good: isGood }) => !isGood);
  const names = ["sums", "signature", "operator", "root", "leaves"];
  expect(wrong.map(({ name }) => name)).toEqual(names);
  expect(wrong.at(-1)?.detail).toMatch(/^line northgrid-list:1:\S+ p1 zhongwei: expected/);
});

test("prices are checked offline by the books that were signed", async () => {
  await exported("json", id);
  const written = await tokengrid("price", "get", "northgrid-list@1", "--out", at("book"));
  expect(written.err).toBe("");
  const verify = async (...more: readonly string[]) =>
    tokengrid(
      ...["statement", "verify", at("json"), "--keys", at("keys"), "--leaves", at("leaves")],
      ...["--signature", join(at("got"), "statement.operator.jws"), "--books", at("book"), ...more],
    );
  const good = await verify();
  expect([good.err, good.out]).toEqual([
    "",
    expect.stringMatching(/ok +prices +30 leaves rated again, to the nano/),
  ]);
  expect(good.out).toMatch(
    /ok +book +northgrid-list@1 signed by grid\.example\/operator\/\w+, operator/,
  );
  expect(good.out).not.toContain("prices not checked");
  const leaves = readFileSync(at("leaves"), "utf8");
  const tenfold = leaves.replaceAll(/"(nano|pico|amount_nano)":"(\d+)"/g, '"$1":"$20"');
  writeFileSync(at("leaves"), tenfold);
  const dear = await verify();
  expect([dear.code, dear.out]).toEqual([
    2,
    expect.stringMatching(/WRONG +prices +leaf \d+: pico/),
  ]);
  writeFileSync(at("leaves"), leaves);
  const text = readFileSync(at("book"), "utf8");
  writeFileSync(at("book"), text.replace(/pico_per_token\\":\\"/, "$&1"));
  const forged = await verify();
  expect([forged.code, forged.out]).toEqual([
    2,
    expect.stringMatching(/WRONG +book +expected a signature/),
  ]);
});

test("the signed files are written, and checked by the key of the operator's log", async () => {
  const written = await tokengrid("statement", "get", id, "--out", at("signed"));
  const file = (name: string): string => at(join("signed", name));
  const names = ["statement.json", "statement.counterparty.jws", "statement.operator.jws"];
  expect([written.err, written.out.trimEnd().split("\n").toSorted()]).toEqual([
    "",
    names.map(file).toSorted(),
  ]);
  const policy = await tokengrid("ledger", "keys", "vendor:northgrid");
  writeFileSync(at("policy"), policy.out);
  const verify = async () =>
    tokengrid(
      ...["statement", "verify", file("statement.json"), "--keys", at("policy"), "--signature"],
      ...[file("statement.operator.jws"), file("statement.counterparty.jws")],
    );
  const stranger = await verify();
  expect([stranger.code, stranger.out]).toEqual([
    2,
    expect.stringMatching(/WRONG +signature +no key is given for kid "?northgrid/),
  ]);
  const key = await openSigningKey(at("key.pem"));
  writeFileSync(at("policy"), `${policy.out}party vendor:northgrid northgrid ${key.publicKey}\n`);
  const good = await verify();
  expect([good.err, good.out.match(/^ok +signature +of \S+, \S+$/gm)?.length]).toEqual(["", 2]);
  expect(good.out).toMatch(/signature +of grid\.example\/operator\/[0-9a-f]{16}, operator\n/);
  // A key that is believed, of a vendor that is no party to it.
  writeFileSync(at("policy"), `${policy.out}party vendor:southgrid northgrid ${key.publicKey}\n`);
  const other = await verify();
  expect([other.code, other.out]).toEqual([
    2,
    expect.stringMatching(
      /WRONG +signature +expected a key of the operator or of vendor:northgrid/,
    ),
  ]);
  writeFileSync(at("policy"), `${policy.out}party northgrid ${key.publicKey}\n`);
  expect((await verify()).err).toMatch(/expected party, operator or a pair/);
});

test("the ledger's commands say what they did, in words and as JSON", async () => {
  const { publicKey } = await openSigningKey(at("witness.pem"));
  const key = formatKey(noteKey({ name: "w.example", type: "cosignature", publicKey }, sha256));
  const trust = ["ledger", "trust", "vendor:northgrid", key];
  expect((await tokengrid(...trust)).out).toBe(
    "w.example: from now on witnesses the log of vendor:northgrid\n",
  );
  const keys = await tokengrid("ledger", "keys", "vendor:northgrid", "-o", "json");
  expect(JSON.parse(keys.out)).toEqual({
    log_id: "vendor:northgrid",
    log_key: expect.stringMatching(/^grid\.example\/tokengrid\/vendor\/northgrid\+/) as string,
    witness_keys: [key],
  });
  const withdrawn = await tokengrid(...trust, "--withdraw", "-o", "json");
  expect(JSON.parse(withdrawn.out)).toMatchObject({ role: "witness", is_withdrawn: true });
  expect((await tokengrid("ledger", "keys", "vendor:northgrid")).out).toMatch(/quorum none\n$/);
  expect((await tokengrid("ledger", "seal", "-o", "name")).out).toContain("vendor:northgrid\n");
  const proof = ["ledger", "proof", "a1:0", "--log", "vendor:northgrid", "--out", folder];
  const proven = await tokengrid(...proof, "-o", "json");
  expect([proven.err, JSON.parse(proven.out || "null")]).toEqual([
    "",
    { log_id: "vendor:northgrid", files: [at("record.json"), at("record.tlog-proof")] },
  ]);
});

test("is approved and paid", async () => {
  const approved = await tokengrid("statement", "approve", id);
  expect(approved.out).toMatch(/approved +0\.\d+ CNY\npaid +0\.000000000 CNY/);
  const paid = await tokengrid("statement", "pay", id, "--reference", "t-1", "--amount", "0.01");
  expect(paid.out).toMatch(/paid +0\.010000000 CNY/);
  const more = await tokengrid("statement", "pay", id, "--reference", "t-2", "--amount", "99");
  expect([more.code, more.err]).toEqual([2, expect.stringMatching(/expected at most/)]);
});

test("usage is added up by dimensions, as a table, JSON and CSV", async () => {
  const query = ["usage", "query", "--period", "2026-11-20", "--by", "model", "pool"];
  const table = await tokengrid(...query);
  expect(table.out).toMatch(/^MODEL +POOL +REQUESTS/);
  const { out } = await tokengrid(...query, "--csv");
  expect(out.split("\r\n")[0]).toMatch(/^model,pool,requests,.*cost_nano,margin_nano$/);
  const { out: json } = await tokengrid(...query, "-o", "json");
  expect((JSON.parse(json) as { rows: { keys: string[] }[] }).rows[0]?.keys).toEqual([
    "qwen3-32b",
    "p1",
  ]);
});

// prettier-ignore
const refused: readonly [what: string, words: readonly string[], code: number, message: RegExp][] = [
  ["a statement that nobody made", ["get", "vendor:x:daily:2026-11-20:0"], 2, /there is no/],
  ["two ways to say which",        ["export", id, "--last"],               1, /one of the three/],
  ["parquet without a file",       ["export", id, "--format", "parquet"],  1, /--out/],
  ["an amount that is none",       ["pay", id, "--reference", "r", "--amount", "1,5"], 1, /expected yuan/],
  ["a period that is none",        ["generate", "--period", "soon"],       1, /expected today, yesterday/],
];
for (const [what, words, code, message] of refused) {
  test(`statement refuses ${what}`, async () => {
    const ended = await tokengrid("statement", ...words);
    expect([ended.code, ended.err]).toEqual([code, expect.stringMatching(message)]);
  });
}

test("of several vendors those are closed that can be, and the others are named with the reason", async () => {
  const book = priceBook({
    ...{ id: "south-list" as BookId, vendor: "south" as VendorId, calendar: loadCalendar() },
  });
  await registry.set({
    ...{ kind: "price-book", key: `${book.id}@1`, baseRevision: 0, comment: "" },
    ...{ value: toJsonString(PriceBookSchema, fromPriceBook(book)), author: book.vendor },
  });
  const usage = createClient(UsageService, rpcTransport({ url: address() }));
  const record = usageRecord({
    ...{ attempt: "s1" as AttemptId, vendor: book.vendor, priceBook: book.id },
    ...{ request: "rs1" as RequestId, producerSeq: 31n, openedUs: friday },
  });
  await usage.record({ records: [fromUsageRecord(record)] });
  today += 86_400_000;
  const close = ["statement", "generate", "--period", "2026-11-21", "-o", "name"];
  const some = await tokengrid(...close);
  expect(some).toEqual({
    ...{ code: 2, out: "vendor:northgrid:daily:2026-11-21:0\n" },
    err: expect.stringMatching(
      /^not closed:\nvendor:south: failed precondition: .*2026-11-20/,
    ) as string,
  });
  const all = await tokengrid(...close, "--catch-up");
  expect([all.err, all.out]).toEqual([
    "",
    "vendor:northgrid:daily:2026-11-21:0\nvendor:south:daily:2026-11-21:0\n",
  ]);
});

test("a month whose days were paid is exported by its days' invoices, each adding up to what was paid", async () => {
  today = Number(friday / 1_000n) + 14 * 86_400_000;
  const generate = async (period: string) =>
    tokengrid(
      ...["statement", "generate", "--period", period, "--vendor", "northgrid", "-o", "name"],
    );
  for (let day = 21; day <= 30; day += 1) await generate(`2026-11-${day}`);
  const made = await generate("2026-11");
  expect([made.err, made.out]).toEqual(["", "vendor:northgrid:monthly:2026-11:0\n"]);
  const { header, rows } = readCsv(await exported("focus", "vendor:northgrid:monthly:2026-11:0"));
  expect(focusMistakes(header, rows, "1.4")).toEqual([]);
  const { rows: ofDay } = readCsv(await exported("focus", id));
  expect(rows.filter(({ InvoiceId }) => InvoiceId === id)).toEqual(ofDay);
  expect(new Set(rows.map(({ InvoiceId }) => InvoiceId))).toEqual(new Set([id]));
});
