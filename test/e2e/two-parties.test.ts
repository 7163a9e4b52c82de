import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toJsonString } from "@bufbuild/protobuf";
import { createClient } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { nameOfPeriod, dayOf } from "../../services/core/settlement/statements/period.ts";
import { bookText } from "../../services/core/settlement/terms/terms-text.ts";
import type { AttemptId, RequestId } from "../../services/core/units.ts";
import { openIdentities } from "../../services/io/grpc-identity.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import type { Registry } from "../../services/io/registry.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import { openSigningKey, sha256 } from "../../services/io/signing.ts";
import { openSettlement, type Settlement } from "../../services/settlement/main.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { UsageService } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { fromPriceBook } from "../../services/wire/price.ts";
import { fromUsageRecord } from "../../services/wire/usage.ts";
import { priceBook, usageRecord } from "../core/settlement/fixtures.ts";
import { tokengrid, type Ended } from "./dev-process.ts";

// Real processes start and answer here; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

/**
 * An operator and a vendor, each on its own command line with its own keys, from the first key to the payment. The ledger's
 * clock is moved by the test. Each test goes on from the last.
 */

const zone = "Asia/Shanghai";
const usPerHour = 3_600_000_000n;
const log = openLog({ role: "test", level: "silent" });
/** Yesterday, so that what command lines sign has a time that the ledger can know. */
const day = dayOf(dayOf(BigInt(Date.now()) * 1_000n, zone).fromUs - 1n, zone);
const name = nameOfPeriod(day);
const noonUs = day.fromUs + 12n * usPerHour;
const statementId = `vendor:northgrid:daily:${name}:0`;
const calendar = loadCalendar();
/** Dear enough for a few tokens to be whole yuan. */
const book = priceBook({
  ...{ calendar, effectiveFromUs: day.fromUs - 24n * usPerHour },
  lines: priceBook().lines.map((line) => ({
    ...line,
    tiers: line.tiers.map((tier) => ({
      ...tier,
      pricePicoPerToken: tier.pricePicoPerToken * 100_000n,
    })),
  })),
});

let folder: string;
let registry: Registry;
let settlement: Settlement;
let server: RpcServer;
let nowUs = noonUs;
const stop = new AbortController();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "two-parties-"));
  registry = await openSqliteRegistry(at("registry.sqlite"));
  await registry.set({
    ...{ kind: "price-book", key: `${book.id}@${book.version}`, author: book.vendor },
    ...{ value: toJsonString(PriceBookSchema, fromPriceBook(book)), baseRevision: 0, comment: "" },
  });
  const { signal } = stop;
  settlement = await openSettlement({
    ...{ registry, log, signal, domain: "grid.example", metrics: new Metrics() },
    ...{ ledger: at("ledger.sqlite"), secretsPath: at("secrets") },
    clock: { now: () => Number(nowUs / 1_000n) },
  });
  server = await serveRpc({
    ...{ host: "127.0.0.1", port: 0, signal, log },
    routes: (router) => settlement.routes(router),
    identify: await openIdentities({ registry, log, signal }),
  });
});

afterAll(async () => {
  stop.abort();
  await server.close();
  await settlement.close();
  await registry.close();
  rmSync(folder, { recursive: true });
});

function at(file: string): string {
  return join(folder, file);
}

async function operator(...words: string[]): Promise<Ended> {
  return tokengrid(...words, "--addr", `http://127.0.0.1:${server.port}`);
}

async function vendor(...words: string[]): Promise<Ended> {
  return operator(...words, "--token-file", at("north.token"));
}

/** Says what went wrong, where anything did. */
async function good(run: Promise<Ended>): Promise<string> {
  const { code, stdout, stderr } = await run;
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  return stdout;
}

const northKey = () => ["--key", at("north.pem"), "--kid", "north/1"];

async function operatorKey(): Promise<string[]> {
  const path = join(at("secrets"), "operator.pem");
  const { publicKey } = await openSigningKey(path);
  return ["--key", path, "--kid", `grid.example/operator/${publicKey.slice(0, 16)}`];
}

async function gateway() {
  return createClient(UsageService, rpcTransport({ url: `http://127.0.0.1:${server.port}` }));
}

