import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { defaultContract } from "../../services/core/settlement/terms/contract.ts";
import type { EngineCounts, UsageFlag } from "../../services/core/settlement/counting/usage.ts";
import { countTokens, openGatewayMetrics, startPool } from "../../services/gateway/metrics.ts";
import { Registry } from "../../services/io/metrics.ts";

const state = {
  unacknowledged: () => ({ records: 2, bytes: 900, oldestUs: 1_500_000n }),
  retryTokens: () => 10,
  drainedStreams: () => 0,
};

function opened(pools: number): Registry {
  const registry = new Registry();
  const metrics = openGatewayMetrics(registry, state);
  for (let number = 0; number < pools; number++) startPool(metrics, `pool-${number}`);
  return registry;
}

function series(text: string): string[] {
  return text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
}

test("a gateway with 200 pools has at most 3,500 series", async () => {
  expect(series(await opened(200).metrics()).length).toBeLessThanOrEqual(3_500);
});

test("known series are there from the start, at 0", async () => {
  const lines = series(await opened(0).metrics());
  for (const name of [
    'tokengrid_gateway_requests_total{api="chat_completions",code="200",outcome="ok"}',
    'tokengrid_gateway_requests_total{api="chat_completions",code="503",outcome="no_pool"}',
    'tokengrid_gateway_stream_ends_total{reason="upstream_eof"}',
    'tokengrid_gateway_rejected_total{reason="auth"}',
    'tokengrid_placement_retries_total{reason="connect",result="won"}',
    'tokengrid_placement_hedges_total{result="won"}',
    'tokengrid_metered_requests_total{completeness="none"}',
    'tokengrid_gateway_time_to_first_token_seconds_count{api="chat_completions",region_class="west",criticality="critical"}',
    "tokengrid_load_shed_level",
  ]) {
    expect(lines).toContain(`${name} 0`);
  }
});

test("what is asked at the scrape is the state of that moment", async () => {
  const lines = series(await opened(0).metrics());
  expect(lines).toContain("tokengrid_metering_spool_unacked_records 2");
  expect(lines).toContain("tokengrid_metering_spool_oldest_unacked_timestamp_seconds 1.5");
  expect(lines).toContain("tokengrid_retry_budget_tokens 10");
});

const most = defaultContract.attemptTokensMax;

/** What an engine says of one attempt, what is flagged, and the tokens by class that are counted of it. */
const attempts: Readonly<
  Record<string, readonly [Partial<EngineCounts>, readonly UsageFlag[], readonly number[]]>
> = {
  "as it should": [
    { input: 7n, cacheRead: 4n, cacheWrite: 1n, output: 3n, reasoning: 1n },
    ["total-mismatch"],
    [2, 4, 1, 2, 1],
  ],
  "of the answer alone": [{ output: 3n }, [], [0, 0, 0, 3, 0]],
  "as many as an attempt may have": [{ input: most, output: 3n }, [], [Number(most), 0, 0, 3, 0]],
  "more than an attempt may have": [{ input: most + 1n, output: 3n }, [], [0, 0, 0, 0, 0]],
  "that more was cached than sent": [{ input: 7n, cacheRead: 8n }, [], [0, 0, 0, 0, 0]],
  "that more was cached than can be": [{ cacheRead: 2n ** 60n }, [], [0, 0, 0, 0, 0]],
  "that more was thought than made": [
    { input: 7n, output: 3n, reasoning: 4n },
    [],
    [0, 0, 0, 0, 0],
  ],
  "a negative count": [{ input: -7n, output: 3n }, [], [0, 0, 0, 0, 0]],
  "what is no count beside one": [{ output: 3n }, ["usage-malformed"], [0, 0, 0, 0, 0]],
};

for (const [name, [said, flags, expected]] of Object.entries(attempts)) {
  test(`of an engine that says ${name}, tokens are counted as the ledger would take them`, async () => {
    const registry = new Registry();
    const metrics = openGatewayMetrics(registry, state);
    startPool(metrics, "a");
    const unsaid = { cacheRead: undefined, cacheWrite: undefined, reasoning: undefined };
    const counts = { source: "final", input: undefined, output: undefined, ...unsaid, ...said };
    countTokens(metrics, "a", { engineCounts: counts as EngineCounts, flags });
    const { values } = await metrics.tokens.get();
    expect(values.map(({ value }) => value)).toEqual(expected);
  });
}

const hasPromtool = spawnSync("promtool", ["--version"]).error === undefined;

test.skipIf(!hasPromtool)(
  "promtool finds nothing wrong with the names (needs promtool)",
  async () => {
    const input = await opened(2).metrics();
    const { status, stdout, stderr } = spawnSync("promtool", ["check", "metrics"], { input });
    expect([status, String(stdout), String(stderr)]).toEqual([0, "", ""]);
  },
);
