/** A real gateway on a free port, with a key and an alias, before scripted pools and a scripted control. */

import { mkdtemp, rm } from "node:fs/promises";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GatewayId, OriginId } from "../../services/core/units.ts";
import { openGateway, type Gateway, type GatewayOptions } from "../../services/gateway/main.ts";
import { systemClock } from "../../services/io/clock.ts";
import { cancelTermsText, type CancelTerms } from "../../services/io/contract-terms.ts";
import { createKey } from "../../services/io/keys.ts";
import { Registry as Metrics } from "../../services/io/metrics.ts";
import type { Registry } from "../../services/io/registry.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import type { EngineCapability } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { log, openScriptedControl, type ScriptedControl } from "./control-fixture.ts";
import { openRawPool, type PoolCall, type RawPool } from "./raw-pool.ts";

export interface TestGateway {
  readonly url: string;
  readonly port: number;
  readonly key: string;
  readonly control: ScriptedControl;
  readonly pools: readonly RawPool[];
  readonly registry: Registry;
  readonly metrics: Metrics;
  readonly gateway: Gateway;
  readonly folder: string;
  /** Sends a chat request; members of `body` come over the default ones. */
  chat(body?: object, headers?: Readonly<Record<string, string>>): Promise<Response>;
  /** The same by bytes: all that the gateway writes, until it closes the connection. */
  raw(body: object): Promise<{ readonly socket: Socket; read(): Promise<string> }>;
  /** Resolves when the ledger has so many records. */
  records(count: number): Promise<ScriptedControl["records"]>;
  close(): Promise<void>;
}

export async function openTestGateway(
  scripts: readonly ((call: PoolCall) => void | Promise<void>)[],
  options: Partial<GatewayOptions> & {
    readonly isDebug?: boolean;
    readonly models?: readonly string[];
    readonly ttlMs?: number;
    readonly capabilities?: readonly EngineCapability[];
    /** With vendor-1, who has all pools. */
    readonly terms?: CancelTerms;
    /** Of the key. */
    readonly use?: Readonly<Record<"department" | "project" | "scenario", string>>;
    /** What control says of the first pools in place of where they are. */
    readonly endpoints?: readonly string[];
  } = {},
): Promise<TestGateway> {
  const {
    isDebug = false,
    models = [],
    ttlMs,
    capabilities = [],
    terms,
    use,
    endpoints = [],
    ...given
  } = options;
  const { spoolLimits } = given;
  const folder = await mkdtemp(join(tmpdir(), "gateway-"));
  const pools = await Promise.all(scripts.map((script) => openRawPool(script)));
  const control = await openScriptedControl(
    pools.map(({ endpoint }, index) => ({
      id: `pool-${index + 1}`,
      endpoint: endpoints[index] ?? endpoint,
      capabilities,
    })),
    ttlMs === undefined ? {} : { ttlMs },
  );
  const registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  const { secret, record } = createKey({
    kind: "tenant",
    subject: "acme",
    isDebug,
    models,
    ...use,
    nowUs: 0n,
  });
  if (terms !== undefined) await putTerms(registry, terms);
  await put(registry, "key", record.prefix, record);
  await put(registry, "alias", "chat", { model: "model-1" });
  const metrics = new Metrics();
  const stop = new AbortController();
  const gateway = await openGateway({
    host: "127.0.0.1",
    port: 0,
    gatewayId: "gateway-1" as GatewayId,
    origin: "shanghai" as OriginId,
    rpcUrl: control.url,
    settlementUrl: control.url,
    registry,
    spoolFolder: join(folder, "spool"),
    log,
    metrics,
    clock: systemClock,
    signal: stop.signal,
    drainMs: 0,
    ...given,
  });
  const url = `http://127.0.0.1:${gateway.port}`;
  await until(() => gateway.isReady() || spoolLimits?.bytesMax === 0);
  return {
    url,
    port: gateway.port,
    key: secret,
    control,
    pools,
    registry,
    metrics,
    gateway,
    folder,
    chat: (body, headers) => post(url, secret, { body, headers }),
    raw: (body) => postRaw(gateway.port, secret, body),
    records: async (count) => {
      await until(() => control.records.size >= count);
      return control.records;
    },
    close: async () => {
      await gateway.close();
      await Promise.all(pools.map((pool) => pool.close()));
      await control.close();
      await registry.close();
      await rm(folder, { recursive: true });
    },
  };
}

export const question = { model: "chat", messages: [{ role: "user", content: "hi" }] };

function post(
  url: string,
  key: string,
  {
    body,
    headers,
  }: { body?: object | undefined; headers?: Readonly<Record<string, string>> | undefined },
): Promise<Response> {
  return fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json", authorization: `Bearer ${key}`, ...headers },
    body: JSON.stringify({ ...question, ...body }),
  });
}

async function postRaw(port: number, key: string, body: object) {
  const text = JSON.stringify({ ...question, ...body });
  const socket = connect({ port, host: "127.0.0.1", noDelay: true });
  socket.write(
    [
      "POST /v1/chat/completions HTTP/1.1",
      "host: gateway",
      "connection: close",
      "content-type: application/json",
      `authorization: Bearer ${key}`,
      `content-length: ${Buffer.byteLength(text)}`,
      "",
      text,
    ].join("\r\n"),
  );
  return {
    socket,
    read: async (): Promise<string> => {
      let received = "";
      for await (const bytes of socket) received += String(bytes);
      return received;
    },
  };
}

export function putTerms(registry: Registry, terms: CancelTerms): Promise<void> {
  return put(registry, "contract-terms", "vendor-1", cancelTermsText(terms));
}

export async function put(
  registry: Registry,
  kind: "key" | "alias" | "contract-terms",
  key: string,
  value: object | string,
): Promise<void> {
  const current = await registry.get(kind, key);
  await registry.set({
    kind,
    key,
    value: typeof value === "string" ? value : JSON.stringify(value),
    baseRevision: current?.revision ?? 0,
    author: "test",
    comment: "",
  });
}

/** Waits for a state, not for a time. */
export async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => setTimeout(resolve, 2));
}
