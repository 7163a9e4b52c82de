import { copyFileSync, mkdtempSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { expect, onTestFinished, test } from "vitest";
import { formatKey, noteKey } from "../../services/core/settlement/proof/note.ts";
import { systemClock } from "../../services/io/clock.ts";
import { checked } from "../../services/io/config.ts";
import { identityKey, localOperator } from "../../services/io/grpc-identity.ts";
import { serveMetrics } from "../../services/io/metrics.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import { newSigningKey, openSigningKey, sha256 } from "../../services/io/signing.ts";
import { openSettlement, type SettlementOptions } from "../../services/settlement/compose.ts";
import { configSchema } from "../../services/settlement/main.ts";
import { LogKeyRole, LogService } from "../../services/wire/gen/tokengrid/v1/log_pb.js";
import { log, witnessKey } from "./log-fixtures.ts";

const north = "vendor:northgrid";
const folder = (): string => mkdtempSync(join(tmpdir(), "operator-"));

/** An operator over a folder, with what its settings say. */
async function open(path: string, settings: Partial<SettlementOptions> = {}) {
  const registry = await openSqliteRegistry(":memory:");
  const stop = new AbortController();
  const { signal } = stop;
  const settlement = await openSettlement({
    ...{ registry, log, signal, metrics: new Metrics(), clock: systemClock },
    ledger: join(path, "ledger.sqlite"),
    secretsPath: join(path, "secrets"),
    domain: "grid.example",
    ...settings,
  });
  const transport = createRouterTransport((router) => settlement.routes(router), {
    router: {
      requestGate: ({ values }) => {
        values.set(identityKey, localOperator);
      },
    },
  });
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    stop.abort();
    await settlement.close();
    await registry.close();
  };
  onTestFinished(close);
  return { settlement, client: createClient(LogService, transport), signal, close };
}

type Client = Awaited<ReturnType<typeof open>>["client"];

/** Each of them is a leaf of the log. */
async function addLeaf(client: Client): Promise<void> {
  const key = formatKey(witnessKey("someone.example/witness").key);
  await client.trustKey({ logId: north, role: LogKeyRole.WITNESS, key, isWithdrawn: false });
}

test("two operators with a port each: one asks over HTTP, the other signs, and the proof has both", async () => {
  const other = await open(folder(), {
    domain: "other.example",
    witnessListen: { host: "127.0.0.1", port: 0, prefix: "/w" },
  });
  const { witnessKey: otherKey } = await other.client.listKeys({ logId: north });
  const settings = checked(
    "settlement.yaml",
    {
      rpc: { host: "127.0.0.1", port: 0 },
      metrics: { host: "127.0.0.1", port: 0 },
      registryPath: "registry.sqlite",
      ledgerPath: "ledger.sqlite",
      witnesses: [{ url: `http://127.0.0.1:${other.settlement.witnessPort}/w`, key: otherKey }],
    },
    configSchema,
  );
  const own = await open(folder(), { witnesses: settings.witnesses });
  await addLeaf(own.client);
  const { logKey } = await own.client.listKeys({ logId: north });
  const trusted = { logId: north, role: LogKeyRole.LOG, key: logKey, isWithdrawn: false };
  await other.client.trustKey(trusted);
  await expect
    .poll(async () => {
      const { logs } = await own.client.sealLogs({});
      return logs.map(({ logId, witnessedSize }) => [logId, witnessedSize]);
    })
    .toEqual([[north, 1n]]);
  const { checkpoint } = await own.client.getCheckpoint({ logId: north });
  expect(checkpoint).toContain("\n\u2014 other.example/witness ");
});

