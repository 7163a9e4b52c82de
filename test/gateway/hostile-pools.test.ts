import { afterEach, expect, test } from "vitest";
import { answerBytesMax } from "../../services/gateway/assemble.ts";
import { openTestGateway, until, type TestGateway } from "./gateway-fixture.ts";
import { AttemptResult } from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { answering, chunk, event, usageChunk, type PoolCall } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

const nesting = 20_000;
const deep = `${'{"a":'.repeat(nesting)}1${"}".repeat(nesting)}`;

/** Answers that are no use to a client who wants one piece, each behind a first word that commits it. */
const tooLarge: Readonly<Record<string, (call: PoolCall) => void>> = {
  "more text than one answer may have": (call) => {
    const text = event(chunk({ content: "x".repeat(512 * 1024) }));
    for (let bytes = 0; bytes <= answerBytesMax; bytes += 512 * 1024) call.send(text);
  },
  "a chunk that is nested too deep": (call) => {
    call.send(`data: {"choices":[],"extra":${deep}}\n\n`);
  },
};

for (const [name, script] of Object.entries(tooLarge)) {
  test(`${name} ends the attempt and nothing else`, async () => {
    gateway = await openTestGateway([
      (call) => {
        call.head();
        call.events(chunk({ content: "first" }));
        setImmediate(() => script(call));
      },
    ]);
    const response = await gateway.chat({ stream: false });
    expect(response.status).toBe(502);
    expect(await response.json()).toMatchObject({ error: { code: "upstream_error" } });
    await until(() => gateway?.control.releases.length === 1);
    await gateway.records(1);
    expect(await (await fetch(`${gateway.url}/nothing`)).json()).toMatchObject({
      error: { code: "unknown_url" },
    });
  });
}

/** Errors whose body never ends: what the status says is enough to try another pool. */
const endless: Readonly<Record<string, (call: PoolCall) => void>> = {
  "comes without end": (call) => {
    const more = setInterval(() => call.send("x".repeat(32 * 1024)), 1);
    call.closed.then(
      () => clearInterval(more),
      () => clearInterval(more),
    );
  },
  "never comes": () => undefined,
};

for (const [name, script] of Object.entries(endless)) {
  test(`an error whose body ${name} is replaced by another pool`, async () => {
    gateway = await openTestGateway([
      (call) => {
        call.head(503, { "content-type": "text/plain" });
        script(call);
      },
      answering("second"),
    ]);
    expect(await (await gateway.chat()).text()).toContain("second");
  });
}

for (const endpoint of ["ftp://127.0.0.1/", "http://127.0.0.1:99999", "javascript:1"]) {
  test(`a pool at ${endpoint} is as good as unreachable`, async () => {
    gateway = await openTestGateway([answering("never"), answering("second")], {
      endpoints: [endpoint],
    });
    expect(await (await gateway.chat()).text()).toContain("second");
    await until(() => gateway?.control.releases.length === 2);
    expect(gateway.control.releases[0]?.outcome?.result).toBe(AttemptResult.CONNECT_ERROR);
  });
}

test("counts that no answer can have do not keep the lease from its release", async () => {
  gateway = await openTestGateway([
    (call) => {
      call.head();
      call.events(chunk({ content: "a" }), chunk({}, "stop"), usageChunk(1, 2 ** 40), "[DONE]");
      call.end();
    },
  ]);
  expect((await gateway.chat()).status).toBe(200);
  await until(() => gateway?.control.releases.length === 1);
  expect(gateway.control.releases[0]?.outcome).toMatchObject({ inputTokens: 1 });
  expect(gateway.control.releases[0]?.outcome?.outputTokens).toBeUndefined();
  const [record] = (await gateway.records(1)).values();
  expect(record?.engOutput).toBe(BigInt(2 ** 40));
});
