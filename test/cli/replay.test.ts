import { join } from "node:path";
import type { Agent } from "undici";
import { afterAll, beforeAll, expect, test } from "vitest";
import { drive } from "../../services/cli/replay/drive.ts";
import { reportText, printable } from "../../services/cli/replay/print.ts";
import { openAgent, requestId, send } from "../../services/cli/replay/send.ts";
import { ReportBuilder, type Answer, type Report } from "../../services/core/report.ts";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import type { OriginId, PoolId, VendorId } from "../../services/core/units.ts";
import type { Arrival } from "../../services/core/workload.ts";
import { openLog } from "../../services/io/log.ts";
import { loadGeography } from "../../services/io/preset.ts";
import { loadFleet } from "../../services/sim/fleet.ts";
import { openFleet, type OpenFleet } from "../../services/sim/main.ts";
import { policy } from "../core/fixtures.ts";

const startAt = Date.parse("2026-11-20T10:00:00+08:00");
const fleet = loadFleet(undefined, startAt);
const model = "qwen3.6-plus";
const pool = "west-inner-mongolia-1";
const stop = new AbortController();
let served: OpenFleet;
let agent: Agent;

beforeAll(async () => {
  const log = openLog({ role: "test", level: "silent" });
  const where = { host: "127.0.0.1", port: 0 };
  served = await openFleet({
    fleet,
    geography: loadGeography(),
    ...where,
    log,
    signal: stop.signal,
  });
  agent = openAgent();
});

afterAll(async () => {
  await agent.close();
  await served.close();
});

function arrival(index: number, changes: Partial<Arrival> = {}): Arrival {
  return {
    index,
    atMs: index,
    inputTokens: 20,
    outputTokens: 4,
    blocks: [],
    origin: "hohhot" as OriginId,
    class: "llm-interactive",
    ...changes,
  };
}

/** Sends to a simulated pool, which speaks as the gateway does. */
async function sent(
  changes: Partial<Arrival> = {},
  options: { readonly model?: string; readonly signal?: AbortSignal } = {},
): Promise<{ answer: Answer; gaps: number }> {
  let gaps = 0;
  const gatewayUrl = `http://127.0.0.1:${served.port}/${pool}`;
  const answer = await send(arrival(0, changes), {
    target: { gatewayUrl, key: "sk", model: options.model ?? model, runId: "r" },
    agent,
    signal: options.signal ?? stop.signal,
    onGap: () => {
      gaps += 1;
    },
  });
  return { answer, gaps };
}

async function order(fault: object): Promise<void> {
  const body = JSON.stringify(fault);
  const response = await fetch(`http://127.0.0.1:${served.port}/${pool}/sim/fault`, {
    method: "PUT",
    body,
  });
  expect(response.status).toBe(200);
}

test("send() gets as many tokens as it asked for, and sees the gaps between them", async () => {
  const { answer, gaps } = await sent({ outputTokens: 6 });
  expect(answer.outcome).toBe("ok");
  expect(gaps).toBe(5);
  expect(answer.ttftMs).toBeGreaterThan(0);
  expect(answer.tpotMs).toBeGreaterThan(0);
});

test("send() of a single token has a first token and no time per token", async () => {
  const { answer, gaps } = await sent({ outputTokens: 1 });
  expect([answer.outcome, answer.tpotMs, gaps]).toEqual(["ok", undefined, 0]);
});

const endings: Readonly<Record<string, string>> = {
  drop: "connection socket",
  cut: "connection socket",
  "clean-end": "stream cut",
  "error-500": "http-500",
  "error-503": "http-503",
  "error-event": "stream",
  "no-usage": "ok",
};

for (const [kind, outcome] of Object.entries(endings)) {
  test(`send() to a pool with the fault ${kind} ends with ${outcome}`, async () => {
    await order({ kind, afterTokens: 2 });
    const { answer } = await sent();
    expect(answer.outcome).toContain(outcome);
  });
}

test("send() says of an unknown model what the pool said", async () => {
  const { answer } = await sent({}, { model: "none" });
  expect([answer.outcome, answer.ttftMs]).toEqual(["http-404", undefined]);
});

test("send() that is cut off in the middle is cancelled", async () => {
  await order({ kind: "stall", afterTokens: 1 });
  const { answer } = await sent({}, { signal: AbortSignal.timeout(500) });
  expect(answer.outcome).toBe("cancelled");
});

test("send() to where nobody listens says so", async () => {
  const target = { gatewayUrl: "http://127.0.0.1:1", key: "sk", model, runId: "r" };
  const options = { target, agent, signal: stop.signal, onGap: () => undefined };
  const { outcome } = await send(arrival(0), options);
  expect(outcome).toBe("connection econnrefused");
});

const good: Answer = { class: "llm-interactive", outcome: "ok", ttftMs: 1, tpotMs: 1 };

async function* upTo(count: number): AsyncGenerator<Arrival> {
  for (let index = 0; index < count; index++) yield arrival(index);
}

test("drive() sends everything in order and waits for the last answer", async () => {
  const [sentIndexes, answered]: [number[], number[]] = [[], []];
  const result = await drive({
    arrivals: upTo(50),
    speed: 10,
    inFlightMax: 50,
    send: ({ index }) => {
      sentIndexes.push(index);
      return Promise.resolve(good);
    },
    onAnswer: (_answer, { index }) => answered.push(index),
    stop: stop.signal,
  });
  expect(sentIndexes).toEqual([...Array(50).keys()]);
  expect(answered.toSorted((a, b) => a - b)).toEqual(sentIndexes);
  expect([result.isEndedEarly, result.traceMs]).toEqual([false, 49]);
});

