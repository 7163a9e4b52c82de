import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { DescService } from "@bufbuild/protobuf";
import { createClient, type Client } from "@connectrpc/connect";
import OpenAI from "openai";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { openBackground, type Background } from "../../bench/gateway-background.ts";
import type { GatewayId, OriginId, PoolId } from "../../services/core/units.ts";
import { openGateway, type Gateway } from "../../services/gateway/main.ts";
import { systemClock } from "../../services/io/clock.ts";
import { createKey } from "../../services/io/keys.ts";
import { openLog } from "../../services/io/log.ts";
import { Registry as Metrics } from "../../services/io/metrics.ts";
import { defaultPolicyYaml } from "../../services/io/policy-file.ts";
import type { EntryKind } from "../../services/io/registry.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { loadFleet } from "../../services/sim/main.ts";
import { BudgetService, BudgetUnit } from "../../services/wire/gen/tokengrid/v1/budget_pb.js";
import {
  PlacementService,
  ServiceClass,
  type DecisionRecord,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { PolicyService } from "../../services/wire/gen/tokengrid/v1/policy_pb.js";
import { FigureSource, PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { fromPoolRegistration } from "../../services/wire/pool.ts";
import { until } from "../gateway/gateway-fixture.ts";
import { answering, openRawPool, type RawPool } from "../gateway/raw-pool.ts";

/** Two models with a pool each: a dear one, which is wanted more, and a cheap one. */
const dear = "qwen3.6-plus";
const cheap = "deepseek-v3.2";

let folder: string;
let pools: RawPool[];
let background: Background;
let gateway: Gateway;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "choice-"));
  pools = [await openRawPool(answering("dear")), await openRawPool(answering("cheap"))];
  const [first] = pools;
  background = await openBackground({ folder, endpoints: [first?.endpoint ?? ""] });
  await openCheapPool(pools[1]?.endpoint ?? "");
  gateway = await openGateway({
    host: "127.0.0.1",
    port: 0,
    gatewayId: "gateway-1" as GatewayId,
    origin: "shanghai" as OriginId,
    rpcUrl: background.rpcUrl,
    settlementUrl: background.rpcUrl,
    registry: background.registry,
    spoolFolder: join(folder, "spool"),
    log: openLog({ role: "test", level: "silent" }),
    metrics: new Metrics(),
    clock: systemClock,
    signal: new AbortController().signal,
    drainMs: 0,
  });
  await until(() => gateway.isReady());
});

afterAll(async () => {
  await gateway.close();
  await background.close();
  await Promise.all(pools.map((pool) => pool.close()));
  await rm(folder, { recursive: true });
});

/** Reports once, and is believed for as long as the test takes. */
async function openCheapPool(endpoint: string): Promise<void> {
  const [template] = loadFleet().pools;
  const served = template?.registration.models[0] ?? expect.unreachable();
  const registration = {
    ...(template?.registration ?? expect.unreachable()),
    id: "pool-cheap" as PoolId,
    endpoint,
    generation: 1,
    models: [{ ...served, model: cheap as typeof served.model, version: "3.2" }],
  };
  const { secret, record } = createKey({
    kind: "vendor",
    subject: registration.vendor,
    nowUs: 0n,
  });
  await put("key", record.prefix, record);
  const client = call(PoolService, secret);
  await until(async () => (await thrownOrNot(client.list({}))) === undefined);
  await client.register({ pool: fromPoolRegistration(registration, systemClock.now()) });
  const idle = { value: 0, source: FigureSource.MEASURED, ageMs: 0, validMs: 600_000 };
  const model = { modelId: cheap, runningRequests: idle, waitingRequests: idle };
  const report = { poolId: "pool-cheap", generation: 1n, sequence: 1n, models: [model] };
  for await (const { result } of client.report(once(report))) expect(result).toBe(1);
}

async function* once<Item>(item: Item): AsyncGenerator<Item> {
  yield item;
}

/** As an operator, or by a credential. */
function call<Service extends DescService>(service: Service, credential?: string): Client<Service> {
  return createClient(service, rpcTransport({ url: background.rpcUrl, credential }));
}

async function thrownOrNot(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (error: unknown) => error,
  );
}

async function put(kind: EntryKind, key: string, value: unknown): Promise<void> {
  const current = await background.registry.get(kind, key);
  await background.registry.set({
    kind,
    key,
    value: JSON.stringify(value),
    baseRevision: current?.revision ?? 0,
    author: "test",
    comment: "",
  });
}

/** A key of its own for each test, for these models and aliases; all if none is named. */
async function keyFor(models: readonly string[], subject = "acme"): Promise<OpenAI> {
  const { secret, record } = createKey({ kind: "tenant", subject, models, nowUs: 0n });
  await put("key", record.prefix, record);
  const client = new OpenAI({
    baseURL: `http://127.0.0.1:${gateway.port}/v1`,
    apiKey: secret,
    maxRetries: 0,
  });
  await until(() => isKnown(client));
  return client;
}

