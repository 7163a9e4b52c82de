import { z } from "zod";

const port = z.number().int().min(0).max(65_535);

/** Settings of the role. Units are in the names; nothing is optional after parsing. */
export const configSchema = z.strictObject({
  /** Name of this replica; leases carry it. */
  replica: z.string().min(1).default("control-1"),
  rpc: z
    .strictObject({
      host: z.string().min(1).default("127.0.0.1"),
      port: port.default(7_233),
      /** Keys travel in the clear: off loopback only where the network is trusted. */
      isCleartextAllowed: z.boolean().default(false),
    })
    .prefault({}),
  console: z
    .strictObject({ host: z.string().min(1).default("127.0.0.1"), port: port.default(8_233) })
    .prefault({}),
  metrics: z
    .strictObject({ host: z.string().min(1).default("127.0.0.1"), port: port.default(9_465) })
    .prefault({}),
  registryPath: z.string().min(1),
  journalFolder: z.string().min(1),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type ControlConfig = z.output<typeof configSchema>;
