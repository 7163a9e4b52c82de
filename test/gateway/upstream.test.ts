import { afterEach, beforeEach, expect, test } from "vitest";
import { Upstreams } from "../../services/gateway/upstream.ts";
import { until } from "./gateway-fixture.ts";
import { openRawPool, type PoolCall, type RawPool } from "./raw-pool.ts";

const calls: PoolCall[] = [];
let pool: RawPool;
let upstreams: Upstreams;
beforeEach(async () => {
  calls.length = 0;
  pool = await openRawPool((call) => {
    calls.push(call);
    call.head();
    call.send("a");
  });
  upstreams = new Upstreams();
});
afterEach(async () => {
  await upstreams.close();
  await pool.close();
});

/** What is heard of a call: its text, and `end` or why it failed. */
function called(endpoint: string): { text: string; ended: string | undefined } {
  const heard: ReturnType<typeof called> = { text: "", ended: undefined };
  upstreams.dispatch(
    endpoint,
    { method: "GET", path: "/", headers: {} },
    {
      sent: () => undefined,
      headers: () => undefined,
      packet: (bytes) => (heard.text += String(bytes)),
      end: () => (heard.ended = "end"),
      failed: ({ kind }) => (heard.ended = kind),
    },
  );
  return heard;
}

test("connections to where no pool is any more are closed, after the streams on them", async () => {
  const heard = called(`${pool.endpoint}/x`);
  await until(() => heard.text === "a");
  upstreams.keepOnly(new Set());
  expect(upstreams.origins).toEqual([]);
  const [call] = calls;
  call?.send("b");
  await until(() => heard.text === "ab");
  call?.end();
  await until(() => heard.ended === "end");
  await call?.closed;
});

test("an address that a pool still has keeps its connections, whatever else is behind it", async () => {
  const heard = ["x", "y"].map((path) => called(`${pool.endpoint}/${path}`));
  await until(() => heard.every(({ text }) => text === "a"));
  upstreams.keepOnly(new Set([`${pool.endpoint}/y`]));
  expect(upstreams.origins).toEqual([pool.endpoint]);
  for (const call of calls) call.end();
  await until(() => heard.every(({ ended }) => ended === "end"));
});

test("a pool that comes back is called as if it had never left", async () => {
  for (let round = 1; round <= 3; round++) {
    const heard = called(pool.endpoint);
    await until(() => heard.text === "a");
    upstreams.keepOnly(new Set());
    calls.at(-1)?.end();
    await until(() => heard.ended === "end");
  }
  expect(calls.length).toBe(3);
});

test("closing ends also what still streams from where no pool is any more", async () => {
  const heard = called(pool.endpoint);
  await until(() => heard.text === "a");
  upstreams.keepOnly(new Set());
  await upstreams.close();
  await until(() => heard.ended === "reset");
});

test("pools that come and go leave nothing behind", async () => {
  for (let number = 0; number < 100; number++) {
    const heard = called(`http://127.0.0.1:0/${number}`);
    upstreams.keepOnly(new Set());
    await until(() => heard.ended === "connect");
  }
  expect(upstreams.origins).toEqual([]);
});
