import { dirname } from "node:path";
import { z } from "zod";
import { systemClock } from "../io/clock.ts";
import { parseKey } from "../core/settlement/proof/note.ts";
import { openIdentities } from "../io/grpc-identity.ts";
import { openLog } from "../io/log.ts";
import { openMetrics, serveMetrics } from "../io/metrics.ts";
import { openSqliteRegistry } from "../io/registry-sqlite.ts";
import { serveRpc } from "../io/rpc-server.ts";
import { sha256 } from "../io/signing.ts";
import { openSettlement } from "./compose.ts";
import type { LogId } from "./logs/log-reader.ts";

export { openSettlement, type Settlement } from "./compose.ts";
export { rebuildLedger } from "./logs/rebuild-ledger.ts";
export {
  compareLog,
  missingLeaves,
  RebuildError,
  stillLost,
  type LogComparison,
} from "./logs/rebuild.ts";

const listen = z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) });

const witnessesMax = 32;

/** A witness's key, as `tokengrid witness key` prints it: `name+id+base64`. */
const witnessKey = z
  .string()
  .max(512)
  .transform((text, context) => {
    const key = parseKey(text, sha256);
    if (typeof key !== "string" && key.type === "cosignature") return key;
    context.addIssue(
      typeof key === "string" ? key : `expected a witness's key, found a log's: ${text}`,
    );
    return z.NEVER;
  });

const logId = z
  .string()
  .regex(/^((vendor|tenant|model|channel):.+|internal)$/, "expected such as vendor:northgrid")
  .transform((text) => text as LogId);

const witness = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  key: witnessKey,
  logs: z
    .array(logId)
    .min(1)
    .transform((logs) => new Set(logs))
    .optional(),
});

export const configSchema = z
  .strictObject({
    rpc: listen,
    metrics: listen,
    registryPath: z.string().min(1),
    /** A file for SQLite; or else `ledgerUrl`. */
    ledgerPath: z.string().min(1).optional(),
    ledgerUrl: z
      .string()
      .regex(/^postgres(ql)?:\/\//)
      .optional(),
    /** Folder of the signing key and the salt; beside the ledger's file if it is not said. */
    secretsPath: z.string().min(1).optional(),
    domain: z.string().min(1).default("localhost"),
    /** After `operator.pem` was replaced: the key before, or the root key if that one is lost. */
    previousKeyPath: z.string().min(1).optional(),
    rootKeyPath: z.string().min(1).optional(),
    /** Witnesses that are asked over HTTP (C2SP tlog-witness); `logs` are all if it is not said. */
    witnesses: z.array(witness).max(witnessesMax).default([]),
    /** Where the operator is such a witness for its counterparties. */
    witness: listen.extend({ prefix: z.string().max(256).default("") }).optional(),
    logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
  })
  .transform((config, context) => {
    const { ledgerPath, ledgerUrl, secretsPath, ...rest } = config;
    const ledger = ledgerPath ?? ledgerUrl;
    if (ledger === undefined || (ledgerPath !== undefined && ledgerUrl !== undefined)) {
      const found = ledger === undefined ? "neither" : "both";
      context.addIssue(`expected either ledgerPath or ledgerUrl, found ${found}`);
      return z.NEVER;
    }
    const secrets = secretsPath ?? (ledgerPath && dirname(ledgerPath));
    if (secrets === undefined) {
      context.addIssue("expected secretsPath beside ledgerUrl, found none");
      return z.NEVER;
    }
    return { ...rest, ledger, secretsPath: secrets };
  });

export type SettlementConfig = z.output<typeof configSchema>;

/** Runs the role until the signal says stop. */
export async function start(config: SettlementConfig, signal: AbortSignal): Promise<void> {
  const { registry: metrics, onLogMessage } = openMetrics("0.1.0");
  const log = openLog({ role: "settlement", level: config.logLevel, onMessage: onLogMessage });
  const registry = await openSqliteRegistry(config.registryPath);
  const settlement = await openSettlement({
    ...config,
    witnessListen: config.witness,
    ...{ registry, log, metrics, clock: systemClock, signal },
  });
  const isReady = (): boolean => settlement.isReady();
  const whyNot = (): string | undefined => settlement.whyNot();
  await serveMetrics({ ...config.metrics, registry: metrics, isReady, whyNot, signal });
  const server = await serveRpc({
    ...config.rpc,
    routes: (router) => settlement.routes(router),
    identify: await openIdentities({ registry, log, signal }),
    isReady,
    signal,
    log,
  });
  log.info({ port: server.port }, "settlement listens");
  await aborted(signal);
  await server.close();
  await settlement.close();
  await registry.close();
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => {
    signal.addEventListener("abort", resolve, { once: true });
  });
}