async function isKnown(client: OpenAI): Promise<boolean> {
  try {
    await client.models.list();
    return true;
  } catch (error) {
    if (error instanceof OpenAI.AuthenticationError) return false;
    throw error;
  }
}

let aliases = 0;

/** A name that stands for these, and that the gateway knows. */
async function aliasOf(models: readonly object[]): Promise<string> {
  aliases += 1;
  const name = `pair-${aliases}`;
  await put("alias", name, { models });
  const anyone = await keyFor([]);
  await until(async () => (await anyone.models.list()).data.some(({ id }) => id === name));
  return name;
}

interface Asked {
  readonly model: string;
  readonly served: string | null;
  readonly text: string | null | undefined;
  readonly decision: DecisionRecord;
}

async function ask(client: OpenAI, model: string, options: object = {}): Promise<Asked> {
  const { data, response, request_id } = await client.chat.completions
    .create({ model, messages: [{ role: "user", content: "hi" }], max_tokens: 50, ...options })
    .withResponse();
  return {
    model: data.model,
    served: response.headers.get("x-tokengrid-model"),
    text: data.choices[0]?.message.content,
    decision: await explained(request_id ?? ""),
  };
}

async function explained(requestId: string): Promise<DecisionRecord> {
  const which = { case: "requestId" as const, value: requestId };
  const { decisions } = await call(PlacementService).explain({ which });
  return decisions.at(-1) ?? expect.unreachable();
}

async function thrownBy(work: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  try {
    await work;
  } catch (error) {
    if (error instanceof OpenAI.APIError) return error;
    throw error;
  }
  return expect.unreachable();
}

describe("a name that stands for several models", () => {
  test("is served by the one that is wanted most, and the answer says which", async () => {
    const name = await aliasOf([{ model: dear }, { model: cheap }]);
    const asked = await ask(await keyFor([]), name);
    expect(asked).toMatchObject({ model: name, served: dear, text: "dear" });
    expect(asked.decision).toMatchObject({ modelAlias: name, modelId: dear, passedOverModels: [] });
  });

  test("is served by the next where the price is above the cap", async () => {
    const name = await aliasOf([{ model: dear, outputCnyPerMillionMax: 5 }, { model: cheap }]);
    const asked = await ask(await keyFor([]), name);
    expect(asked).toMatchObject({ model: name, served: cheap, text: "cheap" });
    expect(asked.decision.passedOverModels).toMatchObject([
      { modelId: dear, reason: "no-eligible-pool", poolsByFilter: { "alias-price-cap": 1 } },
    ]);
  });

  test("is served by the next where no pool serves the version, and where none takes work", async () => {
    const versions = await aliasOf([{ model: dear, version: "1999" }, { model: cheap }]);
    expect(await ask(await keyFor([]), versions)).toMatchObject({ served: cheap });
    const name = await aliasOf([{ model: dear }, { model: cheap, version: "3.2" }]);
    await call(PoolService).cordon({ poolId: "pool-1" });
    const asked = await ask(await keyFor([]), name);
    expect(asked).toMatchObject({ served: cheap });
    expect(asked.decision.passedOverModels).toMatchObject([
      { modelId: dear, poolsByFilter: { "not-ready": 1 } },
    ]);
    await call(PoolService).uncordon({ poolId: "pool-1" });
  });

  test("is never served by a model that the key does not list, whatever else fails", async () => {
    const name = await aliasOf([{ model: dear }, { model: cheap }]);
    const asked = await ask(await keyFor([cheap]), name);
    expect(asked).toMatchObject({ served: cheap });
    expect(asked.decision.passedOverModels).toMatchObject([
      { modelId: dear, reason: "not-allowed" },
    ]);
    const capped = await aliasOf([{ model: dear }, { model: cheap, inputCnyPerMillionMax: 0.1 }]);
    const refused = await thrownBy(ask(await keyFor([cheap]), capped));
    expect(refused).toMatchObject({ status: 503, code: "no_eligible_pool" });
    expect(refused.message).toMatch(/alias-price-cap 1.*qwen3\.6-plus: not-allowed/);
  });

  test("is refused to a key that lists none of them, by name; a key that lists the name may use all", async () => {
    const name = await aliasOf([{ model: dear }, { model: cheap }]);
    const refused = await thrownBy(ask(await keyFor(["other"]), name));
    expect(refused).toMatchObject({ status: 403, code: "model_not_allowed", param: "model" });
    expect(refused.message).toContain(`${dear}, ${cheap}`);
    expect(await ask(await keyFor([name]), name)).toMatchObject({ served: dear });
  });
});

