import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import OpenAI from "openai";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { type DevProcess, startDev, tokengrid } from "./dev-process.ts";

// Real processes start and answer here; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 120_000, hookTimeout: 60_000 });

/** The vendors of `dev` as counterparties: one claims a hundredth more than it served. Each test goes on from the last. */

const liar = "qilian";
const requestsEach = 5;
/** Of different vendors, as the preset places them. */
const models = ["deepseek-v3.2", "glm-4.6", "qwen3-max", "qwen3.6-plus", "sim-chat"];

let data: string;
let dev: DevProcess;
let openai: OpenAI;

beforeAll(async () => {
  data = mkdtempSync(join(tmpdir(), "tokengrid-vendors-"));
  const preset = readFileSync("deploy/preset/fleet.yaml", "utf8");
  const fleet = preset.replace(`{ id: ${liar}, `, `$&claims: { inflatePpm: 10000 }, `);
  expect(fleet).not.toBe(preset);
  writeFileSync(join(data, "fleet.yaml"), fleet);
  dev = await startDev(data, "--fleet", join(data, "fleet.yaml"));
  const apiKey = readFileSync(join(data, "dev.key"), "utf8").trim();
  openai = new OpenAI({ baseURL: dev.urls["gateway"] ?? "", apiKey, maxRetries: 0 });
});

afterAll(async () => {
  await dev.stop();
  rmSync(data, { recursive: true });
});

function cli(...words: string[]) {
  return tokengrid(...words, "--addr", dev.urls["RPC"] ?? "");
}

async function chat(model: string, content: string): Promise<bigint> {
  const { usage } = await openai.chat.completions.create({
    ...{ model, max_tokens: 20 },
    messages: [{ role: "user", content }],
  });
  return BigInt(usage?.total_tokens ?? 0);
}

interface Side {
  readonly items: string;
  readonly tokensByClass: Readonly<Record<string, string>>;
}

interface Compared {
  readonly report: {
    readonly vendorId: string;
    readonly buckets: readonly {
      readonly bucket: string;
      readonly ours: Side;
      readonly theirs: Side;
    }[];
  };
  readonly discrepancies: readonly {
    readonly severity: string;
    readonly reason: string;
    readonly valueNano: string;
  }[];
}

async function reconcile(): Promise<Compared[]> {
  const { stdout } = await cli("statement", "reconcile", "--period", "today", "-o", "json");
  return JSON.parse(stdout) as Compared[];
}

/** Items of both sides by bucket. */
function counts({ report }: Compared): Record<string, string> {
  const rows = report.buckets.map(({ bucket, ours, theirs }) => [
    bucket,
    `${ours.items}+${theirs.items}`,
  ]);
  return Object.fromEntries(rows.filter(([, both]) => both !== "0+0")) as Record<string, string>;
}

test("reconciliation names what one vendor claims too much; the honest ones match", async () => {
  for (const model of models) {
    for (let n = 0; n < requestsEach; n++) await chat(model, `${model} number ${n}`);
  }
  const all = String(models.length * requestsEach);
  const claimed = async (): Promise<string> => {
    const sides = (await reconcile()).flatMap(({ report }) => report.buckets);
    const items = sides.map(({ ours, theirs }) => [Number(ours.items), Number(theirs.items)]);
    return items.reduce(([a = 0, b = 0], [c = 0, d = 0]) => [a + c, b + d], [0, 0]).join();
  };
  await expect.poll(claimed, { timeout: 30_000 }).toBe(`${all},${all}`);
  const found = (await reconcile()).filter((each) => Object.keys(counts(each)).length > 0);
  expect(found.length).toBeGreaterThan(2);
  const honest = found.filter(({ report }) => report.vendorId !== liar);
  expect(honest.map((each) => Object.keys(counts(each)))).toEqual(honest.map(() => ["matched"]));
  expect(honest.flatMap(({ discrepancies }) => discrepancies)).toEqual([]);
  const lies = found.find(({ report }) => report.vendorId === liar);
  expect(lies && Object.keys(counts(lies))).toEqual(["quantity"]);
  const items = Number(
    lies?.report.buckets.find(({ bucket }) => bucket === "quantity")?.ours.items,
  );
  expect(items).toBeGreaterThanOrEqual(requestsEach);
  expect(lies?.discrepancies.map(({ severity, reason }) => `${severity} ${reason}`)).toEqual(
    Array.from({ length: items }, () => "severe QTY_OUTPUT"),
  );
  expect(lies?.discrepancies.every(({ valueNano }) => BigInt(valueNano) > 0n)).toBe(true);
  const { code, stdout } = await cli("statement", "reconcile", "--period", "today");
  expect([code, stdout]).toEqual([2, expect.stringContaining("QTY_OUTPUT")]);
});

