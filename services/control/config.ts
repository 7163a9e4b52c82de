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
  /** All decisions, to be explained and replayed: the oldest files go when either bound is passed. */
  journal: z
    .strictObject({
      /** 64 MiB to 1 TiB; a decision takes about 1 KiB. */
      bytesMax: z
        .number()
        .int()
        .min(64 * 1024 ** 2)
        .max(1024 ** 4)
        .default(512 * 1024 ** 2),
      daysMax: z.number().int().min(1).max(3_660).default(30),
    })
    .prefault({}),
  /** The newest decisions in memory, to be explained at once and watched. */
  decisions: z
    .strictObject({
      countMax: z.number().int().min(1).max(10_000_000).default(100_000),
      minutesMax: z.number().int().min(1).max(1_440).default(60),
      /** Above it a part of each tenth of a second is found in the journal only. */
      perSecondMax: z.number().int().min(10).max(100_000).default(1_000),
    })
    .prefault({}),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type ControlConfig = z.output<typeof configSchema>;
