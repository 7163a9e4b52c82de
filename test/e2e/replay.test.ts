import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type DevProcess, startDev, tokengrid } from "./dev-process.ts";

const azure = "bench/traces/azure-llm-2023/AzureLLMInferenceTrace_conv.csv";

interface Share {
  readonly name: string;
  readonly attempts: number;
  readonly tokenShare: number;
}

/** As much of the report in JSON as is looked at. */
interface ReportJson {
  readonly isEndedEarly: boolean;
  readonly requests: {
    readonly due: number;
    readonly ok: number;
    readonly failed: number;
    readonly byOutcome: Readonly<Record<string, number>>;
  };
  readonly attempts: {
    readonly ledgered: number;
    readonly quarantined: number;
    readonly byEnd: Readonly<Record<string, number>>;
  };
  readonly tokens: Readonly<Record<string, string>>;
  readonly bySide: readonly Share[];
  readonly byHub: readonly Share[];
  readonly ttftMs: { readonly count: number };
  readonly itlMs: { readonly count: number };
  readonly amountNano: string;
  readonly energyMetered: { readonly joules: number };
  readonly statements: readonly { readonly amountNano: string; readonly tokens: string }[];
}

interface UsageJson {
  readonly amountNano?: string;
  readonly record: {
    readonly recordId: string;
    readonly requestId: string;
    readonly outcome: string;
  };
}

let folder: string;
let dev: DevProcess;
const stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-replay-"));
  dev = await startDev(join(folder, "data"));
}, 60_000);

afterAll(async () => {
  for (const stop of stops) await stop();
  await dev.stop();
  rmSync(folder, { recursive: true });
}, 60_000);

/** What the replay needs to find the system. */
function where(): string[] {
  const gateway = new URL(dev.urls["gateway"] ?? "").origin;
  const rpc = dev.urls["RPC"] ?? "";
  return ["--gateway", gateway, "--addr", rpc, "--key-file", join(folder, "data", "dev.key")];
}

/** Every n-th request of the first rows of a trace, answers cut to a length, so that the fleet has room. */
function thinned(
  rows: number,
  options: { readonly every: number; readonly outputMax: number },
): string {
  const { every, outputMax } = options;
  const [header = "", ...lines] = readFileSync(azure, "utf8").split("\r\n");
  const path = join(folder, `thinned-${rows}-${every}-${outputMax}.csv`);
  const kept = lines.slice(0, rows).filter((_, index) => index % every === 0);
  const cut = kept.map((line) => {
    const [at, input, output] = line.split(",");
    return [at, input, Math.min(outputMax, Number(output))].join(",");
  });
  writeFileSync(path, [header, ...cut].join("\r\n"));
  return path;
}

function tokensIn(path: string): { requests: number; input: string; output: string } {
  const rows = readFileSync(path, "utf8").split("\r\n").slice(1);
  const fields = rows.map((row) => row.split(",").slice(1).map(Number));
  const sum = (at: number) => String(fields.reduce((total, row) => total + (row[at] ?? 0), 0));
  return { requests: rows.length, input: sum(0), output: sum(1) };
}

async function replayed(...words: string[]): Promise<ReportJson> {
  const ended = await tokengrid("replay", "-o", "json", ...words);
  expect([ended.code, ended.stderr]).toEqual([0, expect.stringContaining("answered")]);
  return JSON.parse(ended.stdout) as ReportJson;
}

/** Every attempt in the ledger, over Connect JSON. */
async function ledger(): Promise<UsageJson[]> {
  const usages: UsageJson[] = [];
  let pageToken = "";
  do {
    const response = await fetch(`${dev.urls["RPC"]}/tokengrid.v1.UsageService/List`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ limit: 500, pageToken }),
    });
    const page = (await response.json()) as { usages?: UsageJson[]; nextPageToken?: string };
    usages.push(...(page.usages ?? []));
    pageToken = page.nextPageToken ?? "";
  } while (pageToken !== "");
  return usages;
}

