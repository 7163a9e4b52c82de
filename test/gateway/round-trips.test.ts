import { createServer } from "node:http";
import { once } from "node:events";
import { createClient } from "@connectrpc/connect";
import { expect, test, vi } from "vitest";
import type { OriginId, PoolId } from "../../services/core/units.ts";
import { PoolDirectory } from "../../services/gateway/pools.ts";
import { defaultRoundTripTimings, RoundTrips } from "../../services/gateway/round-trips.ts";
import { Upstreams } from "../../services/gateway/upstream.ts";
import { openLog } from "../../services/io/log.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { openScriptedControl } from "./control-fixture.ts";
import { until } from "./gateway-fixture.ts";

const shanghai = "shanghai" as OriginId;
const pool = "a" as PoolId;
const busyMs = 150;

const valueOf = (roundTrips: RoundTrips): number | undefined => roundTrips.figures()[pool]?.value;

test("the least of a while counts, and one slow sample says nothing", () => {
  const roundTrips = new RoundTrips(defaultRoundTripTimings);
  for (const ms of [900, 30, 20]) roundTrips.observe(pool, ms);
  expect(valueOf(roundTrips)).toBeUndefined();
  for (const ms of [900, 40]) roundTrips.observe(pool, ms);
  expect(valueOf(roundTrips)).toBe(20);
});

test("samples that are too old do not count, so that a way which became longer is seen", () => {
  vi.useFakeTimers({ toFake: ["performance"] });
  try {
    const roundTrips = new RoundTrips({ probeMs: 10_000, windowMs: 60_000 });
    for (const ms of [20, 21, 22, 23]) roundTrips.observe(pool, ms);
    vi.advanceTimersByTime(40_000);
    for (const ms of [80, 81, 82]) roundTrips.observe(pool, ms);
    expect(valueOf(roundTrips)).toBe(20);
    vi.advanceTimersByTime(21_000);
    expect(valueOf(roundTrips)).toBeUndefined();
    roundTrips.observe(pool, 83);
    expect(valueOf(roundTrips)).toBe(80);
  } finally {
    vi.useRealTimers();
  }
});

test("watch() soon asks again, so that a busy start does not make a pool look far for long", async () => {
  let probes = 0;
  const engine = createServer((_request, response) => {
    probes += 1;
    setTimeout(() => response.end(), probes <= 2 ? busyMs : 0);
  }).listen(0, "127.0.0.1");
  await once(engine, "listening");
  const { port } = engine.address() as { port: number };
  const control = await openScriptedControl([{ id: pool, endpoint: `http://127.0.0.1:${port}` }]);
  const log = openLog({ role: "test", level: "silent" });
  const stop = new AbortController();
  const client = createClient(PoolService, rpcTransport({ url: control.url }));
  const nothing = (): void => undefined;
  const directory = new PoolDirectory({ client, log, onPool: nothing, onList: nothing });
  const upstreams = new Upstreams();
  const roundTrips = new RoundTrips(defaultRoundTripTimings);
  const { signal } = stop;
  const watching = [
    directory.watch(signal),
    roundTrips.watch({ origin: shanghai, directory, upstreams, client, log, signal }),
  ];

  await until(() => (control.roundTrips.get(`${shanghai}/${pool}`) ?? Infinity) < busyMs / 2);

  stop.abort();
  await Promise.all(watching);
  await upstreams.close();
  await control.close();
  engine.close();
});
