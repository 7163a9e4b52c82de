import { z } from "zod";
import type { GatewayId, OriginId } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import type { Registry as Metrics } from "../io/metrics.ts";
import type { Registry } from "../io/registry.ts";

export interface GatewayOptions {
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly gatewayId: GatewayId;
  /** Where this gateway stands, and so where its tenants' demand arises. */
  readonly origin: OriginId;
  /** Of a control replica. */
  readonly rpcUrl: string;
  /** Of settlement; the same address where one process serves both. */
  readonly settlementUrl: string;
  readonly registry: Registry;
  readonly spoolFolder: string;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** For control and settlement; undefined where both listen on loopback. */
  readonly credential?: string | undefined;
}

export interface Gateway {
  readonly port: number;
  /** It could serve a request now. */
  isReady(): boolean;
  /** Takes nothing more, lets streams end for a while, ships what it can, and closes the spool. */
  close(): Promise<void>;
}

export const configSchema = z.strictObject({
  host: z.string().default("127.0.0.1"),
  port: z.int().min(0).max(65_535).default(8080),
  gatewayId: z.string().min(1).max(64).default("gateway-1"),
  origin: z.string().min(1).max(64).default("shanghai"),
  rpcUrl: z.url().default("http://127.0.0.1:7233"),
  settlementUrl: z.url().default("http://127.0.0.1:7233"),
  registryPath: z.string().min(1).default(".tokengrid/registry.sqlite"),
  spoolFolder: z.string().min(1).default(".tokengrid/spool"),
  metricsHost: z.string().default("127.0.0.1"),
  metricsPort: z.int().min(0).max(65_535).default(9464),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type GatewayConfig = z.output<typeof configSchema>;