test("an old ledger that was put back: not ready, and why, until the right one is there (C19)", async () => {
  const path = folder();
  const first = await open(path);
  await addLeaf(first.client);
  await first.client.sealLogs({});
  await first.close();
  const [ledger, backup] = [join(path, "ledger.sqlite"), join(path, "backup.sqlite")];
  copyFileSync(ledger, backup);
  const second = await open(path);
  await addLeaf(second.client);
  await second.client.sealLogs({});
  expect([second.settlement.isReady(), second.settlement.whyNot()]).toEqual([true, undefined]);
  await second.close();
  renameSync(ledger, join(path, "newest.sqlite"));
  copyFileSync(backup, ledger);

  const restored = await open(path);
  const { settlement, signal } = restored;
  const port = await serveMetrics({
    ...{ host: "127.0.0.1", port: 0, registry: new Metrics(), signal },
    isReady: () => settlement.isReady(),
    whyNot: () => settlement.whyNot(),
  });
  const ready = await fetch(`http://127.0.0.1:${port}/readyz`);
  expect([ready.status, await ready.text()]).toEqual([
    503,
    `nothing is signed for 1 logs, such as ${north}: 2 leaves were signed, the log has 1\n`,
  ]);
  await restored.close();

  copyFileSync(join(path, "newest.sqlite"), ledger);
  const healed = await open(path);
  expect(healed.settlement.isReady()).toBe(true);
});

test("another operator.pem signs once the key before, or the root key, says so (C20)", async () => {
  const path = folder();
  const rootKeyPath = join(path, "root.pem");
  await openSigningKey(rootKeyPath);
  // Whoever may ever need a root key names it from the start.
  const first = await open(path, { rootKeyPath });
  await addLeaf(first.client);
  await first.client.sealLogs({});
  await first.close();
  const [current, previousKeyPath] = [join(path, "secrets", "operator.pem"), join(path, "old.pem")];
  renameSync(current, previousKeyPath);

  const refused = await open(path);
  expect(refused.settlement.whyNot()).toMatch(/expected the key [0-9a-f]{64} .*previousKeyPath/);
  await refused.close();
  const second = await open(path, { previousKeyPath, rootKeyPath });
  expect(second.settlement.whyNot()).toBe(undefined);
  const [state] = (await second.client.sealLogs({})).logs;
  expect(state).toMatchObject({ size: 2n, signedSize: 2n, refusal: "" });
  await second.close();

  renameSync(current, join(path, "lost.pem"));
  const third = await open(path, { rootKeyPath });
  const { publicKey } = await openSigningKey(current);
  const { logKey } = await third.client.listKeys({ logId: north });
  const name = "grid.example/tokengrid/vendor/northgrid";
  expect(logKey).toBe(formatKey(noteKey({ name, type: "signature", publicKey }, sha256)));
  expect((await third.client.sealLogs({})).logs).toMatchObject([{ signedSize: 3n, refusal: "" }]);
});

test("a key file that is said and not there is an error, not a new key", async () => {
  const path = folder();
  const previousKeyPath = join(path, "gone.pem");
  await expect(open(path, { previousKeyPath })).rejects.toThrow("expected a key, found no file");
});

test("settings with a log's key for a witness's, or no key at all, are refused by name", () => {
  const base = {
    rpc: { host: "127.0.0.1", port: 0 },
    metrics: { host: "127.0.0.1", port: 0 },
    registryPath: "registry.sqlite",
    ledgerPath: "ledger.sqlite",
  };
  const { publicKey } = newSigningKey();
  const name = "grid.example/tokengrid/vendor/northgrid";
  const logKey = formatKey(noteKey({ name, type: "signature", publicKey }, sha256));
  const good = formatKey(witnessKey("northgrid.example/witness").key);
  const said = (witness: Readonly<Record<string, unknown>>) => () =>
    checked("settlement.yaml", { ...base, witnesses: [witness] }, configSchema);
  const url = "http://127.0.0.1:1";
  expect(said({ url, key: logKey })).toThrow("expected a witness's key, found a log's");
  expect(said({ url, key: "x" })).toThrow("expected a key as name+id+base64");
  expect(said({ url, key: good, logs: ["northgrid"] })).toThrow("such as vendor:northgrid");
  expect(said({ url: "file:///etc", key: good })).toThrow("witnesses[0].url");
  expect(said({ url, key: good, logs: [north] })()).toMatchObject({
    witnesses: [{ url, logs: new Set([north]) }],
  });
});
