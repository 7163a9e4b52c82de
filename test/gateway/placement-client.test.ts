import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test } from "vitest";
import type { PlaceOutcome, Placement } from "../../services/core/lease.ts";
import type { AttemptId, LeaseId, RequestId } from "../../services/core/units.ts";
import {
  openPlacementClient,
  UnavailableError,
  type PlacementClient,
} from "../../services/gateway/placement-client.ts";
import { openLog } from "../../services/io/log.ts";
import { serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { collected } from "../collected.ts";
import {
  messages,
  openTestControl,
  operator,
  vendor,
  type TestControl,
} from "../control/fixtures.ts";
import { request } from "../core/fixtures.ts";

const log = openLog({ role: "test", level: "silent" });
const patient = new AbortController().signal;
let control: TestControl;
let server: RpcServer;
let client: PlacementClient;
let stop: AbortController;

beforeEach(async () => {
  stop = new AbortController();
  control = await openTestControl();
  const pools = createClient(PoolService, control.as(vendor));
  await pools.publishPrices({ book: messages.prices() });
  await pools.register({ pool: messages.registration("a") });
  async function* reports() {
    yield messages.report("a");
  }
  await collected(pools.report(reports()));
  server = await serve(0);
  client = await clientOf(server.port);
});

afterEach(async () => {
  await client.close();
  stop.abort();
  await server.close();
  await control.close();
});

function serve(port: number): Promise<RpcServer> {
  const { routes, hot } = control;
  const limits = { closeGraceMs: 100 };
  return serveRpc({ host: "127.0.0.1", port, routes, hot, limits, signal: stop.signal, log });
}

function clientOf(port: number): Promise<PlacementClient> {
  return openPlacementClient({ rpcUrl: `http://127.0.0.1:${port}`, log, signal: stop.signal });
}

function attempt(number: number) {
  return request({ request: `r${number}` as RequestId, attempt: `r${number}/1` as AttemptId });
}

function placed(outcome: PlaceOutcome): Placement {
  expect(outcome.kind).toBe("placed");
  if (outcome.kind !== "placed") throw new Error("expected a placement");
  return outcome.placement;
}

async function leased(): Promise<number | undefined> {
  const { pool } = await createClient(PoolService, control.as(operator)).get({ poolId: "a" });
  return pool?.models[0]?.slotsLeased;
}

const ok = {
  result: "ok",
  ttftMs: 100,
  itlMsMean: 20,
  headersMs: 40,
  inputTokens: 10,
  cachedTokens: 0,
  outputTokens: 5,
  durationMs: 200,
} as const;

test("a placement is granted, renewed and released", async () => {
  const placement = placed(await client.place(attempt(1), patient));
  expect(placement).toMatchObject({ pool: "a", vendor: "northgrid", ttlMs: 30_000 });
  expect(await client.renew(placement.lease, placement.fence)).toEqual({ ttlMs: 30_000 });
  expect(await client.renew("none" as LeaseId, 1)).toBe("gone");
  client.release(placement, ok);
  await expect.poll(leased).toBe(0);
  expect(await client.renew(placement.lease, placement.fence)).toBe("gone");
});

test("many placements at once each get their own answer", async () => {
  const numbers = Array.from({ length: 600 }, (_, index) => index);
  const outcomes = await Promise.all(numbers.map((each) => client.place(attempt(each), patient)));
  const leases = outcomes
    .filter((each) => each.kind === "placed")
    .map((each) => placed(each).lease);
  expect(leases.length).toBe(8);
  expect(new Set(leases).size).toBe(8);
});

test("a malformed request is refused by itself, and those beside it are answered", async () => {
  const bad = client.place({ ...attempt(1), inputTokens: 2 ** 31 }, patient);
  const good = client.place(attempt(2), patient);
  await expect(bad).rejects.toThrow("[invalid_argument] input_tokens");
  placed(await good);
});

test("a request with a number that its field cannot hold is refused by itself", async () => {
  const bad = client.place({ ...attempt(1), outputTokensMax: 2 ** 32 }, patient);
  const good = client.place(attempt(2), patient);
  await expect(bad).rejects.toThrow("[invalid_argument] expected numbers within the bounds");
  const placement = placed(await good);
  client.release(placement, { ...ok, outputTokens: 2 ** 40 });
  await expect.poll(leased).toBe(0);
});

test("a caller who leaves gets the signal's reason, and the slot is given back", async () => {
  const leaving = new AbortController();
  const outcome = client.place(attempt(1), leaving.signal);
  leaving.abort(new Error("the caller left"));
  await expect(outcome).rejects.toThrow("the caller left");
  await client.place(attempt(2), patient);
  await expect.poll(leased).toBe(1);
});

test("close() sends the releases that wait", async () => {
  const placement = placed(await client.place(attempt(1), patient));
  client.release(placement, undefined);
  await client.close();
  await expect.poll(leased).toBe(0);
  await expect(client.place(attempt(2), patient)).rejects.toThrow(UnavailableError);
});

test("without a control replica it is unavailable at once, and again at work when one comes", async () => {
  const { port } = server;
  placed(await client.place(attempt(1), patient));
  await server.close();
  await expect(client.place(attempt(2), patient)).rejects.toThrow(UnavailableError);
  await expect(client.renew("x" as LeaseId, 1)).rejects.toThrow(UnavailableError);
  server = await serve(port);
  const place = async () => {
    try {
      return (await client.place(attempt(3), patient)).kind;
    } catch (error) {
      return error instanceof UnavailableError ? "unavailable" : error;
    }
  };
  await expect.poll(place, { timeout: 4_000 }).toBe("placed");
});

test("a link that is cut without a word is unavailable within the bound", async () => {
  const relay = await openRelay(server.port);
  const behind = await clientOf(relay.port);
  placed(await behind.place(attempt(1), patient));
  relay.freeze();
  await expect(behind.place(attempt(2), patient)).rejects.toThrow(UnavailableError);
  await behind.close();
  relay.close();
});

test("a key that is refused leaves it unavailable, with the reason", async () => {
  const stranger = await openPlacementClient({
    ...{ rpcUrl: `http://127.0.0.1:${server.port}`, credential: "nonsense", log },
    signal: stop.signal,
  });
  await expect(stranger.place(attempt(1), patient)).rejects.toThrow("expected a key");
  await stranger.close();
});

/** Passes bytes on until it freezes: then nothing comes through, and nobody is told. */
async function openRelay(target: number) {
  const sockets = new Set<Socket>();
  let isFrozen = false;
  const relay: Server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      sockets.add(from);
      from.on("data", (bytes) => isFrozen || to.write(bytes));
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  });
  relay.listen(0, "127.0.0.1");
  await once(relay, "listening");
  return {
    port: (relay.address() as AddressInfo).port,
    freeze: () => {
      isFrozen = true;
    },
    close: () => {
      relay.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}
