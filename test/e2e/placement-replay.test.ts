import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { createClient, type Transport } from "@connectrpc/connect";
import { stringify } from "yaml";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { ensureKey } from "../../services/cli/dev/keys.ts";
import type { AttemptId, RequestId } from "../../services/core/units.ts";
import { readBatches } from "../../services/io/journal-reader.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import { openSegments } from "../../services/io/segments.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import {
  AttemptResult,
  PlacementService,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { messages } from "../control/fixtures.ts";
import { northgrid } from "../core/fixtures.ts";
import { tokengrid } from "./dev-process.ts";

vi.setConfig({ testTimeout: 60_000, hookTimeout: 120_000 });

const folder = mkdtempSync(join(tmpdir(), "tokengrid-replay-"));
const journalFolder = join(folder, "journal");
const registryPath = join(folder, "registry.sqlite");
let control: ChildProcess | undefined;
let url: string;

/** One run that is killed while it places, and one that ends in order. */
beforeAll(async () => {
  const registry = await openSqliteRegistry(registryPath);
  const path = join(folder, "vendor.key");
  const credential = await ensureKey({ registry, path, kind: "vendor", subject: northgrid });
  await registry.close();
  url = await start();
  await prepare(rpcTransport({ url, credential }));
  await place(rpcTransport({ url }), "first", 200);
  await ended("SIGKILL");
  url = await start();
  await place(rpcTransport({ url }), "second", 20);
});

afterAll(async () => {
  await ended("SIGKILL");
  rmSync(folder, { recursive: true });
});

async function start(): Promise<string> {
  const path = join(folder, "control.yaml");
  const any = { host: "127.0.0.1", port: 0 };
  writeFileSync(
    path,
    stringify({ rpc: any, console: any, metrics: any, registryPath, journalFolder }),
  );
  const child = spawn(
    process.execPath,
    ["services/cli/main.ts", "serve", "control", "--config", path],
    { stdio: ["ignore", "inherit", "pipe"] },
  );
  control = child;
  for await (const line of createInterface({ input: child.stderr })) {
    const said = JSON.parse(line) as { msg?: string; port?: number };
    if (said.msg !== "control listens") continue;
    child.stderr.resume();
    return `http://127.0.0.1:${said.port ?? 0}`;
  }
  throw new Error("expected a control replica that listens, found one that ended");
}

async function ended(signal: "SIGKILL" | "SIGTERM"): Promise<void> {
  if (control === undefined || control.exitCode !== null || control.signalCode !== null) return;
  const over = once(control, "exit");
  control.kill(signal);
  await over;
}

const prices = messages.prices();

async function prepare(transport: Transport): Promise<void> {
  const pools = createClient(PoolService, transport);
  await pools.publishPrices({ book: prices });
  for (const id of ["a", "b"]) await pools.register({ pool: messages.registration(id) });
  async function* reports() {
    for (const id of ["a", "b"]) yield messages.report(id);
  }
  for await (const _ of pools.report(reports()));
}

async function place(transport: Transport, name: string, count: number): Promise<void> {
  const placement = createClient(PlacementService, transport);
  for (let number = 0; number < count; number++) {
    const request = `${name}-${number}` as RequestId;
    const attempt = `${request}/1` as AttemptId;
    const { outcome } = await placement.place(messages.place({ request, attempt }));
    if (outcome.case !== "placement" || number % 3 === 0) continue;
    const { leaseId = "", fence = 0n } = outcome.value.lease ?? {};
    const said = { result: AttemptResult.OK, ttftMs: 100, durationMs: 900, outputTokens: 40 };
    await placement.release({ leaseId, fence, outcome: said });
  }
}

async function replay(journal: string, ...words: string[]) {
  return tokengrid("placement", "replay", "--journal", journal, ...words);
}

function copied(name: string): { readonly path: string; readonly files: readonly string[] } {
  const path = join(folder, name);
  cpSync(journalFolder, path, { recursive: true });
  const files = readdirSync(path).filter((file) => file.endsWith(".seg"));
  return { path, files: files.toSorted() };
}

test("the journal of a killed run and of the one after it is proven, while that runs", async () => {
  const { code, stdout } = await replay(journalFolder, "-o", "json");
  expect(code).toBe(0);
  const { proof } = JSON.parse(stdout) as { proof: Record<string, unknown> };
  expect(proof).toMatchObject({ isProven: true, differing: 0, unsaid: 0, gaps: [] });
  expect(proof["decisions"]).toBeGreaterThanOrEqual(200);
});

test("the replica itself gives the same journal, and explains what its last life decided", async () => {
  const { code, stdout } = await tokengrid("placement", "replay", "--from-server", "--addr", url);
  expect([code, stdout]).toEqual([0, expect.stringContaining("yes: every decision")]);
  const explained = await tokengrid("placement", "explain", "first-7", "--addr", url);
  expect([explained.code, explained.stdout]).toEqual([
    0,
    expect.stringMatching(/request +first-7\n[^]*decision +[ab] at 0\.\d+ CNY/),
  ]);
  const unknown = await tokengrid("placement", "explain", "nobody", "--addr", url);
  expect([unknown.code, unknown.stderr]).toEqual([2, expect.stringContaining("nobody")]);
});

test("who wants to know no more than a part of what the replica has is not kept waiting for the rest", async () => {
  const words = ["--addr", url, "--until", "2020-01-01T00:00:00Z"];
  const { code, stdout } = await tokengrid("placement", "replay", ...words);
  expect([code, stdout]).toEqual([2, expect.stringContaining("no decision to replay")]);
});

test("a plot of nothing and two journals are no answer, but a mistake", async () => {
  const plot = await replay(journalFolder, "--plot", join(folder, "none.svg"));
  expect([plot.code, plot.stderr]).toEqual([1, expect.stringContaining("--plot: expected")]);
  const both = await replay(journalFolder, "--from-server");
  expect([both.code, both.stderr]).toEqual([1, expect.stringContaining("found both")]);
});

test("a flipped byte is named, and nothing is proven", async () => {
  const { path, files } = copied("flipped");
  const file = join(path, files[0] ?? "");
  const bytes = readFileSync(file);
  const at = bytes.indexOf("first-50");
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  writeFileSync(file, bytes);
  const { code, stdout } = await replay(path);
  expect([code, stdout]).toEqual([2, expect.stringContaining("a check sum does not fit")]);
});

test("an answer that was changed together with its check sum is found, with its bills", async () => {
  const forged = join(folder, "forged");
  const segments = await openSegments({ folder: forged, segmentBytesMax: 1e9 });
  for await (const batch of readBatches(journalFolder)) {
    if (batch.kind === "lost") continue;
    const text = batch.bytes.toString().replace(/("attempt":"first-9\/1".*"given":"\+)\d+/, "$11");
    await segments.append(Buffer.from(text));
  }
  await segments.close();
  const { code, stdout } = await replay(forged);
  expect(code).toBe(2);
  expect(stdout).toMatch(/FIRST DIFFERENCE: placement-requested/);
  expect(stdout).toMatch(/recorded +[ab] at 0\.000000001 CNY/);
  expect(stdout).toMatch(/attempt +first-9\/1\n/);
});

test("what if: no pool but b, other prices, another policy", async () => {
  const drained = await replay(journalFolder, "--drain", "id=a", "-o", "json");
  const { whatIf } = JSON.parse(drained.stdout) as { whatIf: Record<string, unknown> };
  expect(whatIf).toMatchObject({
    change: { drained: ["id=a"] },
    flows: expect.arrayContaining([expect.objectContaining({ from: "a" })]),
  });
  const nobody = await replay(journalFolder, "--drain", "side=north");
  expect([nobody.code, nobody.stderr]).toEqual([2, expect.stringContaining("found none")]);

  const policyFile = join(folder, "policy.yaml");
  const { stdout: yaml } = await tokengrid("policy", "get", "--addr", url);
  writeFileSync(policyFile, yaml);
  const same = await replay(journalFolder, "--policy", policyFile, "--no-color");
  expect([same.code, same.stdout]).toEqual([0, expect.stringContaining("No decision changed.")]);

  const plot = join(folder, "plot.svg");
  await replay(journalFolder, "--drain", "vendor=northgrid,id=a", "--plot", plot);
  expect(readFileSync(plot, "utf8")).toMatch(/^<svg [^]*class="other"[^]*<\/svg>\n$/);
});
