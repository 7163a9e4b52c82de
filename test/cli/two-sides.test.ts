import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import type { Command } from "commander";
import { Registry as Metrics } from "prom-client";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { command as claimCommand } from "../../services/cli/commands/claim.ts";
import { disputeCommand } from "../../services/cli/dispute-command.ts";
import { moveOf } from "../../services/cli/dispute-move.ts";
import { complaintOf, exitCodeOf } from "../../services/cli/outcome.ts";
import { netCommand } from "../../services/cli/net-command.ts";
import { reconcileCommand } from "../../services/cli/reconcile-command.ts";
import { reportText } from "../../services/cli/reconcile-text.ts";
import { dayOf } from "../../services/core/settlement/statements/period.ts";
import { bookText } from "../../services/core/settlement/terms/terms-text.ts";
import type { PairId } from "../../services/core/units.ts";
import { claimColumns } from "../../services/io/claim-file.ts";
import { localOperator } from "../../services/io/grpc-identity.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { openLog } from "../../services/io/log.ts";
import { serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import { openSigningKey } from "../../services/io/signing.ts";
import { Agreements } from "../../services/settlement/terms/agreements.ts";
import { ClosedPeriods } from "../../services/settlement/statements/closed-periods.ts";
import { Documents } from "../../services/settlement/documents.ts";
import { SettlementMetrics } from "../../services/settlement/metrics.ts";
import { Statements } from "../../services/settlement/statements/statements.ts";
import { openTwoSides } from "../../services/settlement/claims/two-sides.ts";
import { ReconcileReportSchema } from "../../services/wire/gen/tokengrid/v1/claim_pb.js";
import { friday, sha256 } from "../core/settlement/fixtures.ts";
import { buyBook, openBooks, record, type Books } from "../io/ledger-books.ts";

const pair = "vendor:northgrid" as PairId;
const day = dayOf(friday, "Asia/Shanghai");
const statement = "vendor:northgrid:daily:2026-11-20:0";
const stop = new AbortController();
const log = openLog({ role: "test", level: "silent" });

let folder: string;
let store: LedgerStore;
let books: Books;
let server: RpcServer;
let ours: readonly string[];
let theirs: readonly string[];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "two-sides-"));
  const [grid, north] = [join(folder, "grid.pem"), join(folder, "north.pem")];
  const keys = { grid: await openSigningKey(grid), north: await openSigningKey(north) };
  ours = ["--key", grid, "--kid", "grid"];
  theirs = ["--key", north, "--kid", "north", "--as", "counterparty"];
  store = await openSqliteLedger(":memory:");
  books = await openBooks(store);
  const { writer } = books;
  const documents = new Documents();
  const closed = await ClosedPeriods.load(store);
  const nowUs = (): bigint => day.toUs + 1n;
  const sides = openTwoSides(
    {
      ...{ store, writer, documents, closed, log, nowUs },
      agreements: new Agreements({ buyBooks: { known: () => buyBook, find: async () => buyBook } }),
    },
    (party, kid) =>
      ({
        "internal grid": keys.grid.publicKey,
        [`${pair} north`]: keys.north.publicKey,
        "channel:west north": keys.north.publicKey,
      })[`${party} ${kid}`],
  );
  await documents.follow(store, writer);
  await books.post(Array.from({ length: 80 }, (_, n) => record(`a${10 + n}`)));
  await statementsOf(closed, nowUs).close(pair, day);
  server = await serveRpc({
    ...{ host: "127.0.0.1", port: 0, log, signal: stop.signal },
    routes: (router) => sides.routes(router),
    identify: () => localOperator,
  });
});

afterAll(async () => {
  stop.abort();
  await server.close();
  await books.writer.drain();
  await store.close();
  rmSync(folder, { recursive: true });
});

function statementsOf(closed: ClosedPeriods, nowUs: () => bigint): Statements {
  return new Statements({
    ...{ store, writer: books.writer, closed, nowUs, domain: "grid.example" },
    log,
    metrics: new SettlementMetrics(new Metrics()),
    sources: {
      termsOf: () => ({ hash: sha256("contract"), period: "daily", timeZone: "Asia/Shanghai" }),
      sign: () => undefined,
      trueUps: async () => ({ trueUps: [], entries: [] }),
      recon: async () => undefined,
      gatewaysBehind: () => [],
      unwitnessedSinceUs: () => undefined,
      calendars: () => [],
    },
  });
}

