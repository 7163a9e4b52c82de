import { afterEach, expect, test } from "vitest";
import { createKey, keyRecordSchema } from "../../services/io/keys.ts";
import { openTestGateway, type TestGateway } from "./gateway-fixture.ts";
import { answering } from "./raw-pool.ts";

let gateway: TestGateway | undefined;
afterEach(async () => {
  await gateway?.close();
  gateway = undefined;
});

const use = { department: "sales", project: "bot", scenario: "faq" };

test("records say whose use it was: by the key, and for which scenario", async () => {
  gateway = await openTestGateway([answering("a")], { use });
  await (await gateway.chat()).text();
  const [record] = (await gateway.records(1)).values();
  expect(record).toMatchObject({ ...use, keyPrefix: gateway.key.split("-").slice(0, 3).join("-") });
});

test("the caller names the scenario before its key does", async () => {
  gateway = await openTestGateway([answering("a")], { use });
  await (await gateway.chat({}, { "x-tokengrid-scenario": "night.batch-2" })).text();
  const [record] = (await gateway.records(1)).values();
  expect(record).toMatchObject({ ...use, scenario: "night.batch-2" });
});

test("a key without them leaves them empty", async () => {
  gateway = await openTestGateway([answering("a")]);
  await (await gateway.chat()).text();
  const [record] = (await gateway.records(1)).values();
  expect(record).toMatchObject({ department: "", project: "", scenario: "" });
});

for (const scenario of ["a b", "-a", "x".repeat(65), "a/b", "caf\u00e9"]) {
  test(`a scenario called ${JSON.stringify(scenario)} is refused before anything is sent`, async () => {
    gateway = await openTestGateway([answering("a")]);
    const response = await gateway.chat({}, { "x-tokengrid-scenario": scenario });
    expect(response.status).toBe(400);
    expect(await response.json()).toMatchObject({ error: { param: "x-tokengrid-scenario" } });
    expect(gateway.pools[0]?.requests).toEqual([]);
  });
}

test("the pool is told nothing of them", async () => {
  gateway = await openTestGateway([answering("a")], { use });
  await (await gateway.chat({}, { "x-tokengrid-scenario": "secret-project" })).text();
  const [request] = gateway.pools[0]?.requests ?? [];
  expect(request?.headers.get("x-tokengrid-scenario")).toBeUndefined();
  expect(request?.body).not.toContain("sales");
});

test("a key's record holds them, and one from before is read as without", () => {
  const { record } = createKey({ kind: "tenant", subject: "acme", ...use, nowUs: 0n });
  expect(keyRecordSchema.parse(record)).toMatchObject(use);
  const { department: _department, ...older } = record;
  expect(keyRecordSchema.parse(older)).not.toHaveProperty("department");
  expect(() => keyRecordSchema.parse({ ...record, project: "a b" })).toThrow("64 letters");
});
