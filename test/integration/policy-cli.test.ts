import { mkdtempSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { complaintOf, exitCodeOf } from "../../services/cli/outcome.ts";
import { program } from "../../services/cli/program.ts";
import { openLog } from "../../services/io/log.ts";
import { defaultPolicyYaml } from "../../services/io/policy-file.ts";
import { serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { collected } from "../collected.ts";
import { messages, openTestControl, vendor, type TestControl } from "../control/fixtures.ts";
import { chat } from "../core/fixtures.ts";

/** The commands as an operator types them, against a control replica over a socket. Each test goes on from the last. */

const stop = new AbortController();
let control: TestControl;
let server: RpcServer;
let folder: string;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-policy-cli-"));
  control = await openTestControl();
  server = await serveRpc({
    host: "127.0.0.1",
    port: 0,
    routes: control.routes,
    hot: control.hot,
    identify: control.identify,
    isReady: () => true,
    signal: stop.signal,
    log: openLog({ role: "test", level: "silent" }),
  });
});

afterAll(async () => {
  stop.abort();
  await server.close();
  await control.close();
  await rm(folder, { recursive: true, force: true });
});

interface Ended {
  readonly code: number | string | null | undefined;
  readonly out: string;
  readonly err: string;
}

/** In this process: what is printed is kept, and so is the exit code. */
async function policy(...words: readonly string[]): Promise<Ended> {
  vi.stubEnv("TOKENGRID_ADDR", `http://127.0.0.1:${server.port}`);
  const printed: string[] = [];
  const out = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    printed.push(String(text));
    return true;
  });
  const before = process.exitCode;
  try {
    const tokengrid = await program(["policy"]);
    await tokengrid.parseAsync(["policy", ...words], { from: "user" });
    return { code: process.exitCode, out: printed.join(""), err: "" };
  } catch (error) {
    return { code: exitCodeOf(error), out: printed.join(""), err: complaintOf(error) };
  } finally {
    out.mockRestore();
    vi.unstubAllEnvs();
    process.exitCode = before;
  }
}

async function* once<Value>(value: Value): AsyncGenerator<Value> {
  yield value;
}

function file(name: string, yaml: string): string {
  const path = join(folder, name);
  writeFileSync(path, yaml);
  return path;
}

const shipped = defaultPolicyYaml();
const shorter = shipped.replace("leaseMs: 30000", "leaseMs: 20000");
const eastern = shorter.replace("nanoPerToken: 2000 }", "nanoPerToken: 0 }");

test("validate shows every mistake with line, column, path and what may be meant, and exits with 2", async () => {
  const bad = shipped
    .replace("leaseMs: 30000", "leaseMs: soon")
    .replace("demandAreas: [Beijing-Tianjin-Hebei] }", "demandArea: [Beijing-Tianjin-Hebei] }");
  const path = file("bad.yaml", bad);
  const { code, err } = await policy("validate", path);
  expect(code).toBe(2);
  const lineOf = (text: string): number =>
    bad.split("\n").findIndex((line) => line.includes(text)) + 1;
  expect(err).toContain(`${lineOf("leaseMs: soon")}:10: leaseMs: `);
  expect(err).toContain(
    `${lineOf("demandArea:")}:46: rows[5].when.demandArea: unknown key demandArea; did you mean demandAreas?`,
  );
  const { out } = await policy("validate", path, "-o", "json");
  expect(JSON.parse(out)).toMatchObject({ isValid: false, mistakes: [{ column: 10 }, {}] });
});

test("validate --server warns of regions that are not there, and is content", async () => {
  const { code, out } = await policy("validate", file("a.yaml", shipped), "--server");
  expect(code).toBe(0);
  expect(out).toMatch(
    /warning: \d+:\d+: rows\[5\]\.exempt\.pool\.regions\[0\]: nothing here is called/,
  );
});

test("apply --dry-run says what would change, in fields and in decisions, and changes nothing", async () => {
  const path = file("eastern.yaml", eastern);
  const { code, out } = await policy("apply", "-f", path, "--dry-run");
  expect(code).toBe(0);
  expect(out).toContain("~ leaseMs: 30,000 ms → 20,000 ms");
  expect(out).toContain(
    "~ rows.W3.tariff.nanoPerToken: 2,000 nano-CNY per token (2 CNY per million) → 0",
  );
  expect(out).toMatch(/of \d+ requests [1-9]\d* go to another pool/);
  expect((await policy("get")).out).toBe(shipped);
});