test("drive() keeps back what is due while too many are open, and says so", async () => {
  const outcomes: string[] = [];
  const { promise: later, resolve } = Promise.withResolvers<Answer>();
  await drive({
    arrivals: upTo(10),
    speed: 100,
    inFlightMax: 3,
    send: () => later,
    onAnswer: ({ outcome }) => {
      outcomes.push(outcome);
      if (outcomes.length === 7) resolve(good);
    },
    stop: stop.signal,
  });
  expect(outcomes.filter((outcome) => outcome === "not-sent").length).toBe(7);
  expect(outcomes.filter((outcome) => outcome === "ok").length).toBe(3);
});

test("drive() that is told to stop sends no more and waits for what is open", async () => {
  const early = new AbortController();
  const answered: number[] = [];
  const result = await drive({
    arrivals: upTo(1_000_000),
    speed: 1,
    inFlightMax: 10,
    send: ({ index }) => {
      if (index === 5) early.abort();
      return Promise.resolve(good);
    },
    onAnswer: (_answer, { index }) => answered.push(index),
    stop: early.signal,
  });
  expect(result.isEndedEarly).toBe(true);
  expect(answered).toEqual([0, 1, 2, 3, 4, 5]);
});

test("requestId() is unique within a run and names it", () => {
  expect([requestId("r", 1), requestId("r", 11)]).toEqual(["r-1", "r-11"]);
});

function exampleReport(): Report {
  const builder = new ReportBuilder(policy().objectives);
  const outcomes = ["ok", "ok", "ok", "http-503 no_eligible_pool", "not-sent"];
  for (const [index, outcome] of outcomes.entries()) {
    builder.addAnswer({ ...good, outcome, ttftMs: 100 * (index + 1), tpotMs: 25 });
  }
  builder.addGap(25, 120);
  for (const [id, amountNano] of [
    ["a", 1_000_000_001n],
    ["a", 2n],
    ["b", 30n],
  ] as const) {
    const tokens = { ...noTokens, uncachedInput: 1_200n, cacheRead: 48n, response: 41n };
    const settled = { tokens, amountNano };
    builder.addAttempt({ pool: id as PoolId, end: "complete", settled, joulesExpected: 7_200 });
  }
  builder.addAttempt({
    pool: "b" as PoolId,
    end: "upstream-cut",
    settled: undefined,
    joulesExpected: 0,
  });
  const grams = { locationGramsPerJoule: 0.00017, marketGramsPerJoule: 0.00005 };
  const west = {
    hub: "Ningxia (宁夏枢纽)",
    side: "west",
    ...grams,
    joulesMetered: 36_000,
  } as const;
  const east = {
    hub: "Gansu (甘肃枢纽)",
    side: "west",
    ...grams,
    joulesMetered: undefined,
  } as const;
  const line = { model: "m", tokenClass: "response", slot: "any", attempts: 2n, tokens: 82n };
  return builder.build({
    run: { id: "r", mode: "real", trace: "t.csv", speed: 10, seed: 1, class: "llm-interactive" },
    isEndedEarly: false,
    traceMs: 600_000,
    elapsedMs: 61_000,
    sites: [
      { pool: "a" as PoolId, vendor: "northgrid" as VendorId, ...west },
      { pool: "b" as PoolId, vendor: "southgrid" as VendorId, ...east },
    ],
    statements: [
      {
        vendor: "northgrid",
        statement: "northgrid:daily:2026-11-21:0",
        attempts: 2n,
        tokens: 82n,
        amountNano: 1_000_000_003n,
        quarantined: 0n,
        digest: "",
        lines: [{ ...line, pool: "a", amountNano: 1_000_000_003n }],
      },
      {
        vendor: "southgrid",
        statement: "southgrid:daily:2026-11-21:0",
        attempts: 0n,
        tokens: 0n,
        amountNano: 0n,
        quarantined: 1n,
        digest: "",
        lines: [],
      },
    ],
  });
}

test("reportText() says everything that a replay is asked for", async () => {
  const text = reportText(exampleReport(), true);
  await expect(text).toMatchFileSnapshot(join("..", "golden", "cli", "replay.txt"));
});

test("printable() gives JSON whose counts and amounts are exact", () => {
  const parsed: unknown = JSON.parse(JSON.stringify(printable(exampleReport()).json));
  expect(parsed).toMatchObject({
    requests: { due: 5, sent: 4, ok: 3, failed: 1 },
    amountNano: "1000000033",
    tokens: { response: "123" },
  });
});

test("reportText() of a replay that answered nothing has dashes, not zeros", () => {
  const nothing = new ReportBuilder(policy().objectives).build({
    run: { id: "r", mode: "real", trace: "t", speed: 10, seed: 1, class: "llm-interactive" },
    isEndedEarly: true,
    traceMs: 0,
    elapsedMs: 0,
    sites: [],
    statements: [],
  });
  const text = reportText(nothing, false);
  expect(text).toContain("at speed 10, ended early");
  expect(text).toMatch(/^TTFT +- +- +- +- +0$/m);
});
