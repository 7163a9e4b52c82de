import { describe, expect, test } from "vitest";
import { openGatewayMetrics, startPool } from "../../services/gateway/metrics.ts";
import { openMetrics } from "../../services/io/metrics.ts";
import { isPromtoolHere, promtool, promtoolNote } from "./promtool.ts";

/** Design maximum: a scrape of more lines takes longer than the gateway may be held up. */
const pools = 200;
const linesMax = 3_500;

async function scraped(): Promise<string> {
  const { registry } = openMetrics("0.0.0");
  const metrics = openGatewayMetrics(registry, {
    unacknowledged: () => ({ records: 0, bytes: 0, oldestUs: 0n }),
    retryTokens: () => 0,
    drainedStreams: () => 0,
  });
  for (let number = 0; number < pools; number++) startPool(metrics, `pool-${number}`);
  return registry.metrics();
}

const series = (text: string): readonly string[] =>
  text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));

test("a gateway of 200 pools shows at most 3,500 series", async () => {
  const count = series(await scraped()).length;
  expect(count).toBeGreaterThan(pools * 5);
  expect(count).toBeLessThanOrEqual(linesMax);
});

test("counters that an alert watches are there at 0 before anything happened", async () => {
  const text = await scraped();
  for (const name of [
    'tokengrid_placement_retries_total{reason="connect",result="suppressed_budget"} 0',
    'tokengrid_metered_requests_total{completeness="estimated"} 0',
    'tokengrid_gateway_requests_total{api="chat_completions",code="503",outcome="no_pool"} 0',
  ]) {
    expect(series(text)).toContain(name);
  }
});

test("no metric has a label that scraping adds: job, instance, role", async () => {
  expect(series(await scraped()).filter((line) => /[{,](job|instance|role)="/.test(line))).toEqual(
    [],
  );
});

describe.skipIf(!isPromtoolHere)(`metrics of a gateway under promtool${promtoolNote}`, () => {
  test("promtool check metrics has nothing to say", async () => {
    expect(await promtool(["check", "metrics"], await scraped())).toEqual({ code: 0, text: "" });
  });
});