/** The share of each side's tokens, 0 for one without any. */
function shareOf({ bySide }: ReportJson, side: string): number {
  return bySide.find(({ name }) => name === side)?.tokenShare ?? 0;
}

test("replay at speed 10 and in virtual time agree: requests and tokens exactly, shares nearly", async () => {
  const trace = thinned(400, { every: 4, outputMax: 200 });
  const { requests, input, output } = tokensIn(trace);
  const now = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  const real = await replayed("--trace", trace, "--speed", "10", ...where());
  const virtual = await replayed(
    ...["--trace", trace, "--speed", "max", "--density", "10", "--at", now],
  );
  for (const report of [real, virtual]) {
    expect(report.requests).toMatchObject({ due: requests, ok: requests });
    expect(report.attempts).toMatchObject({ ledgered: requests, quarantined: 0 });
    expect(report.tokens).toMatchObject({ uncachedInput: input, response: output, cacheRead: "0" });
    expect(report.ttftMs.count).toBe(requests);
    expect(report.energyMetered.joules).toBeGreaterThan(0);
  }
  expect(Math.abs(shareOf(real, "west") - shareOf(virtual, "west"))).toBeLessThan(0.25);
  const [largest] = real.byHub;
  expect(virtual.byHub.slice(0, 4).map(({ name }) => name)).toContain(largest?.name);
  const stated = real.statements.reduce((sum, { amountNano }) => sum + BigInt(amountNano), 0n);
  expect(stated).toBe(BigInt(real.amountNano));
}, 120_000);

test("replay that is told to stop still reports what it sent", async () => {
  const words = ["replay", "--trace", azure, "-o", "json", ...where()];
  const replay = started(words);
  await untilLedgered(await countLedgered(), 3);
  replay.child.kill("SIGINT");
  const { code, stdout, stderr } = await replay.ended;
  expect([code, stderr]).toEqual([0, expect.stringContaining("ending early")]);
  const report = JSON.parse(stdout) as ReportJson;
  expect(report.isEndedEarly).toBe(true);
  expect(report.attempts.ledgered).toBeGreaterThanOrEqual(report.requests.ok);
}, 120_000);

/** What is killed in the middle of a replay and started again. */
interface Victim {
  readonly gatewayUrl: string;
  kill(): Promise<void>;
  restart(): Promise<void>;
}

const victims: Readonly<Record<string, () => Promise<Victim>>> = {
  "the gateway alone": gatewayAlone,
  "everything, in one process": () => Promise.resolve(everything()),
};

for (const [what, open] of Object.entries(victims)) {
  test(`kill -9 of ${what} in the middle of a replay and a restart lose no finished attempt and double none`, async () => {
    const victim = await open();
    const trace = thinned(220, { every: 1, outputMax: 60 });
    const words = ["--trace", trace, "--speed", "4", "-o", "json", ...where()];
    const before = await countLedgered();
    const replay = started(["replay", ...words, "--gateway", victim.gatewayUrl]);
    await untilLedgered(before, 10);
    await victim.kill();
    await victim.restart();

    const { code, stdout, stderr } = await replay.ended;
    // 0 says that every request answered in full is in the ledger.
    expect([code, stderr]).toEqual([0, expect.stringContaining("answered")]);
    const report = JSON.parse(stdout) as ReportJson;
    const { ok, failed } = report.requests;
    const { byEnd } = report.attempts;
    // The kill was felt: answers were cut.
    expect(failed).toBeGreaterThan(0);
    expect(byEnd["gateway-crash"]).toBeGreaterThan(0);
    expect((byEnd["complete"] ?? 0) + (byEnd["gateway-crash"] ?? 0)).toBeGreaterThanOrEqual(ok);
    await expectNothingDoubled(report);
  }, 180_000);
}

