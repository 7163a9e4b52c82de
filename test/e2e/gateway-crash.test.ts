import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { openBackground, type Background } from "../../bench/gateway-background.ts";
import { AttemptEnd } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { until } from "../gateway/gateway-fixture.ts";
import {
  chunk,
  openRawPool,
  usageChunk,
  type PoolCall,
  type RawPool,
} from "../gateway/raw-pool.ts";

const repository = join(import.meta.dirname, "../..");
const tokensPerAnswer = 20;

let folder: string;
let pool: RawPool;
let background: Background;
let child: ChildProcess | undefined;

afterEach(async () => {
  child?.kill("SIGKILL");
  await background.close();
  await pool.close();
  await rm(folder, { recursive: true });
});

/** An answer that takes a while: there are always some in the middle. */
function serve(call: PoolCall): void {
  let number = 0;
  call.head();
  const timer = setInterval(() => {
    number += 1;
    if (number <= tokensPerAnswer) return call.events(chunk({ content: "a" }));
    clearInterval(timer);
    call.events(chunk({}, "stop"), usageChunk(7, tokensPerAnswer), "[DONE]");
    call.end();
  }, 5);
  call.closed.then(() => clearInterval(timer)).catch(() => undefined);
}

/** `tokengrid serve gateway`, as an operator starts it. Resolves when it serves. */
async function startGateway(port: number): Promise<void> {
  const config = join(folder, "gateway.yaml");
  await writeFile(
    config,
    JSON.stringify({
      port,
      rpcUrl: background.rpcUrl,
      settlementUrl: background.rpcUrl,
      registryPath: background.registryPath,
      spoolFolder: join(folder, "spool"),
      metricsPort: 0,
      logLevel: "error",
    }),
  );
  child = spawn(
    process.execPath,
    [join(repository, "services/cli/main.ts"), "serve", "gateway", "--config", config],
    { stdio: ["ignore", "ignore", "inherit"], cwd: repository },
  );
  await until(() => isServing(port));
}

async function isServing(port: number): Promise<boolean> {
  try {
    const headers = { authorization: `Bearer ${background.key}` };
    const response = await fetch(`http://127.0.0.1:${port}/v1/models`, { headers });
    return (await response.text()).includes(background.model);
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** True if the client got the whole answer. */
async function chat(port: number, id: string): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/v1/chat/completions`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        authorization: `Bearer ${background.key}`,
        "idempotency-key": id,
      },
      body: JSON.stringify({
        model: background.alias,
        stream: true,
        messages: [{ role: "user", content: "hi" }],
      }),
    });
    return (await response.text()).endsWith("data: [DONE]\n\n");
  } catch {
    return false;
  }
}

test("kill -9 of a gateway amid streams loses no attempt, and doubles none in the ledger", async () => {
  folder = await mkdtemp(join(tmpdir(), "crash-"));
  pool = await openRawPool(serve);
  background = await openBackground({ folder, endpoints: [pool.endpoint] });
  const port = await freePort();
  const finished = new Set<string>();
  let sent = 0;
  for (let life = 0; life < 2; life++) {
    await startGateway(port);
    const target = finished.size + 30;
    const clients = Array.from({ length: 12 }, async () => {
      // Each client goes on until the gateway is gone.
      for (;;) {
        const id = `request-${(sent += 1)}`;
        if (!(await chat(port, id))) return;
        finished.add(id);
      }
    });
    await until(() => finished.size >= target);
    child?.kill("SIGKILL");
    await Promise.all(clients);
  }
  await startGateway(port);
  const attempts = new Set(pool.requests.map(({ headers }) => headers.get("x-attempt-id")));
  const recorded = async () => (await background.usages()).usages.map(({ record }) => record);
  await until(async () => {
    const known = new Set((await recorded()).map((record) => record?.attemptId));
    return [...attempts].every((attempt) => known.has(attempt));
  });
  const records = await recorded();
  expect(new Set(records.map((record) => record?.attemptId)).size).toBe(records.length);
  const endById = new Map(records.map((record) => [record?.requestId, record?.outcome]));
  const ends = [...finished].map((id) => endById.get(id));
  expect(ends.filter((end) => end === undefined)).toEqual([]);
  // The last answers before a kill may have been taken by the client and not yet be closed on disk.
  const closed = ends.filter((end) => end === AttemptEnd.COMPLETE).length;
  expect(closed).toBeGreaterThanOrEqual(finished.size - 2 * 12);
  expect(records.some((record) => record?.outcome === AttemptEnd.GATEWAY_CRASH)).toBe(true);
}, 60_000);
