import { afterEach, expect, test } from "vitest";
import { AttemptResult } from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  AttemptEnd,
  AttemptRole,
  CancelCause,
} from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { openTestGateway, until, type TestGateway } from "./gateway-fixture.ts";
import { answering, chunk, event, type PoolCall } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

type Script = (call: PoolCall) => void;

function refusing(status: number, body: object = {}): Script {
  return (call) => {
    call.head(status, { "content-type": "application/json" });
    call.send(JSON.stringify(body));
    call.end();
  };
}

/** How a pool fails before its first event, and how its lease is given back. */
const retried: Readonly<Record<string, [Script, AttemptResult]>> = {
  "resets the connection": [(call) => call.cut(), AttemptResult.RESET],
  "resets after its headers": [
    (call) => {
      call.head();
      setTimeout(() => call.cut(), 10);
    },
    AttemptResult.RESET,
  ],
  "says 429": [refusing(429), AttemptResult.UPSTREAM_4XX],
  "says 502": [refusing(502), AttemptResult.UPSTREAM_5XX],
  "says 503": [refusing(503), AttemptResult.UPSTREAM_5XX],
  "says 504": [refusing(504), AttemptResult.UPSTREAM_5XX],
  "says 200 with an error": [
    refusing(200, { error: { message: "no" } }),
    AttemptResult.UPSTREAM_5XX,
  ],
  "ends an empty stream": [
    (call) => {
      call.head();
      call.end();
    },
    AttemptResult.RESET,
  ],
  "begins with an error event": [
    (call) => {
      call.head();
      call.events({ error: { message: "no" } });
    },
    AttemptResult.RESET,
  ],
};

for (const [name, [script, result]] of Object.entries(retried)) {
  for (const stream of [true, false]) {
    test(`a pool that ${name} is replaced by another (stream: ${stream})`, async () => {
      gateway = await openTestGateway([script, answering("second")]);
      const response = await gateway.chat({ stream });
      expect(response.status).toBe(200);
      expect(await response.text()).toContain("second");
      const records = [...(await gateway.records(2)).values()].map(
        ({ poolId, role, winner, outcome, dispatchedUs }) => [
          poolId,
          role,
          winner,
          outcome,
          dispatchedUs !== undefined,
        ],
      );
      expect(records).toEqual([
        ["pool-1", AttemptRole.PRIMARY, false, AttemptEnd.UPSTREAM_ERROR, true],
        ["pool-2", AttemptRole.RETRY, true, AttemptEnd.COMPLETE, true],
      ]);
      await until(() => gateway?.control.releases.length === 2);
      expect(gateway.control.releases.map(({ outcome }) => outcome?.result)).toEqual([
        result,
        AttemptResult.OK,
      ]);
      expect(gateway.control.places[1]?.poolIdsExcluded).toEqual(["pool-1"]);
    });
  }
}

test("a pool that cannot be reached is replaced by another", async () => {
  gateway = await openTestGateway([answering("first"), answering("second")]);
  await gateway.pools[0]?.close();
  expect(await (await gateway.chat()).text()).toContain("second");
  await until(() => gateway?.control.releases.length === 2);
  expect(gateway.control.releases[0]?.outcome?.result).toBe(AttemptResult.CONNECT_ERROR);
});

/** Answers of a pool that would come again from another: one attempt, and what the client is told. */
const final: Readonly<Record<string, [Script, number, object]>> = {
  "400": [
    refusing(400, {
      error: { message: "prompt text /srv/vllm.py", code: "bad", param: "temperature" },
    }),
    400,
    {
      code: "upstream_rejected",
      param: "temperature",
      message: "the pool refused the request: 400, code bad",
    },
  ],
  "422": [refusing(422), 400, { code: "upstream_rejected" }],
  "a context that is too long": [
    refusing(400, { error: { type: "exceed_context_size_error", n_ctx: 8 } }),
    400,
    { code: "context_length_exceeded" },
  ],
  "401": [refusing(401, { error: { message: "bad vendor key" } }), 502, { code: "upstream_error" }],
  "500": [refusing(500, { error: { message: "stack" } }), 502, { code: "upstream_error" }],
};

for (const [name, [script, status, error]] of Object.entries(final)) {
  test(`a pool's ${name} is not tried elsewhere, and its own words are not passed on`, async () => {
    gateway = await openTestGateway([script, answering("never")]);
    const response = await gateway.chat();
    expect(response.status).toBe(status);
    const body = await response.text();
    expect(JSON.parse(body)).toMatchObject({ error });
    expect(body).not.toMatch(/prompt text|stack|vendor key|vllm\.py/);
    expect(gateway.control.places.length).toBe(1);
  });
}

test("at most three attempts are made, each at another pool, and the last failure is told", async () => {
  const busy = refusing(503);
  gateway = await openTestGateway([busy, busy, busy, answering("never")]);
  const response = await gateway.chat();
  expect(response.status).toBe(502);
  expect(response.headers.get("retry-after-ms")).toMatch(/^\d+$/);
  expect(gateway.control.places.map(({ poolIdsExcluded }) => poolIdsExcluded)).toEqual([
    [],
    ["pool-1"],
    ["pool-1", "pool-2"],
  ]);
});

test("when no pool is left the client is told of the failure, not that none is left", async () => {
  gateway = await openTestGateway([refusing(503)]);
  const response = await gateway.chat();
  expect(response.status).toBe(502);
  expect(await response.text()).toContain("the pool answered with status 503");
});