test("each vendor's witness has signed its log", async () => {
  const unseen = async (): Promise<string[]> => {
    const { stdout } = await cli("ledger", "logs", "-o", "json");
    const logs = JSON.parse(stdout) as { logId: string; size: string; witnessedSize: string }[];
    return logs
      .filter(({ logId }) => logId.startsWith("vendor:"))
      .filter(({ size, witnessedSize }) => size !== witnessedSize)
      .map(({ logId }) => logId);
  };
  await expect.poll(unseen, { timeout: 40_000 }).toEqual([]);
});

test("what the banner says to try works as it is printed", async () => {
  const [, printed = ""] = /Try it, in another terminal:\n\n([^]*?)\nCtrl-C/.exec(dev.banner) ?? [];
  const commands = printed.replaceAll(/^ {2}/gm, "");
  expect(commands).toContain("statement reconcile --period today");
  // Somebody who claims too much is found, which is an exit of 2; anything else has to end well.
  const script = commands.replace(
    /^(npx tokengrid statement reconcile --period \w+).*$/m,
    "$1 || [ $? = 2 ]",
  );
  const path = `${dirname(process.execPath)}${delimiter}${process.env["PATH"]}`;
  const ended = await promisify(execFile)("bash", ["-euo", "pipefail", "-c", script], {
    env: { ...process.env, PATH: path },
    maxBuffer: 16 * 1024 * 1024,
  });
  expect(ended.stdout).toContain("record.tlog-proof");
  expect(ended.stdout).toContain("WITNESSED");
});

const sku = `
skuId: tiny
version: 1
title: Tiny
unit: PACKAGE_UNIT_TOKENS
quantity: 200
priceNano: 1000000000
validityUs: 86400000000
burn: { denominator: 1, rates: [{ modelId: "*", numerator: 1 }] }
overage: OVERAGE_STOP
priority: 10
`;

interface Wallet {
  readonly units: string;
  readonly used: string;
}

test("a package is used up by what is served, and then requests are refused", async () => {
  writeFileSync(join(data, "sku.yaml"), sku);
  expect((await cli("package", "publish", join(data, "sku.yaml"))).stderr).toBe("");
  expect((await cli("package", "buy", "tiny", "--tenant", "dev", "--id", "tiny1")).code).toBe(0);
  const wallet = async (): Promise<Wallet> => {
    const { stdout } = await cli("package", "wallets", "tiny1", "-o", "json");
    const { wallets } = JSON.parse(stdout) as { readonly wallets: readonly Wallet[] };
    return wallets[0] ?? { units: "", used: "" };
  };
  const used = await chat("sim-chat", "the first of the package");
  await expect.poll(async () => (await wallet()).used, { timeout: 30_000 }).toBe(String(used));
  const refused = async (): Promise<unknown> => {
    for (let n = 0; n < 20; n++) await chat("sim-chat", `number ${n} of the package`);
    return undefined;
  };
  await expect(refused()).rejects.toMatchObject({
    ...{ status: 429, code: "insufficient_quota", type: "insufficient_quota" },
  });
});