test("apply, history and rollback: who, when, why, and the old text as a new revision", async () => {
  const path = file("shorter.yaml", shorter);
  expect(
    await policy("apply", "-f", path, "--author", "wang", "--comment", "too long"),
  ).toMatchObject({ code: 0 });
  expect((await policy("apply", "-f", path)).out).toContain("unchanged");

  const dry = await policy("rollback", "--dry-run");
  expect(dry.out).toContain("~ leaseMs: 20,000 ms → 30,000 ms");
  const back = await policy("rollback", "--author", "li", "-o", "json");
  expect(back.code).toBe(0);
  const { revision, comment } = JSON.parse(back.out) as { revision: string; comment: string };
  expect(comment).toMatch(/^back to revision \d+: as shipped$/);
  expect((await policy("get")).out).toBe(shipped);

  const { out } = await policy("history");
  const [head, ...lines] = out.trimEnd().split("\n");
  expect(head).toMatch(/IN FORCE +REVISION +SET AT +AUTHOR +HASH +COMMENT/);
  expect(lines.map((line) => / (li|wang|preset) /.exec(line)?.[1])).toEqual([
    "li",
    "wang",
    "preset",
  ]);
  expect(lines[0]).toMatch(new RegExp(`^yes +${revision} .*back to revision`));
});

test("rollback --to goes to the revision that is named, and knows when there is none", async () => {
  const { out } = await policy("history", "-o", "name");
  const [, middle] = out.split("\n");
  expect((await policy("rollback", "--to", middle ?? "")).code).toBe(0);
  expect((await policy("get")).out).toBe(shorter);
  expect(await policy("rollback", "--to", "9999")).toMatchObject({
    code: 2,
    err: expect.stringContaining("found 9999"),
  });
});

test("diff compares files, revisions and both, by meaning", async () => {
  const path = file("reordered.yaml", `# a comment\n${shorter}`);
  expect((await policy("diff", path)).out).toContain("they say the same");
  const { out } = await policy("diff", path, "--revision", "1");
  expect(out).toContain("~ leaseMs: 30,000 ms → 20,000 ms");
  const json = await policy("diff", "--revision", "1", "-o", "json");
  expect(JSON.parse(json.out)).toMatchObject({
    changes: [{ path: "leaseMs", before: 30_000, after: 20_000 }],
    effect: { turns: [] },
  });
  expect(await policy("diff")).toMatchObject({ code: 1 });
  expect(await policy("diff", file("none.yaml", "rows: ["))).toMatchObject({ code: 2 });
});

test("diff --live decides on the pools that the server has, under either policy", async () => {
  const pools = createClient(PoolService, control.as(vendor));
  await pools.publishPrices({ book: messages.prices() });
  await pools.register({ pool: messages.registration("a") });
  await collected(pools.report(once(messages.report("a"))));
  const requests = file(
    "requests.yaml",
    `request: { model: ${chat}, origin: shanghai }
cases:
  - { name: chat, request: { class: llm-interactive } }
  - { name: cold, request: { class: archival } }
  - { name: lost, request: { origin: nowhere } }
`,
  );
  const circle = /(id: W2-circle[^]*?oneWayMsMax: )20/;
  const strict = file("strict.yaml", shorter.replace(circle, "$15"));
  const { out } = await policy("diff", strict, "--live", "--requests", requests);
  expect(out).toContain("~ rows.W2-circle.pool.oneWayMsMax: 20 ms → 5 ms");
  expect(out).toContain("of 3 requests 0 go to another pool, 1 to none any more");
  expect(out).toMatch(/chat +a by W2 +none: unsatisfiable by W2/);
});

test("a newest revision that cannot be used is shown, and rolled back to the one that runs on", async () => {
  const current = await control.registry.get("policy", "default");
  await control.registry.set({
    kind: "policy",
    key: "default",
    value: JSON.stringify({ yaml: `${shipped}\nquotas: []\n` }),
    baseRevision: current?.revision ?? 0,
    author: "newer",
    comment: "",
  });
  const { out } = await policy("history");
  expect(out.split("\n").map((line) => line.startsWith("yes"))).toEqual(
    expect.arrayContaining([false, true]),
  );
  expect(out.split("\n")[1]).not.toMatch(/^yes/);
  expect((await policy("rollback")).code).toBe(0);
  expect((await policy("get")).out).toBe(shorter);
});

test("test exits with 2 if a case fails, and with 0 otherwise", async () => {
  const cases = (pool: string) => `cases: [{ name: one, expect: { pool: ${pool} } }]`;
  const failed = await policy("test", file("cases.yaml", cases("east-bth-1")));
  expect(failed.code).toBe(2);
  expect(failed.out).toMatch(/one +FAILED +pool +east-bth-1 +west-/);
  const passed = await policy(
    "test",
    file(
      "cases.yaml",
      cases(
        "[west-gansu-1, west-ningxia-1, west-guizhou-1, west-guizhou-2, west-inner-mongolia-1]",
      ),
    ),
  );
  expect(passed).toMatchObject({ code: 0, out: expect.stringContaining("1 passed, 0 failed") });
});

test("schema prints JSON Schema", async () => {
  const { out } = await policy("schema");
  expect(JSON.parse(out)).toMatchObject({ title: "tokengrid policy", type: "object" });
});
