import { expect, test } from "vitest";
import type { OwnCount } from "../../services/core/settlement/claims/own-count.ts";
import { loadGeography } from "../../services/io/preset.ts";
import { openLog } from "../../services/io/log.ts";
import type { VendorId } from "../../services/core/units.ts";
import { faultHeader } from "../../services/sim/faults.ts";
import type { Fleet } from "../../services/sim/fleet.ts";
import { openFleet } from "../../services/sim/main.ts";
import { attemptHeader } from "../../services/sim/served-attempt.ts";
import { model, quickFleet, until } from "./running-fleet.ts";

/** What each vendor says that it served. */
async function open(fleet: Fleet) {
  const counted: { readonly vendor: VendorId; readonly count: OwnCount }[] = [];
  const stop = new AbortController();
  const served = await openFleet({
    ...{ fleet, geography: loadGeography(), host: "127.0.0.1", port: 0 },
    onCounted: (vendor, count) => counted.push({ vendor, count }),
    log: openLog({ role: "test", level: "silent" }),
    signal: stop.signal,
  });
  const chat = async (body: object, headers: Record<string, string>, signal = stop.signal) =>
    fetch(`http://127.0.0.1:${served.port}/west-ningxia-1/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify({
        ...{ model, messages: [{ role: "user", content: "one two three" }] },
        ...{ max_tokens: 5, ignore_eos: true, ...body },
      }),
      signal,
    });
  return { counted, chat, close: () => served.close() };
}

test("an attempt is counted by its name when it is over, whichever way it was answered", async () => {
  const { counted, chat, close } = await open(quickFleet());
  for (const stream of [true, false]) {
    const answer = await chat({ stream }, { [attemptHeader]: `a-${stream}` });
    expect(answer.headers.get(attemptHeader)).toBe(`a-${stream}`);
    await answer.text();
  }
  await until(() => counted.length === 2);
  for (const { vendor, count } of counted) {
    const { openedUs, firstByteUs = 0n, closedUs, ...rest } = count;
    expect([vendor, rest]).toEqual([
      "qilian",
      {
        attempt: expect.stringMatching(/^a-(true|false)$/),
        ...{ rev: 0n, pool: "west-ningxia-1", model },
        tokens: { uncachedInput: 3n, cacheRead: 0n, cacheWrite: 0n, response: 5n, reasoning: 0n },
      },
    ]);
    expect(openedUs <= firstByteUs && firstByteUs <= closedUs).toBe(true);
  }
  await close();
});

test("nothing is counted of what has no name, or of which nothing left the engine", async () => {
  const { counted, chat, close } = await open(quickFleet());
  await (await chat({}, {})).text();
  for (const fault of ["error-500", "error-503"]) {
    await (await chat({}, { [attemptHeader]: fault, [faultHeader]: fault })).text();
  }
  await expect(
    chat({ stream: true }, { [attemptHeader]: "drop", [faultHeader]: "drop" }),
  ).rejects.toThrow();
  await (await chat({ model: "no-such-model" }, { [attemptHeader]: "unknown" })).text();
  await (await chat({}, { [attemptHeader]: "last" })).text();
  await until(() => counted.length > 0);
  expect(counted.map(({ count }) => count.attempt)).toEqual(["last"]);
  await close();
});

test("of an answer that is cut, what left the engine is counted", async () => {
  const { counted, chat, close } = await open(quickFleet());
  const cut = await chat(
    { stream: true, max_tokens: 50 },
    { [attemptHeader]: "cut", [faultHeader]: "cut;after=4" },
  );
  await expect(cut.text()).rejects.toThrow();
  const stop = new AbortController();
  const left = await chat(
    { stream: true, max_tokens: 5_000 },
    { [attemptHeader]: "left" },
    stop.signal,
  );
  await left.body?.getReader().read();
  stop.abort();
  await until(() => counted.length === 2);
  const [first, second] = counted.map(({ count }) => count.tokens.response);
  expect(first).toBe(4n);
  expect(second).toBeGreaterThan(0n);
  expect(second).toBeLessThan(5_000n);
  await close();
});

for (const [inflatePpm, expected] of [
  [0, 5n],
  [1, 6n],
  [200_000, 6n],
  [200_001, 7n],
  [1_000_000, 10n],
] as const) {
  test(`a vendor that adds ${inflatePpm} ppm counts ${expected} for 5`, async () => {
    const fleet = quickFleet();
    const vendors = fleet.vendors.map((vendor) => ({ ...vendor, claims: { inflatePpm } }));
    const { counted, chat, close } = await open({ ...fleet, vendors });
    await (await chat({}, { [attemptHeader]: "a1" })).text();
    await until(() => counted.length === 1);
    expect(counted[0]?.count.tokens).toMatchObject({ uncachedInput: 3n, response: expected });
    await close();
  });
}