/** What it prints with its exit code, or what it complains of. */
async function run(command: Command, ...words: readonly string[]): Promise<string> {
  const written: string[] = [];
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    written.push(String(text));
    return true;
  });
  try {
    const addr = ["--addr", `http://127.0.0.1:${server.port}`];
    await command.exitOverride().parseAsync([...words, ...addr], { from: "user" });
    return `${process.exitCode}\n${written.join("")}`;
  } catch (error) {
    return `${exitCodeOf(error)}: ${complaintOf(error)}`;
  } finally {
    write.mockRestore();
    process.exitCode = 0;
  }
}

function file(
  name: string,
  rows: readonly (readonly [attempt: string, response: number])[],
): string {
  const path = join(folder, name);
  const lines = rows.map(([attempt, response]) =>
    [
      ...[attempt, "p1", "qwen3-32b", 60, 40, 0, response, 0, sha256(bookText(buyBook)), "any"],
      ...["2026-11-20T14:00:00+08:00", "2026-11-20T06:00:02Z"],
    ].join(","),
  );
  writeFileSync(path, `\ufeff${[claimColumns.join(","), ...lines].join("\r\n")}\r\n`);
  return path;
}

describe("tokengrid claim submit", () => {
  const signed = () => ["--vendor", "northgrid", ...theirs.slice(0, 4)];

  test("sends a file in signed batches; the same file again changes nothing", async () => {
    const rows = Array.from({ length: 79 }, (_, n) => [`a${10 + n}`, n === 3 ? 51 : 50] as const);
    const path = file("claims.csv", [...rows, ["a999", 50]]);
    const text = (accepted: number, exists: number) =>
      `0\nbatches      1\naccepted     ${accepted}\nwere there   ${exists}\nin conflict  0\nrefused      0\n`;
    expect(await run(claimCommand(), "submit", path, ...signed())).toBe(text(80, 0));
    expect(await run(claimCommand(), "submit", path, ...signed())).toBe(text(0, 80));
  });

  test("says which claims were given back, and exits with 2", async () => {
    const path = file("other.csv", [["a10", 49]]);
    const said = await run(claimCommand(), "submit", path, ...signed(), "-o", "json");
    expect(said).toMatch(/^2\n/);
    expect(JSON.parse(said.slice(2))).toMatchObject({
      ...{ batches: 1, accepted: 0, conflict: 1 },
      given_back: [{ claim_id: "northgrid:a10:0", status: "conflict" }],
    });
  });

  test("sends nothing of a file that is wrong somewhere, and says where", async () => {
    const path = file("wrong.csv", [
      ["b1", 50],
      ["b2", 5.5],
    ]);
    expect(await run(claimCommand(), "submit", path, ...signed())).toBe(
      `2: ${path}:3:25: out_response: expected a whole number of at most 15 digits, found "5.5"`,
    );
    writeFileSync(path, Buffer.from([0x61, 0xff, 0x0a]));
    expect(await run(claimCommand(), "submit", path, ...signed())).toBe(
      `2: ${path}: expected text in UTF-8`,
    );
    const nobody = join(folder, "nobody.pem");
    const good = file("good.csv", [["b1", 50]]);
    const words = ["submit", good, "--vendor", "northgrid", "--key", nobody, "--kid", "north"];
    expect(await run(claimCommand(), ...words)).toBe(`1: ${nobody}: expected a key, found no file`);
  });
});