describe("the class of a request", () => {
  // A class that the pool in the west may serve.
  beforeAll(async () => {
    await setPolicy("classTable: { deadlines: [{ msMax: 9000, class: batch-offline }] }");
    const client = await keyFor([]);
    const body = { tokengrid: { deadline_ms: 9_000 } };
    const isKnownTable = async () =>
      (await ask(client, cheap, body)).decision.classSource.startsWith("deadline");
    await until(isKnownTable);
  });

  const headers = { "x-tokengrid-class": "archival" };
  test.for([
    ["nothing", {}, {}, ServiceClass.LLM_INTERACTIVE, "default"],
    [
      "its service tier",
      { service_tier: "flex" },
      {},
      ServiceClass.BATCH_OFFLINE,
      "service_tier=flex",
    ],
    [
      "its deadline",
      { tokengrid: { deadline_ms: 9_000 } },
      {},
      ServiceClass.BATCH_OFFLINE,
      "deadline 9000 ms",
    ],
    [
      "its body",
      { tokengrid: { class: "batch-offline" }, service_tier: "priority" },
      {},
      ServiceClass.BATCH_OFFLINE,
      "tokengrid.class",
    ],
    ["its header", { service_tier: "flex" }, headers, ServiceClass.ARCHIVAL, "header"],
  ] as const)(
    "follows from %s, and the record says so",
    async ([, body, sent, serviceClass, classSource]) => {
      const client = await keyFor([]);
      const { data, request_id } = await client.chat.completions
        .create(
          { model: cheap, messages: [{ role: "user", content: "hi" }], ...(body as object) },
          { headers: sent },
        )
        .withResponse();
      expect(data.model).toBe(cheap);
      expect(await explained(request_id ?? "")).toMatchObject({ serviceClass, classSource });
    },
  );

  test("follows from the key's, and from the policy's table", async () => {
    const { secret, record } = createKey({
      kind: "tenant",
      subject: "acme",
      serviceClass: "archival",
      nowUs: 0n,
    });
    await put("key", record.prefix, record);
    const client = new OpenAI({
      baseURL: `http://127.0.0.1:${gateway.port}/v1`,
      apiKey: secret,
      maxRetries: 0,
    });
    await until(() => isKnown(client));
    expect((await ask(client, cheap)).decision).toMatchObject({ classSource: "key" });
    await setPolicy("classTable: { tenants: { slowly: batch-offline } }");
    const slowly = await keyFor([], "slowly");
    await until(async () => (await ask(slowly, cheap)).decision.classSource === "tenant slowly");
    await setPolicy("");
  });

  test.for([
    ["x-tokengrid-class", {}, { "x-tokengrid-class": "fast" }],
    ["tokengrid.class", { tokengrid: { class: 7 } }, {}],
    ["service_tier", { service_tier: "turbo" }, {}],
  ] as const)("is refused where %s is no word for it", async ([param, body, sent]) => {
    const client = await keyFor([]);
    const refused = await thrownBy(
      client.chat.completions.create(
        { model: cheap, messages: [{ role: "user", content: "hi" }], ...(body as object) },
        { headers: sent as Record<string, string> },
      ),
    );
    expect(refused).toMatchObject({ status: 400, param });
    expect(refused.message).toContain(`${param}: expected one of `);
  });
});

async function setPolicy(more: string): Promise<void> {
  const policies = call(PolicyService);
  const { policy } = await policies.get({});
  await policies.set({
    yaml: `${defaultPolicyYaml()}\n${more}\n`,
    baseRevision: policy?.revision ?? 0n,
  });
}

test("a tenant whose budget is spent is told which, how much, and when there is room; others are served", async () => {
  await setPolicy(
    `budgets: [{ id: spree, when: { tenants: [spender] }, window: 1h, limitCny: 0.0005, isHard: true }]`,
  );
  const spender = await keyFor([], "spender");
  let refused: InstanceType<typeof OpenAI.APIError> | undefined;
  for (let asked = 0; asked < 100 && refused === undefined; asked++) {
    refused = await ask(spender, cheap).then(
      () => undefined,
      (error: unknown) => (error instanceof OpenAI.APIError ? error : Promise.reject(error)),
    );
  }
  expect(refused).toMatchObject({
    status: 429,
    code: "budget_exhausted",
    type: "insufficient_quota",
  });
  expect(refused?.message).toMatch(
    /budget spree, found .* CNY spent .* of 0\.0005 CNY in 3600 s, room in/,
  );
  expect(refused?.headers?.get("x-should-retry")).toBe("false");
  expect(Number(refused?.headers?.get("retry-after"))).toBeGreaterThan(3_000);
  await ask(await keyFor([], "thrifty"), cheap);
  const { budgets } = await call(BudgetService).listBudgets({});
  expect(budgets).toMatchObject([
    { budgetId: "spree", tenantId: "spender", unit: BudgetUnit.CNY, limit: 500_000n, isHard: true },
  ]);
  expect(budgets[0]?.dualNano).toBeGreaterThan(0);
  await setPolicy("");
});