test("retries stop when half of the budget is spent", async () => {
  gateway = await openTestGateway([refusing(503), refusing(503), refusing(503)]);
  for (let number = 0; number < 8; number++) await (await gateway.chat()).text();
  const attempts = gateway.pools.reduce((sum, { requests }) => sum + requests.length, 0);
  // Ten tokens: the first request makes three attempts, the second one two, and then each has one.
  expect(attempts).toBe(3 + 2 + 6);
  expect(
    await gateway.metrics.getSingleMetricAsString("tokengrid_placement_retries_total"),
  ).toContain('reason="unavailable",result="suppressed_budget"} 7');
});

test("a pool lost after its first event is not replaced, and the client is told so", async () => {
  gateway = await openTestGateway([
    (call) => {
      call.head();
      call.events(chunk({ content: "a" }));
      setTimeout(() => call.cut(), 20);
    },
    answering("never"),
  ]);
  const text = await (await gateway.chat({ stream: true })).text();
  expect(text).toContain('"code":"upstream_disconnected"');
  expect(text).not.toContain("[DONE]");
  const [record] = [...(await gateway.records(1)).values()];
  expect(record).toMatchObject({ outcome: AttemptEnd.UPSTREAM_CUT, winner: true, outBytes: 1n });
  expect(gateway.control.places.length).toBe(1);
});

test("a pool lost in the middle of an answer that is not streamed is an error, never half an answer", async () => {
  gateway = await openTestGateway([
    (call) => {
      call.head();
      call.events(chunk({ content: "half" }));
      setTimeout(() => call.cut(), 20);
    },
  ]);
  const response = await gateway.chat();
  expect(response.status).toBe(502);
  expect(await response.text()).not.toContain("half");
});

/** Silence of a pool, and the deadline that ends it. */
const silent: Readonly<Record<string, [Script, object, Readonly<Record<string, string>>]>> = {
  "before its headers": [() => undefined, { firstTokenMs: firstTokenMs(120) }, {}],
  "before its first token": [(call) => call.head(), { firstTokenMs: firstTokenMs(120) }, {}],
  "between tokens": [
    (call) => {
      call.head();
      call.events(chunk({ content: "a" }));
    },
    { interTokenMs: 120 },
    {},
  ],
  "beyond the client's own deadline": [
    (call) => call.head(),
    {},
    { "x-tokengrid-deadline-ms": "120" },
  ],
};

function firstTokenMs(ms: number) {
  return {
    "metro-realtime": ms,
    "realtime-interactive": ms,
    "llm-interactive": ms,
    "batch-offline": ms,
    archival: ms,
  };
}

for (const [name, [script, limits, headers]] of Object.entries(silent)) {
  test(`a pool that is silent ${name} is given up`, async () => {
    let closed: Promise<void> | undefined;
    gateway = await openTestGateway(
      [
        (call) => {
          closed = call.closed;
          script(call);
        },
      ],
      { limits },
    );
    const response = await gateway.chat({ stream: true }, headers);
    expect(await response.text()).toContain('"code":"deadline_exceeded"');
    expect(response.status).toBe(name === "between tokens" ? 200 : 504);
    await closed;
    const [record] = [...(await gateway.records(1)).values()];
    expect(record).toMatchObject({
      outcome: AttemptEnd.GATEWAY_CANCEL,
      cancelCause: CancelCause.DEADLINE,
    });
  });
}

test("a client that leaves is noticed upstream, released and recorded once", async () => {
  let closed: Promise<void> | undefined;
  gateway = await openTestGateway([
    (call) => {
      closed = call.closed;
      call.head();
      call.events(chunk({ content: "a" }), chunk({ content: "b" }));
    },
  ]);
  const { socket } = await gateway.raw({ stream: true });
  await until(() => socket.bytesRead > 0 && gateway?.pools[0]?.requests.length === 1);
  socket.destroy();
  await closed;
  const records = [...(await gateway.records(1)).values()];
  expect(records).toMatchObject([{ outcome: AttemptEnd.CLIENT_CANCEL, engSource: 5 }]);
  expect(records[0]?.cancelUs).toBeGreaterThanOrEqual(records[0]?.dispatchedUs ?? 0n);
  await until(() => gateway?.control.releases.length === 1);
  expect(gateway.control.releases[0]?.outcome?.result).toBe(AttemptResult.CANCELLED);
});

test("a client that leaves while no pool answers yet leaves no lease behind", async () => {
  let closed: Promise<void> | undefined;
  gateway = await openTestGateway([
    (call) => {
      closed = call.closed;
    },
  ]);
  const { socket } = await gateway.raw({ stream: false });
  await until(() => gateway?.pools[0]?.requests.length === 1);
  socket.destroy();
  await closed;
  await gateway.records(1);
  await until(() => gateway?.control.releases.length === 1);
});

test("a client that takes nothing is cut, metered and counted as a slow reader", async () => {
  gateway = await openTestGateway(
    [
      (call) => {
        call.head();
        const text = event(chunk({ content: "x".repeat(60_000) }));
        for (let number = 0; number < 400; number++) call.send(text);
      },
    ],
    { limits: { answer: { keepAliveMs: 15_000, slowReaderMs: 150 } } },
  );
  const { socket } = await gateway.raw({ stream: true });
  socket.on("error", () => socket.destroy());
  socket.pause();
  const [record] = [...(await gateway.records(1)).values()];
  expect(record).toMatchObject({
    outcome: AttemptEnd.GATEWAY_CANCEL,
    cancelCause: CancelCause.SLOW_READER,
  });
  expect(
    await gateway.metrics.getSingleMetricAsString("tokengrid_gateway_stream_ends_total"),
  ).toContain('reason="slow_reader"} 1');
  socket.destroy();
});
