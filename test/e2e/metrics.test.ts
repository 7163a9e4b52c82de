import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { isPromtoolHere, promtool, promtoolNote } from "../ops/promtool.ts";
import { ourMetricsIn } from "../ops/metric-names.ts";
import { startDev, type DevProcess } from "./dev-process.ts";

/** Rendered at the 14 pools of the preset; all roles are in one process. */
const linesMax = 4_000;
const answered =
  'tokengrid_gateway_requests_total{api="chat_completions",code="200",outcome="ok"} 1';

describe("metrics of tokengrid dev", () => {
  const data = mkdtempSync(join(tmpdir(), "tokengrid-metrics-"));
  const secret = "a prompt that must be nowhere: 7f3a9c";
  let dev: DevProcess;
  let text = "";

  beforeAll(async () => {
    dev = await startDev(data);
    const answer = await fetch(`${dev.urls["gateway"]}/chat/completions`, {
      method: "POST",
      headers: {
        "content-type": "application/json",
        authorization: `Bearer ${readFileSync(join(data, "dev.key"), "utf8").trim()}`,
      },
      body: JSON.stringify({
        model: "sim-chat",
        max_tokens: 4,
        messages: [{ role: "user", content: secret }],
      }),
    });
    expect(answer.status).toBe(200);
    await answer.text();
    // Counted when its usage record is on disk, which the user does not wait for.
    text = await vi.waitFor(async () => {
      const scraped = await (await fetch(dev.urls["metrics"] ?? "")).text();
      expect(scraped).toContain(answered);
      return scraped;
    }, 10_000);
  });

  afterAll(async () => {
    await dev.stop();
    rmSync(data, { recursive: true });
  });

  test("every metric of the dashboards is there", () => {
    const known = new Set([...text.matchAll(/^# TYPE (\w+)/gm)].map(([, name = ""]) => name));
    const folder = "deploy/dashboards";
    const asked = readdirSync(folder).flatMap((file) =>
      ourMetricsIn(readFileSync(join(folder, file), "utf8")),
    );
    expect(known.size).toBeGreaterThan(50);
    expect([...new Set(asked)].filter((metric) => !known.has(metric))).toEqual([]);
  });

  test("one request of a user is counted, with its tokens", () => {
    expect(text).toContain(answered);
    const response = [...text.matchAll(/^tokengrid_gateway_tokens_total\{.*"response"\} (\d+)$/gm)];
    expect(response.reduce((sum, [, count]) => sum + Number(count), 0)).toBe(4);
  });

  test("no prompt, key or request id is in them, and they are no more than agreed", () => {
    expect(text).not.toContain("7f3a9c");
    expect(text).not.toMatch(/sk-tg-|req_|Bearer/);
    expect(text.split("\n").length).toBeLessThanOrEqual(linesMax);
  });

  test("the console of the same process shows the page", async () => {
    const page = await fetch(dev.urls["console"] ?? "");
    expect([page.status, await page.text()]).toEqual([
      200,
      readFileSync("services/console/index.html", "utf8"),
    ]);
  });

  describe.skipIf(!isPromtoolHere)(`under promtool${promtoolNote}`, () => {
    test("promtool check metrics has nothing to say", async () => {
      expect(await promtool(["check", "metrics"], text)).toEqual({ code: 0, text: "" });
    });
  });
});
