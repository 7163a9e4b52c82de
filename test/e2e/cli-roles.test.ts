import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { stringify } from "yaml";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { createDataFolder, type DataFolder } from "../../services/cli/dev/data-folder.ts";
import { prepare } from "../../services/cli/dev/first-start.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import { loadFleet } from "../../services/sim/fleet.ts";
import { tokengrid } from "./dev-process.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

const metrics = { host: "127.0.0.1", port: 0 };
const fleet = loadFleet();
const [served] = fleet.pools.map(({ registration }) => registration);

let folder: DataFolder;
let devKey: string;
const running: ChildProcess[] = [];
const urls: Record<string, string> = {};

beforeAll(async () => {
  folder = createDataFolder(mkdtempSync(join(tmpdir(), "tokengrid-roles-")));
  const registry = await openSqliteRegistry(folder.registry);
  ({ devKey } = await prepare({ folder, registry, parties: fleet, nowUs: 1n }));
  await registry.close();
  const registryPath = folder.registry;
  urls["control"] = await start("control listens", "serve control", {
    rpc: { port: 0 },
    console: { port: 0 },
    metrics,
    registryPath,
    journalFolder: folder.journal,
  });
  urls["settlement"] = await start("settlement listens", "serve settlement", {
    rpc: metrics,
    metrics,
    registryPath,
    ledgerPath: folder.ledger,
    secretsPath: folder.secrets,
    logLevel: "info",
  });
  urls["sim"] = await start("simulated pools are served", "sim", { port: 0 });
  await start("the agent reports", "agent", agentConfig());
  urls["gateway"] = await start("gateway listens", "serve gateway", {
    port: 0,
    metricsPort: 0,
    rpcUrl: urls["control"],
    settlementUrl: urls["settlement"],
    registryPath,
    spoolFolder: folder.spool,
  });
});

afterAll(() => {
  for (const child of running) child.kill("SIGKILL");
  rmSync(folder.path, { recursive: true });
});

test("a request goes through roles in processes of their own, and is in the books", async () => {
  await expect.poll(() => chat(), { timeout: 30_000, interval: 200 }).toBe(200);
  await expect
    .poll(async () => (await at("settlement", "usage", "query", "-o", "name")).stdout, {
      timeout: 30_000,
      interval: 200,
    })
    .toContain(":0\n");
});

test("pools are asked for at control's address, statements at settlement's", async () => {
  const pools = await at("control", "pool", "list", "-o", "name");
  expect([pools.code, pools.stdout]).toEqual([0, `${served?.id}\n`]);
  const made = await at("settlement", "statement", "generate", "--period", "today", "-o", "name");
  expect([made.code, made.stdout]).toEqual([
    0,
    expect.stringContaining(`vendor:${served?.vendor}:interim:`),
  ]);
});

test("SIGTERM ends every role with 0", async () => {
  const ends = running.toReversed().map(async (child) => {
    child.kill("SIGTERM");
    const [code]: unknown[] =
      child.exitCode === null ? await once(child, "exit") : [child.exitCode];
    return code;
  });
  expect(await Promise.all(ends)).toEqual(running.map(() => 0));
});

test("--check-config refuses a file with an unknown key, naming it and the file", async () => {
  const file = configFile("wrong", { port: 0, prot: 1 });
  const { code, stderr } = await tokengrid("sim", "--config", file, "--check-config");
  expect([code, stderr]).toEqual([2, expect.stringContaining("prot")]);
  const good = await tokengrid("sim", "--config", "deploy/config/sim.yaml", "--check-config");
  expect([good.code, good.stdout]).toEqual([0, "deploy/config/sim.yaml: valid\n"]);
});

/** Starts a role and resolves to its address when it has written the line that says it is up. */
async function start(line: string, command: string, config: object): Promise<string> {
  const file = configFile(command.replace(" ", "-"), config);
  const words = ["services/cli/main.ts", ...command.split(" "), "--config", file];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "inherit", "pipe"] });
  running.push(child);
  for await (const text of createInterface({ input: child.stderr })) {
    if (!text.startsWith("{")) throw new Error(`${command}: ${text}`);
    const { msg, port } = JSON.parse(text) as { msg: string; port?: number };
    if (msg !== line) continue;
    child.stderr.resume();
    return `http://127.0.0.1:${port}`;
  }
  throw new Error(`${command}: expected the line "${line}", found its end`);
}

function configFile(name: string, config: object): string {
  const file = join(folder.path, `${name}.yaml`);
  writeFileSync(file, stringify(config));
  return file;
}

/** The first pool of the fleet, as its vendor would write it down. */
function agentConfig(): object {
  const endpoint = `${urls["sim"]}/${served?.id}`;
  return {
    pool: {
      id: served?.id,
      vendor: served?.vendor,
      region: served?.region,
      endpoint,
      engine: served?.engine,
      models: served?.models.map(({ model, contextTokensMax, slotsTotal }) => ({
        model,
        contextTokensMax,
        slotsTotal,
      })),
    },
    metricsUrl: `${endpoint}/metrics`,
    metrics,
    dialect: "vllm",
    rpcUrl: urls["control"],
    credentialFile: join(folder.keys, `vendor-${served?.vendor}.key`),
    intervalMs: 200,
  };
}

async function chat(): Promise<number> {
  const response = await fetch(`${urls["gateway"]}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${devKey}`, "content-type": "application/json" },
    body: JSON.stringify({
      model: served?.models[0]?.model,
      max_tokens: 2,
      messages: [{ role: "user", content: "hi" }],
    }),
  });
  await response.arrayBuffer();
  return response.status;
}

function at(role: string, ...words: string[]) {
  return tokengrid(...words, "--addr", urls[role] ?? "");
}