describe("tokengrid statement net", () => {
  const netting = (text: string): string => {
    const path = join(folder, "netting.yaml");
    writeFileSync(path, text);
    return path;
  };
  const agreed = `nettingId: "2026-11-21:1"
parties:
  - party: north
    items: [{ pairId: "vendor:northgrid" }]
  - party: west
    items: [{ pairId: "channel:west" }]
obligations:
  - { obligationId: o1, fromPairId: "vendor:northgrid", toPairId: "channel:west", amountNano: 5000000000 }
`;

  test("prints who pays whom and what each signs, and writes nothing in a dry run", async () => {
    const said = await run(netCommand(), netting(agreed), "--dry-run");
    expect(said).toContain(
      "0\nPARTY  IS OWED CNY     OWES CNY       NET CNY\n" +
        "north  0.000000000  5.000000000  -5.000000000\n" +
        "west   5.000000000  0.000000000   5.000000000\n\n",
    );
    expect(said).toMatch(
      /run +2026-11-21:1, nothing was written\nset off +0 times\noperator +0\.0/,
    );
    expect(said).toMatch(/\nchannel:west signs +\{.*\}\nvendor:northgrid signs +\{.*\}\n$/);
    expect(await store.document("netting", "2026-11-21:1")).toBeUndefined();
  });

  test("runs with a signature of every pair whose money moves, and without one of them not", async () => {
    const out = join(folder, "netting");
    await run(netCommand(), netting(agreed), "--propose", out);
    const refused = async (says: string) => {
      const said = await run(netCommand(), netting(agreed), "--agreed", out);
      expect(said).toMatch(says);
      expect(await store.document("netting", "2026-11-21:1")).toBeUndefined();
    };
    await refused("consents: expected a signature of channel:west over its text, found none");
    const text = (pairName: string) => join(out, `${pairName}.netting.json`);
    const north = theirs.slice(0, 4);
    await run(netCommand(), text("channel-west"), "--sign", ...north);
    await refused("expected a signature of vendor:northgrid over its text, found none");
    const said = await run(netCommand(), text("vendor-northgrid"), "--sign", ...north);
    expect(said).toBe(`0\n${text("vendor-northgrid")}.jws: signed\n`);
    expect(await run(netCommand(), text("vendor-northgrid"), "--sign")).toMatch(/--key and --kid/);
    const done = await run(netCommand(), netting(agreed), "--agreed", out);
    expect(done).toMatch(/^0\nPARTY[^]*run +2026-11-21:1\n/);
    expect(await store.document("netting", "2026-11-21:1")).toBeDefined();
  });

  test("is refused with the field that is wrong", async () => {
    const wrong = await run(netCommand(), netting(agreed.replace("amountNano", "amount")));
    expect(wrong).toMatch(/^2: .*netting\.yaml:\n.*key "amount" is unknown/);
  });
});

describe("tokengrid statement reconcile", () => {
  test("prints what was compared and what it comes to, and exits with 2 if there is anything", async () => {
    const said = await run(reconcileCommand(), "--period", "2026-11-20", "--vendor", "northgrid");
    await expect(said).toMatchFileSnapshot("../golden/cli/reconcile.txt");
  });

  test("prints the report and the differences as JSON", async () => {
    const words = ["--period", "2026-11-20", "--vendor", "northgrid", "--severe", "-o", "json"];
    const said = await run(reconcileCommand(), ...words);
    expect(JSON.parse(said.slice(2))).toMatchObject({
      report: { vendorId: "northgrid", discrepancies: "3" },
      discrepancies: [
        { attemptId: "a13", bucket: "quantity", reason: "QTY_OUTPUT", valueNano: "8000" },
        { attemptId: "a999", reason: "PHANTOM" },
      ],
    });
  });

  test("of a month nobody used, or a limit that is none", async () => {
    expect(await run(reconcileCommand(), "--period", "2026-01", "--vendor", "southgrid")).toBe(
      "0\nBUCKET  RECORDS  CLAIMS  OUR TOKENS  THEIR TOKENS  OURS CNY  THEIRS CNY  DIFFERENCE CNY\n\n" +
        "differences  0, 0 shown\n",
    );
    const words = ["--period", "2026-11-20", "--vendor", "northgrid", "--limit", "0"];
    expect(await run(reconcileCommand(), ...words)).toMatch(
      /expected a number from 1 to 100,000, found "0"/,
    );
    expect(await run(reconcileCommand(), "--period", "never")).toMatch(/^1: --period: /);
  });

  test("names small differences that add up, audits, and what has no price", () => {
    const report = create(ReconcileReportSchema, {
      breaches: [
        {
          poolId: "p1",
          modelId: "m1",
          day: "2026-11-20",
          oursTokens: 1_000n,
          theirsTokens: 1_002n,
          gapPpm: 1_996n,
        },
      ],
      audits: [{ modelId: "m1", check: "ratio", records: 1_488n, sincePeriod: "2026-11-19" }],
      buckets: [{ bucket: "price", ours: { items: 1n }, theirs: { items: 1n, unpriced: 1n } }],
      ...{ discrepancies: 1n, fuzzyPairs: 2n, fuzzyCut: true },
    });
    const text = reportText(report, [], true);
    for (const says of [
      "p1 m1 2026-11-20: small differences add up to 1,996 ppm, ours 1,000, theirs 1,002 tokens\n",
      "m1: in audit since 2026-11-19, by ratio after 1,488 records\n",
      "0.000000000 and 1 unpriced",
      "matched by looks  2\n",
      "not tried         too many claims have no attempt id\n",
    ]) {
      expect(text).toContain(says);
    }
  });
});

