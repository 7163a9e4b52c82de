import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient, type Client } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openAgent, type AgentOptions } from "../../services/agent/main.ts";
import { openControl } from "../../services/control/main.ts";
import type { PoolRegistration } from "../../services/core/pool.ts";
import type { ModelId, PoolId, RegionId, ReplicaId, VendorId } from "../../services/core/units.ts";
import { systemClock } from "../../services/io/clock.ts";
import { createKey } from "../../services/io/keys.ts";
import { openLog } from "../../services/io/log.ts";
import { loadGeography } from "../../services/io/preset.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { serveRpc } from "../../services/io/rpc-server.ts";
import {
  PoolHealth,
  PoolService,
  type ModelReport,
  type Pool,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { model as simulatedModel, runPool, until } from "../sim/running-fleet.ts";
import { openLlama, whyNoLlama } from "./llama-engine.ts";

const log = openLog({ role: "test", level: "silent" });
const vendor = "qilian" as VendorId;
const folder = mkdtempSync(join(tmpdir(), "tokengrid-llama-"));
const stop = new AbortController();
const closers: (() => Promise<void>)[] = [];
let rpcUrl = "";
let credential = "";
let pools: Client<typeof PoolService>;

/** A real control plane, with a key for the vendor. */
beforeAll(async () => {
  const { signal } = stop;
  const registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  const { secret, record } = createKey({ kind: "vendor", subject: vendor, nowUs: 1n });
  credential = secret;
  await registry.set({
    kind: "key",
    key: record.prefix,
    value: JSON.stringify(record),
    baseRevision: 0,
    author: "test",
    comment: "",
  });
  const control = await openControl({
    registry,
    geography: loadGeography(),
    log,
    metrics: new Metrics(),
    clock: systemClock,
    replica: "control-1" as ReplicaId,
    journalFolder: join(folder, "journal"),
    signal,
  });
  const server = await serveRpc({
    host: "127.0.0.1",
    port: 0,
    routes: control.routes,
    hot: control.hot,
    identify: control.identify,
    signal,
    log,
  });
  rpcUrl = `http://127.0.0.1:${server.port}`;
  pools = createClient(PoolService, rpcTransport({ url: rpcUrl }));
  closers.push(
    () => server.close(),
    () => control.close(),
    () => registry.close(),
  );
});

afterAll(async () => {
  for (const close of closers) await close();
  stop.abort();
  rmSync(folder, { recursive: true });
});

/** An engine, and what the agent beside it has to know. */
interface Engine {
  readonly baseUrl: string;
  readonly modelName: string;
  readonly slots: number;
  readonly agent: Pick<AgentOptions, "registration" | "metricsUrl" | "dialect" | "power">;
  close(): Promise<void>;
}

async function openRealEngine(): Promise<Engine> {
  const llama = await openLlama(folder);
  const registration: PoolRegistration = {
    id: "real-1" as PoolId,
    vendor,
    region: "zhongwei" as RegionId,
    endpoint: llama.baseUrl,
    engine: "llamacpp",
    models: [
      {
        model: "tiny" as ModelId,
        engineModelName: "tiny",
        version: "1",
        contextTokensMax: 2_048,
        slotsTotal: llama.slots,
        replicas: 1,
        engineProfile: undefined,
        capabilities: new Set(),
      },
    ],
    tags: new Set(),
    accelerator: "",
    pue: undefined,
    greenShare: undefined,
    dataClasses: new Set(["general"]),
    mlpsLevel: 1,
    generation: 0,
    powerModel: undefined,
  };
  const metricsUrl = `${llama.baseUrl}/metrics`;
  const agent = { registration, metricsUrl, dialect: "llamacpp", power: { kind: "none" } } as const;
  return { ...llama, modelName: "tiny", agent };
}

async function openSimulatedEngine(): Promise<Engine> {
  const pool = await runPool();
  const { registration, metricsUrl, power, baseUrl } = pool;
  const served = registration.models.find(({ model }) => model === simulatedModel);
  return {
    baseUrl,
    modelName: simulatedModel,
    slots: served?.slotsTotal ?? 0,
    agent: { registration, metricsUrl, dialect: "vllm", power },
    close: () => pool.close(),
  };
}

function agentSuite(open: () => Promise<Engine>): void {
  let engine: Engine;
  let agent: { close(): Promise<void> };

  beforeAll(async () => {
    engine = await open();
    agent = await openAgent({
      ...engine.agent,
      rpcUrl,
      credential,
      intervalMs: 50,
      log,
      signal: stop.signal,
    });
  }, 60_000);
  afterAll(async () => {
    await agent.close();
    await engine.close();
  });

  /** The pool as control knows it; undefined until it is registered. */
  async function pool(): Promise<Pool | undefined> {
    const { pools: all } = await pools.list({});
    return all.find(({ registration }) => registration?.poolId === engine.agent.registration.id);
  }

  async function report(): Promise<ModelReport | undefined> {
    const { models = [] } = (await pool()) ?? {};
    return models.find(({ modelId }) => modelId === engine.modelName)?.report;
  }

  function chat(maxTokens: number, signal: AbortSignal): Promise<Response> {
    return fetch(`${engine.baseUrl}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        model: engine.modelName,
        messages: [{ role: "user", content: "tell me about the grid" }],
        max_tokens: maxTokens,
        ignore_eos: true,
        stream: true,
      }),
      signal,
    });
  }

  test("the pool registers, is fresh, and an idle engine has nothing to do", async () => {
    await until(async () => (await pool())?.health === PoolHealth.FRESH);
    const idle = await report();
    expect(idle?.runningRequests?.value).toBe(0);
    expect(idle?.waitingRequests?.value).toBe(0);
    expect(idle?.kvUsedRatio?.value).toBe(0);
    expect(idle?.kvTokensTotal?.value).toBeGreaterThan(0);
  });

  test("control sees what runs, what waits and what the KV holds, and that clients left", async () => {
    await until(async () => (await report()) !== undefined);
    const leave = new AbortController();
    const asked = Array.from({ length: engine.slots + 2 }, () => chat(1_900, leave.signal));
    await until(async () => {
      const busy = await report();
      return busy?.runningRequests?.value === engine.slots && busy.waitingRequests?.value === 2;
    });
    await until(async () => ((await report())?.kvUsedRatio?.value ?? 0) > 0);
    leave.abort();
    await Promise.allSettled(asked);
    await until(async () => (await report())?.runningRequests?.value === 0);
    const left = await report();
    expect(left?.waitingRequests?.value).toBe(0);
    expect(left?.kvUsedRatio?.value).toBe(0);
  });

  test("control counts exactly the tokens that a whole answer had, and how fast they came", async () => {
    await until(async () => (await report())?.outputTokensTotal !== undefined);
    const before = (await report())?.outputTokensTotal?.value ?? 0;
    await (await chat(200, stop.signal)).text();
    await until(async () => (await report())?.outputTokensTotal?.value === before + 200);
    await until(async () => (await report())?.itlMsMean !== undefined);
    const after = await report();
    expect(after?.itlMsMean?.value).toBeGreaterThan(0);
    expect(after?.promptTokensTotal?.value).toBeGreaterThan(0);
  });
}

const whyNot = whyNoLlama();

describe("one agent, an engine that is simulated", { timeout: 60_000 }, () => {
  agentSuite(openSimulatedEngine);
});

describe.skipIf(whyNot !== undefined)(
  `one agent, a real llama-server${whyNot === undefined ? "" : ` (skipped: ${whyNot})`}`,
  { timeout: 60_000 },
  () => {
    agentSuite(openRealEngine);
  },
);
