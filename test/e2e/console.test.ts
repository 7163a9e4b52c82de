import { chromium, type Browser, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { serveConsole } from "../../services/control/console.ts";
import { openLog } from "../../services/io/log.ts";
import { findProgram } from "../program.ts";
import { movingGrid } from "./console-grid.ts";

const executablePath =
  process.env["TOKENGRID_TEST_CHROMIUM"] ?? findProgram("chromium", "chromium-browser");
const title =
  executablePath === undefined
    ? "console in a browser (skipped: no chromium on PATH, none in TOKENGRID_TEST_CHROMIUM)"
    : "console in a browser";

describe.skipIf(executablePath === undefined)(title, () => {
  const stop = new AbortController();
  const complaints: string[] = [];
  let browser: Browser;
  let page: Page;
  let url = "";

  beforeAll(async () => {
    const routes = movingGrid({ count: 200, perSecond: 40 });
    const log = openLog({ role: "test", level: "silent" });
    const options = { host: "127.0.0.1", port: 0, routes, log, signal: stop.signal };
    url = `http://127.0.0.1:${await serveConsole(options)}/`;
    // Chromium's sandbox wants rights that root in a container lacks; the page is our own.
    browser = await chromium.launch({
      ...(executablePath === undefined ? {} : { executablePath }),
      args: ["--no-sandbox", "--disable-gpu"],
    });
    page = await browser.newPage({ locale: "en-US", viewport: { width: 1440, height: 1000 } });
    page.on("console", (message) => {
      if (["error", "warning"].includes(message.type())) complaints.push(message.text());
    });
    page.on("pageerror", ({ message }) => complaints.push(message));
    await page.goto(url);
    await page.locator("#pools tbody tr").nth(199).waitFor();
    await page.locator("#placements button").first().waitFor();
  });

  afterAll(async () => {
    await browser.close();
    stop.abort();
  });

  test("200 pools stand in the table with their live figures", async () => {
    expect(await page.locator("#pools tbody tr").count()).toBe(200);
    const row = page.locator("#pools tbody tr", { hasText: "guian-1" }).first();
    expect(await row.locator("td.state").textContent()).toBe("ready");
    expect(await row.locator("td.price").textContent()).toBe("1.606.40");
    expect(await row.locator("td.slot").textContent()).toBe("valley");
    expect(await row.locator("td.carbon").textContent()).toBe("610120");
    expect(await row.locator("td.pue").textContent()).toBe("1.15");
  });

  test("the map has a button for each of the ten clusters; one narrows the table", async () => {
    expect(await page.locator("#hubs button").count()).toBe(10);
    await page.getByRole("button", { name: "Zhongwei", exact: true }).click();
    expect(await page.locator("#pools tbody tr").count()).toBe(20);
    await page.getByRole("button", { name: "all regions" }).click();
    expect(await page.locator("#pools tbody tr").count()).toBe(200);
  });

  test("a filter of several words keeps the pools that have them all", async () => {
    await page.locator("#filter").fill("shaoguan lost");
    const states = await page.locator("#pools tbody td.state").allTextContents();
    await page.locator("#filter").fill("");
    expect(states).toEqual(["lost"]);
  });

  test("a heading sorts, and says so to a screen reader", async () => {
    await page.getByRole("button", { name: "Pool", exact: true }).click();
    expect(await page.locator("th.pool[aria-sort]").getAttribute("aria-sort")).toBe("ascending");
    const names = await page.locator("#pools .name").allTextContents();
    expect(names).toEqual(names.toSorted());
  });

  test("the keyboard alone opens a placement's bill, and the terms add up to the nano", async () => {
    await page.locator("#placements button").first().focus();
    await page.keyboard.press("ArrowDown");
    await page.keyboard.press("Enter");
    const row = page.locator("table.bill tr.chosen");
    await row.waitFor();
    const amounts = (await row.locator("td").allTextContents()).map(nano);
    const sum = amounts.pop();
    expect(amounts.reduce((total, each) => total + each, 0n)).toBe(sum);
    expect(await page.locator(".headline .total").textContent()).toBe("¥0.003129316");
    expect(await page.locator(".asked p").allTextContents()).toEqual([
      expect.stringContaining("from service_tier=flex"),
      expect.stringMatching(/^best stands for /),
      "qwen3-max was passed over: above the alias's price cap 3",
      "glm-4.6 was passed over: Not on the key's list of models.",
      "Override O-dev (house default) sets vendorsDenied yunmeng: dev has its contract with others.",
      "Budget dev-hour: 0.5 of 2 CNY used, dual price 0.5 CNY per CNY.",
    ]);
    await page.keyboard.press("Escape");
    expect(await page.locator("dialog[open]").count()).toBe(0);
  });

  test("the page speaks Chinese at a click, and remembers it", async () => {
    await page.getByRole("button", { name: "中文" }).click();
    expect(await page.locator("html").getAttribute("lang")).toBe("zh-CN");
    await page.reload();
    await page.locator("#pools tbody tr").first().waitFor();
    expect(await page.locator("#pools-title").textContent()).toContain("算力池");
    expect(await page.locator("#hubs").textContent()).toContain("中卫");
    await page.getByRole("button", { name: "English" }).click();
  });

  test("dark and light are a click apart", async () => {
    const back = (): Promise<string> =>
      page.evaluate("getComputedStyle(document.body).backgroundColor");
    const before = await back();
    await page.locator("#theme").click();
    expect(await back()).not.toBe(before);
  });

  test("the browser had nothing to complain of: no error, no broken policy", () => {
    expect(complaints).toEqual([]);
  });
});

/** `−¥0.000500000` as −500000n. */
function nano(text: string): bigint {
  const digits = BigInt(text.replaceAll(/\D/g, ""));
  return text.startsWith("−") ? -digits : digits;
}