test("a vendor has a credential, and a key of its own on file", async () => {
  const of = ["--kind", "vendor", "--subject", "northgrid", "--file", at("north.token")];
  await good(tokengrid("key", "create", "--data", folder, ...of));
  const registered = await good(
    vendor("contract", "register-key", "vendor:northgrid", ...northKey()),
  );
  expect(registered).toMatch(/^north\/1: on file for vendor:northgrid, public key [0-9a-f]{64}\n$/);
  const other = ["contract", "register-key", "vendor:southgrid", "--key", at("south.pem")];
  expect(await vendor(...other, "--kid", "south/1")).toMatchObject({
    ...{ code: 1, stderr: expect.stringContaining("vendor:southgrid") as string },
  });
});

test("both sign the contract before it starts", async () => {
  const contract = {
    ...{ type: "contract", contract_id: "northgrid", version: 1, pair_id: "vendor:northgrid" },
    ...{ effective_from_us: String(noonUs + usPerHour), signatures: "required", period: "daily" },
  };
  writeFileSync(at("contract.json"), JSON.stringify(contract));
  await good(operator("contract", "propose", at("contract.json")));
  await good(vendor("contract", "sign", "northgrid@1", ...northKey()));
  await good(operator("contract", "sign", "northgrid@1"));
  const listed = await good(vendor("contract", "list", "-o", "json"));
  expect(listed).toContain('"northgrid"');
});

test("what was served is counted by both", async () => {
  nowUs = noonUs + 2n * usPerHour;
  const names = ["a1", "a2", "a3"];
  const { record } = await gateway();
  const records = names.map((each) =>
    usageRecord({
      ...{ attempt: each as AttemptId, id: `${each}:0`, request: `r-${each}` as RequestId },
      ...{ openedUs: nowUs, producerSeq: BigInt(names.indexOf(each) + 1) },
    }),
  );
  await record({ records: records.map(fromUsageRecord) });
  const rows = names.map((each) => {
    // For one of them more than the operator counted.
    const response = each === "a3" ? 60 : 50;
    const instants = [nowUs, nowUs + 2_100_000n].map((us) =>
      new Date(Number(us / 1_000n)).toISOString(),
    );
    const counts = [60, 40, 0, response, 0, sha256(bookText(book)), "any"];
    return [each, "p1", "qwen3-32b", ...counts, ...instants].join(",");
  });
  const header =
    "attempt_id,pool_id,model_id,in_uncached,in_cache_read,in_cache_write,out_response,out_reasoning,price_hash,slot,opened_at,closed_at";
  writeFileSync(at("claims.csv"), `${[header, ...rows].join("\n")}\n`);
  const claimed = await good(
    vendor("claim", "submit", at("claims.csv"), "--vendor", "northgrid", ...northKey()),
  );
  expect(claimed).toMatch(/^accepted +3$/m);
});

test("the vendor's witness signs the log from outside in", async () => {
  const name = "northgrid.example/witness";
  const own = ["--name", name, "--key", at("witness.pem")];
  const key = (await good(tokengrid("witness", "key", ...own))).trim();
  await good(operator("ledger", "trust", "vendor:northgrid", key));
  await good(operator("ledger", "seal"));
  const policy = await good(vendor("ledger", "keys", "vendor:northgrid"));
  const logKeys = [...policy.matchAll(/^log (\S+)/gm)].flatMap(([, each = ""]) => [
    "--log-key",
    each,
  ]);
  expect(logKeys.length).toBe(2);
  const of = ["--log", "vendor:northgrid", "--state", at("witnessed.sqlite"), "--once"];
  await good(vendor("witness", "follow", ...own, ...of, ...logKeys, "--every-leaf"));
  const logs = await good(operator("ledger", "logs"));
  expect(logs).toMatch(/vendor:northgrid/);
});

test("the day cannot be closed before the gateway has said that nothing is missing", async () => {
  nowUs = day.toUs + usPerHour / 6n;
  const early = await operator("statement", "generate", "--vendor", "northgrid", "--period", name);
  expect(early.code).not.toBe(0);
  expect(early.stderr).toContain("found no word of gateway-1");
  const { record } = await gateway();
  await record({
    mark: { gatewayId: "gateway-1", epoch: 1n, completeUntilUs: day.toUs },
  });
  const words = ["statement", "generate", "--vendor", "northgrid", "--period", name];
  expect(await good(operator(...words, "--recompute", "records"))).toContain(statementId);
});