describe("tokengrid statement dispute", () => {
  const open = ["open", statement, "--reason", "QTY_OUTPUT", "--item", "exp:cogs:pool:p1=0.000012"];

  test("is opened, answered by both and settled, with the money named each time", async () => {
    const said = [
      await run(disputeCommand(), ...open, "--id", "d1", ...ours),
      await run(disputeCommand(), ...open, "--id", "d1", ...ours),
      await run(disputeCommand(), "answer", "d1", "--to", "acknowledged", ...theirs),
      await run(
        disputeCommand(),
        "answer",
        "d1",
        "--to",
        "evidence",
        ...ours,
        "--bundle",
        file("bundle", []),
      ),
      await run(disputeCommand(), "answer", "d1", "--to", "split", "--parts", "1/3", ...ours),
    ];
    const proposal = join(folder, "proposal.json");
    const split = [
      "answer",
      "d1",
      "--to",
      "split",
      "--parts",
      "1/3",
      "--propose",
      proposal,
      ...ours,
    ];
    said.push(
      (await run(disputeCommand(), ...split)).replace(folder, "."),
      await run(disputeCommand(), "answer", "d1", "--proposal", proposal, ...theirs),
      await run(disputeCommand(), "answer", "d1", "--to", "settled", ...ours),
      await run(disputeCommand(), "list", "-o", "wide"),
      await run(disputeCommand(), "get", "d1"),
      await run(disputeCommand(), "list", "--state", "opened", "-o", "name"),
      await run(disputeCommand(), "get", "d9"),
    );
    await expect(`${said.join("\n").trimEnd()}\n`).toMatchFileSnapshot("../golden/cli/dispute.txt");
  });

  test("has a name by what is disputed, so that it is not opened twice", async () => {
    const [first, second] = [
      await run(disputeCommand(), ...open, ...ours),
      await run(disputeCommand(), ...open, ...ours),
    ];
    const [, id = ""] = /^0\n(d-[0-9a-f]{16}) is opened\n/.exec(first) ?? [];
    expect(second).toBe(`2: ${id}: expected a new dispute, found one that is opened`);
  });

  test("words that are no transition are refused", async () => {
    const digest = (): string => "ab".repeat(32);
    expect(moveOf({ to: "arbitrated", approve: "12.50" }, digest)).toEqual({
      to: "arbitrated",
      approvedNano: 12_500_000_000n,
    });
    const wrong = [
      [{}, "--to: expected one of acknowledged"],
      [{ to: "lapsed" }, "found lapsed"],
      [{ to: "evidence" }, "expected --bundle"],
      [{ to: "split", parts: "half" }, '--parts: expected n/d such as 1/2, found "half"'],
      [{ to: "arbitrated", approve: "1e3" }, "--approve: expected yuan"],
    ] as const;
    for (const [words, says] of wrong) expect(() => moveOf(words, digest)).toThrow(says);
    const item = ["open", statement, "--reason", "PRICE", "--item", "exp:cogs=many", ...ours];
    expect(await run(disputeCommand(), ...item)).toMatch(
      /^1: --item: expected an account and yuan/,
    );
  });
});
