import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type DevProcess, startDev, tokengrid } from "./dev-process.ts";

// Real processes start and answer here; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 60_000, hookTimeout: 60_000 });

const run = promisify(execFile);

let data: string;
let dev: DevProcess;
let key: string;

beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), "tokengrid-dev-"));
  dev = await startDev(data);
  key = readFileSync(join(data, "dev.key"), "utf8").trim();
});

afterAll(async () => {
  await dev.stop();
  rmSync(data, { recursive: true });
});

function rpc(name: string): string {
  return `${dev.urls["RPC"]}/tokengrid.v1.${name}`;
}

function cli(...words: string[]) {
  return tokengrid(...words, "--addr", dev.urls["RPC"] ?? "");
}

/** Sends a chat request and returns the whole text of the answer. */
async function chat(body: object): Promise<{ response: Response; text: string }> {
  const response = await fetch(`${dev.urls["gateway"]}/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: "sim-chat",
      messages: [{ role: "user", content: "hi" }],
      ...body,
    }),
  });
  return { response, text: await response.text() };
}

test("the banner says where everything is, and that all pools report", () => {
  expect(Object.keys(dev.urls)).toEqual(["gateway", "RPC", "console", "metrics"]);
  const [, reporting, all] = /(\d+) of (\d+) simulated pools report/.exec(dev.banner) ?? [];
  expect([reporting, Number(all) >= 10]).toEqual([all, true]);
});

test("a streamed chat with fetch ends with a finish reason and [DONE]", async () => {
  const { response, text } = await chat({ stream: true, max_tokens: 8 });
  expect([response.status, response.headers.get("content-type")]).toEqual([
    200,
    expect.stringContaining("text/event-stream"),
  ]);
  expect(text).toContain('"finish_reason"');
  expect(text.trimEnd().endsWith("data: [DONE]")).toBe(true);
});

test("a streamed chat with the openai SDK gives text", async () => {
  const client = new OpenAI({ baseURL: dev.urls["gateway"] ?? "", apiKey: key, maxRetries: 0 });
  const stream = await client.chat.completions.create({
    model: "sim-chat",
    stream: true,
    max_tokens: 8,
    messages: [{ role: "user", content: "hi" }],
  });
  let text = "";
  for await (const chunk of stream) text += chunk.choices[0]?.delta.content ?? "";
  expect(text.length).toBeGreaterThan(0);
});

test("a wrong key and an unknown model are refused in words", async () => {
  const response = await fetch(`${dev.urls["gateway"]}/models`, {
    headers: { authorization: "Bearer sk-none" },
  });
  expect(response.status).toBe(401);
  const { response: unknown, text } = await chat({ model: "no-such-model" });
  expect([unknown.status, text]).toEqual([404, expect.stringContaining("model_not_found")]);
});

test("curl with Connect JSON lists the pools", async () => {
  const { stdout } = await run("curl", [
    "-sS",
    ...["-H", "content-type: application/json", "-d", "{}", rpc("PoolService/List")],
  ]);
  const { pools } = JSON.parse(stdout) as { pools: { registration: { poolId: string } }[] };
  expect(pools.map(({ registration }) => registration.poolId)).toContain("west-ningxia-1");
});

test("placement explain --last is a bill whose terms add up", async () => {
  await chat({ max_tokens: 4 });
  const { code, stdout } = await cli("placement", "explain", "--last", "-o", "json");
  expect(code).toBe(0);
  const { decisions } = JSON.parse(stdout) as {
    decisions: { candidates: { costNano: string; nanoByTerm: Record<string, string> }[] }[];
  };
  const candidates = decisions[0]?.candidates ?? [];
  expect(candidates.length).toBeGreaterThan(0);
  for (const { costNano, nanoByTerm } of candidates) {
    const sum = Object.values(nanoByTerm).reduce((total, nano) => total + BigInt(nano), 0n);
    expect(sum).toBe(BigInt(costNano));
  }
  const { stdout: text } = await cli("placement", "explain", "--last");
  expect(text).toContain("policy row");
});

test("placement plan of a model that nobody serves exits with 2", async () => {
  const { code } = await cli("placement", "plan", "--model", "no-such-model");
  expect(code).toBe(2);
});

test("pool drain ends drained, and uncordon takes the pool back", async () => {
  const drained = await cli("pool", "drain", "west-ningxia-1", "--deadline", "20s");
  expect([drained.code, drained.stdout]).toEqual([0, expect.stringContaining("drained")]);
  const { stdout } = await cli("pool", "get", "west-ningxia-1", "-o", "json");
  expect(JSON.parse(stdout)).toMatchObject({ status: expect.not.stringMatching("READY") });
  const back = await cli("pool", "uncordon", "west-ningxia-1", "-o", "json");
  expect(JSON.parse(back.stdout)).toMatchObject({ status: "POOL_STATUS_READY" });
});

test("a pool that does not exist is refused with 2, a server that is not there with 1", async () => {
  expect((await cli("pool", "get", "nowhere")).code).toBe(2);
  const nobody = await tokengrid("pool", "list", "--addr", "http://127.0.0.1:1");
  expect([nobody.code, nobody.stderr]).toEqual([1, expect.stringContaining("no answer from")]);
});

test("a key made by the CLI opens the gateway until it is revoked", async () => {
  const made = await tokengrid("key", "create", "--subject", "dev", "--data", data, "-o", "json");
  const { key: other, prefix } = JSON.parse(made.stdout) as { key: string; prefix: string };
  const models = () =>
    fetch(`${dev.urls["gateway"]}/models`, { headers: { authorization: `Bearer ${other}` } });
  await expect.poll(async () => (await models()).status, { timeout: 30_000 }).toBe(200);
  await tokengrid("key", "revoke", prefix, "--data", data);
  await expect.poll(async () => (await models()).status, { timeout: 30_000 }).toBe(401);
});

test("the statements of today add up to what the ledger owes", async () => {
  const { response, text } = await chat({ max_tokens: 16, ignore_eos: true });
  expect([response.status, text]).toEqual([200, expect.stringContaining("usage")]);
  await expect.poll(() => accruedNano(), { timeout: 30_000 }).toBeGreaterThan(0n);
  const { code, stdout } = await cli("statement", "generate", "--period", "today", "-o", "json");
  const statements = JSON.parse(stdout) as {
    totals: { netNano: string };
    lines: { amountNano: string }[];
  }[];
  const netNano = statements.reduce((sum, { totals }) => sum + BigInt(totals.netNano), 0n);
  const linesNano = statements
    .flatMap(({ lines }) => lines)
    .reduce((sum, { amountNano }) => sum + BigInt(amountNano), 0n);
  expect([code, linesNano, accruedNano()]).toEqual([0, netNano, netNano]);
  const focus = await cli("statement", "export", "--format", "focus", "--period", "today");
  expect([focus.code, focus.stdout]).toEqual([0, expect.stringMatching(/^BilledCost,/)]);
});

test("usage query shows the attempts", async () => {
  const { code, stdout } = await cli("usage", "query", "--tenant", "dev", "-o", "name");
  expect([code, stdout.split("\n").length > 1]).toEqual([0, true]);
});

test("the metrics have the names that alerts and dashboards use", async () => {
  const text = await (await fetch(dev.urls["metrics"] ?? "")).text();
  const wanted = [
    "tokengrid_build_info",
    "tokengrid_gateway_requests_total",
    "tokengrid_gateway_time_to_first_token_seconds_bucket",
    "tokengrid_placement_decisions_total",
    "tokengrid_placement_filtered_total",
    "tokengrid_pool_state",
    "tokengrid_metering_spool_unacked_records",
    "tokengrid_ledger_records_total",
    "nodejs_eventloop_lag_seconds",
  ];
  expect(wanted.filter((name) => !text.includes(`\n${name}`))).toEqual([]);
});

test("the console is served", async () => {
  const response = await fetch(dev.urls["console"] ?? "");
  expect([response.status, await response.text()]).toEqual([
    200,
    expect.stringContaining("tokengrid"),
  ]);
});

test("a second instance on the same folder is refused and names the first", async () => {
  const { code, stderr } = await tokengrid("dev", "--data", data, "--gateway-port", "0");
  expect([code, stderr]).toEqual([1, expect.stringContaining(`pid ${dev.child.pid}`)]);
});

test("a port in use is named with its flag", async () => {
  const holder = createServer().listen(0, "127.0.0.1");
  await once(holder, "listening");
  const { port } = holder.address() as { port: number };
  const other = mkdtempSync(join(tmpdir(), "tokengrid-port-"));
  const { code, stderr } = await tokengrid(
    ...["dev", "--data", other, "--no-sim", "--rpc-port", String(port), "--gateway-port", "0"],
  );
  expect([code, stderr]).toEqual([1, expect.stringContaining(`port ${port}`)]);
  expect(stderr).toContain("--rpc-port");
  holder.close();
  rmSync(other, { recursive: true });
});

test("an address that others reach needs --i-know", async () => {
  const { code, stderr } = await tokengrid("dev", "--host", "0.0.0.0", "--data", data);
  expect([code, stderr]).toEqual([1, expect.stringContaining("--i-know")]);
});

test("SIGTERM ends it with 0, and the next start has the same key, usage and policy", async () => {
  const before = await cli("usage", "query", "-o", "name");
  expect(await dev.stop()).toBe(0);
  dev = await startDev(data);
  expect(dev.banner).toContain("with the data folder as it was");
  expect(readFileSync(join(data, "dev.key"), "utf8").trim()).toBe(key);
  const after = await cli("usage", "query", "-o", "name");
  expect(after.stdout).toBe(before.stdout);
  expect((await chat({ max_tokens: 2 })).response.status).toBe(200);
});

/** What the books owe all vendors. */
function accruedNano(): bigint {
  const ledger = new DatabaseSync(join(data, "ledger.sqlite"), {
    readOnly: true,
    readBigInts: true,
  });
  const owed =
    "coalesce(sum(amount), 0) AS nano FROM entry WHERE phase = 'posted' AND unit = 'CNY:nano' AND";
  const account = "LIKE 'liab:payable:vendor:%:accrued'";
  const sum = (side: string): bigint =>
    BigInt(String(ledger.prepare(`SELECT ${owed} ${side} ${account}`).get()?.["nano"]));
  const nano = sum("credit") - sum("debit");
  ledger.close();
  return nano;
}