test("the vendor checks the statement offline, and countersigns it", async () => {
  const bytes = await good(vendor("statement", "export", statementId, "--format", "json"));
  writeFileSync(at("statement.json"), bytes.trimEnd());
  const leaves = await good(vendor("statement", "export", statementId, "--format", "leaves"));
  writeFileSync(at("leaves.jsonl"), leaves);
  const keys = await Promise.all(
    [
      { party: "operator", of: await operatorKey() },
      { party: "vendor:northgrid", of: northKey() },
    ].map(async ({ party, of: [, path = "", , kid = ""] }) => {
      return `party ${party} ${kid} ${(await openSigningKey(path)).publicKey}\n`;
    }),
  );
  writeFileSync(at("keys"), keys.join(""));
  const offline = ["statement", "verify", at("statement.json"), "--keys", at("keys")];
  const [first] = await signatures();
  writeFileSync(at("operator.jws"), first?.jws ?? "");
  const checked = ["--signature", at("operator.jws"), "--leaves", at("leaves.jsonl")];
  const priced = `${book.id}@${book.version}`;
  await good(vendor("price", "get", priced, "--out", at("book.json")));
  const rated = await good(tokengrid(...offline, ...checked, "--books", at("book.json")));
  expect(rated).toMatch(/add up[\s\S]*3 leaves rated again, to the nano/);
  await good(vendor("statement", "sign", statementId, ...northKey()));
  const [, second] = await signatures();
  writeFileSync(at("vendor.jws"), second?.jws ?? "");
  const both = ["--signature", at("operator.jws"), at("vendor.jws")];
  expect(await good(tokengrid(...offline, ...both))).toContain("north/1");
  // Without the operator's signature it is nobody's word, and by the vendor's it is the vendor's alone.
  expect(await tokengrid(...offline)).toMatchObject({ code: 2 });
  const vendorAlone = await tokengrid(...offline, "--signature", at("vendor.jws"));
  expect([vendorAlone.code, vendorAlone.stdout]).toEqual([
    2,
    expect.stringMatching(/WRONG +operator/),
  ]);
  const forged = bytes.replace('"net_nano":"', '"net_nano":"9');
  writeFileSync(at("statement.json"), forged.trimEnd());
  expect(await tokengrid(...offline, ...both)).toMatchObject({ code: 2 });
});

async function signatures() {
  const shown = JSON.parse(await good(operator("statement", "get", statementId, "-o", "json"))) as {
    readonly progress: { readonly signatures: readonly { readonly jws: string }[] };
  };
  return shown.progress.signatures;
}

let dispute: string;

test("what differs is found, and disputed with the vendor's signature", async () => {
  const words = ["statement", "reconcile", "--period", name, "--vendor", "northgrid"];
  const compared = await vendor(...words);
  expect([compared.code, compared.stdout]).toEqual([2, expect.stringContaining("QTY_OUTPUT")]);
  const asked = ["--reason", "QTY_OUTPUT", "--item", "exp:cogs:pool:p1=8"];
  const as = ["--as", "counterparty", ...northKey()];
  dispute = (
    await good(vendor("statement", "dispute", "open", statementId, ...asked, ...as, "-o", "name"))
  ).trim();
  const own = await operatorKey();
  const move = async (to: string, ...how: string[]): Promise<string> =>
    good(operator("statement", "dispute", "answer", dispute, "--to", to, ...how));
  writeFileSync(at("evidence.txt"), "what was counted where\n");
  await move("acknowledged", ...own);
  await good(
    vendor(
      ...["statement", "dispute", "answer", dispute, "--to", "evidence"],
      ...["--bundle", at("evidence.txt"), ...as],
    ),
  );
  await move("accepted-by-operator", ...own);
  await move("settled", ...own);
  expect(await good(vendor("statement", "dispute", "list"))).toContain("settled");
});

test("the rest is approved and paid, and the books are right to the last nano", async () => {
  await good(operator("statement", "approve", statementId));
  await good(operator("statement", "pay", statementId, "--reference", "transfer 1"));
  const again = await good(operator("statement", "pay", statementId, "--reference", "transfer 1"));
  expect(again).toMatch(/paid/);
  const verified = await tokengrid("ledger", "verify", "--ledger", at("ledger.sqlite"));
  expect(verified).toMatchObject({ code: 0 });
});
