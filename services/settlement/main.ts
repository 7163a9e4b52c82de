import type { ConnectRouter } from "@connectrpc/connect";
import { z } from "zod";
import type { Contract } from "../core/settlement/contract.ts";
import type { VendorId } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import type { Registry as Metrics } from "../io/metrics.ts";
import type { Registry } from "../io/registry.ts";

export interface SettlementOptions {
  readonly registry: Registry;
  /** The SQLite file of the books. */
  readonly ledgerPath: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** By vendor; the others have the house default. */
  readonly contracts?: ReadonlyMap<VendorId, Contract>;
}

export interface Settlement {
  /** UsageService and SettlementService. */
  routes(router: ConnectRouter): void;
  isReady(): boolean;
  /** Waits for what was accepted to be durable. */
  close(): Promise<void>;
}

export const configSchema = z.strictObject({
  rpc: z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) }),
  metrics: z.strictObject({ host: z.string().min(1), port: z.int().min(0).max(65_535) }),
  registryPath: z.string().min(1),
  ledgerPath: z.string().min(1),
  logLevel: z.enum(["debug", "info", "warn", "error"]),
});

export type SettlementConfig = z.output<typeof configSchema>;