async function expectNothingDoubled({ statements }: ReportJson): Promise<void> {
  const usages = await ledger();
  const records = usages.map(({ record }) => record.recordId);
  const completed = usages
    .filter(({ record }) => record.outcome === "ATTEMPT_END_COMPLETE")
    .map(({ record }) => record.requestId);
  expect(new Set(records).size).toBe(records.length);
  expect(new Set(completed).size).toBe(completed.length);
  const owed = usages.reduce((sum, { amountNano = "0" }) => sum + BigInt(amountNano), 0n);
  const stated = statements.reduce((sum, { amountNano }) => sum + BigInt(amountNano), 0n);
  expect(stated).toBe(owed);
}

/** A gateway in a process of its own beside the rest, with a spool of its own. */
async function gatewayAlone(): Promise<Victim> {
  let gateway = await startGateway(0);
  stops.push(() => kill(gateway.child, "SIGTERM"));
  return {
    gatewayUrl: `http://127.0.0.1:${gateway.port}`,
    kill: () => kill(gateway.child, "SIGKILL"),
    restart: async () => {
      gateway = await startGateway(gateway.port);
    },
  };
}

async function startGateway(port: number): Promise<{ child: ChildProcess; port: number }> {
  const config = join(folder, "gateway.json");
  const rpcUrl = dev.urls["RPC"];
  const settings = {
    ...{ port, rpcUrl, settlementUrl: rpcUrl, metricsPort: 0, gatewayId: "gateway-2" },
    registryPath: join(folder, "data", "registry.sqlite"),
    spoolFolder: join(folder, "spool-2"),
  };
  writeFileSync(config, JSON.stringify(settings));
  const words = ["services/cli/main.ts", "serve", "gateway", "--config", config];
  const child = spawn(process.execPath, words);
  const found = Promise.withResolvers<number>();
  let log = "";
  child.stderr.on("data", (chunk: Buffer) => {
    log += chunk.toString();
    const [, listening] = /"port":(\d+),"msg":"gateway listens"/.exec(log) ?? [];
    if (listening !== undefined) found.resolve(Number(listening));
  });
  child.once("exit", () =>
    found.reject(new Error(`expected a gateway that listens, found ${log}`)),
  );
  return { child, port: await found.promise };
}

function everything(): Victim {
  return {
    gatewayUrl: new URL(dev.urls["gateway"] ?? "").origin,
    kill: () => kill(dev.child, "SIGKILL"),
    restart: async () => {
      const ports = Object.entries({ gateway: "gateway", RPC: "rpc" }).flatMap(([name, port]) => [
        `--${port}-port`,
        new URL(dev.urls[name] ?? "").port,
      ]);
      dev = await startDev(join(folder, "data"), ...ports);
    },
  };
}

async function kill(child: ChildProcess, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
  const exited = once(child, "exit");
  child.kill(signal);
  await exited;
}

test("replay of a file that is no trace is refused, and nothing is sent", async () => {
  const path = join(folder, "no-trace.csv");
  writeFileSync(path, "a,b\r\n1,2");
  const before = await countLedgered();
  const { code, stdout, stderr } = await tokengrid("replay", "--trace", path, ...where());
  expect([code, stdout]).toEqual([2, ""]);
  expect(stderr).toContain(`${path}:1: expected the header TIMESTAMP,ContextTokens`);
  expect(await countLedgered()).toBe(before);
});

interface Started {
  readonly child: ChildProcess;
  readonly ended: Promise<{ code: number | null; stdout: string; stderr: string }>;
}

function started(words: readonly string[]): Started {
  const child = spawn(process.execPath, ["services/cli/main.ts", ...words]);
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const ended = once(child, "close").then(([code]: unknown[]) => ({
    code: typeof code === "number" ? code : null,
    stdout,
    stderr,
  }));
  return { child, ended };
}

async function countLedgered(): Promise<number> {
  return (await ledger()).length;
}

/** Until so many more attempts are in the ledger. */
async function untilLedgered(before: number, more: number): Promise<void> {
  while ((await countLedgered()) < before + more) await setTimeout(200);
}
