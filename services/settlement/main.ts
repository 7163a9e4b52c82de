import { dirname } from "node:path";
import { z } from "zod";
import { systemClock } from "../io/clock.ts";
import { openIdentities } from "../io/grpc-identity.ts";
import { openLog } from "../io/log.ts";
import { openMetrics, serveMetrics } from "../io/metrics.ts";
import { openSqliteRegistry } from "../io/registry-sqlite.ts";
import { serveRpc } from "../io/rpc-server.ts";
import { openSettlement } from "./compose.ts";

export { openSettlement, type Settlement } from "./compose.ts";

const listen = z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) });

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
    logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
  })
  .transform((config, { addIssue }) => {
    const { ledgerPath, ledgerUrl, secretsPath, ...rest } = config;
    const ledger = ledgerPath ?? ledgerUrl;
    if (ledger === undefined || (ledgerPath !== undefined && ledgerUrl !== undefined)) {
      const found = ledger === undefined ? "neither" : "both";
      addIssue(`expected either ledgerPath or ledgerUrl, found ${found}`);
      return z.NEVER;
    }
    const secrets = secretsPath ?? (ledgerPath && dirname(ledgerPath));
    if (secrets === undefined) {
      addIssue("expected secretsPath beside ledgerUrl, found none");
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
  const { ledger, secretsPath, domain } = config;
  const settlement = await openSettlement({
    ...{ registry, ledger, secretsPath, domain, log, metrics, clock: systemClock, signal },
  });
  const isReady = (): boolean => settlement.isReady();
  await serveMetrics({ ...config.metrics, registry: metrics, isReady, signal });
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
