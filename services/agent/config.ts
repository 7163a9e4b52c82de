import { z } from "zod";
import type { Figure } from "../core/figure.ts";
import type { PoolRegistration, ServedModel } from "../core/pool.ts";
import type { Instant, ModelId, PoolId, RegionId, VendorId } from "../core/units.ts";
import { claimsSchema } from "./claims-config.ts";
import { dialectNames } from "./dialects.ts";
import { witnessSchema } from "./witness-config.ts";

/** A declaration stands until it is replaced; the protocol carries ages of up to 49 days. */
const DECLARED_VALID_MS = 30 * 86_400_000;

const id = z.string().regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "expected lower-case letters, digits, -");
const count = z.int().positive();
const coefficient = z.number().min(0);

const modelSchema = z.strictObject({
  model: z.string().min(1).max(128),
  /** The engine's own name for it. Absent: the same. */
  engineModelName: z.string().max(128).optional(),
  version: z.string().max(64).default(""),
  contextTokensMax: count,
  slotsTotal: count.max(1_000_000),
  replicas: count.max(100_000).default(1),
  engineProfile: z
    .strictObject({
      stepBaseMs: coefficient,
      stepMsPerSequence: coefficient,
      stepMsPerKvToken: coefficient,
      prefillMsPerToken: z.number().positive(),
      prefillChunkTokens: count,
      kvTokensTotal: count,
      sequencesMax: count,
    })
    .optional(),
  capabilities: z
    .array(
      z.enum(["continuous-usage", "cache-report", "reasoning-count", "token-ids", "usage-query"]),
    )
    .default([]),
});

const poolSchema = z.strictObject({
  id,
  vendor: id,
  region: id,
  endpoint: z.url().max(512),
  engine: z.enum(["vllm", "sglang", "trtllm", "llamacpp", "openai", "anthropic", "other"]),
  models: z.array(modelSchema).min(1).max(64),
  tags: z.array(z.string().min(1).max(64)).max(32).default([]),
  accelerator: z.string().max(64).default(""),
  pue: z.number().min(1).optional(),
  greenShare: z.number().min(0).max(1).optional(),
  dataClasses: z
    .array(z.enum(["general", "personal", "important", "core"]))
    .min(1)
    .default(["general"]),
  mlpsLevel: z.int().min(1).max(5).default(1),
  powerModel: z
    .strictObject({
      accelerators: count,
      idleWatts: z.number().min(0),
      nominalWatts: z.number().min(0),
      steepness: z.number().positive(),
      midpointLog2: z.number(),
      hostWatts: z.number().min(0),
    })
    .optional(),
});

const powerSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("none") }),
  z.strictObject({
    kind: z.enum(["dcgm", "npu"]),
    url: z.url(),
    /** Draw of the nodes besides their accelerators. */
    hostWatts: z.number().min(0).default(0),
  }),
]);

/** Settings of `tokengrid agent`. */
export const configSchema = z.strictObject({
  pool: poolSchema,
  metricsUrl: z.url(),
  /** Whose metric names the engine has. */
  dialect: z.enum(dialectNames),
  power: powerSchema.default({ kind: "none" }),
  rpcUrl: z.url().default("http://127.0.0.1:7233"),
  /** File with the vendor's key. Empty: none is sent. */
  credentialFile: z.string().default(""),
  /** File with the engine's key, where it guards its metrics. Empty: none is sent. */
  engineKeyFile: z.string().default(""),
  intervalMs: z.int().min(100).max(60_000).default(1_000),
  /** Of the agent itself: how its process fares. */
  metrics: z
    .strictObject({
      host: z.string().min(1).default("127.0.0.1"),
      port: z.int().min(0).max(65_535).default(9_467),
    })
    .prefault({}),
  /** Absent: this agent witnesses nothing. */
  witness: witnessSchema.optional(),
  /** Absent: this agent claims nothing. */
  claims: claimsSchema.optional(),
  logLevel: z.enum(["debug", "info", "warn", "error", "silent"]).default("info"),
});

export type AgentConfig = z.output<typeof configSchema>;

/** What the vendor wrote, as it is registered; `now` is when it was declared. */
export function toRegistration(pool: AgentConfig["pool"], now: Instant): PoolRegistration {
  const declared = (value: number | undefined): Figure | undefined =>
    value === undefined
      ? undefined
      : { value, source: "declared", observedAt: now, validMs: DECLARED_VALID_MS };
  return {
    id: pool.id as PoolId,
    vendor: pool.vendor as VendorId,
    region: pool.region as RegionId,
    endpoint: pool.endpoint,
    engine: pool.engine,
    models: pool.models.map(toServedModel),
    tags: new Set(pool.tags),
    accelerator: pool.accelerator,
    pue: declared(pool.pue),
    greenShare: declared(pool.greenShare),
    dataClasses: new Set(pool.dataClasses),
    mlpsLevel: pool.mlpsLevel,
    generation: 0,
    powerModel: pool.powerModel,
  };
}

function toServedModel(served: AgentConfig["pool"]["models"][number]): ServedModel {
  const { model, engineModelName = model, engineProfile, capabilities, ...rest } = served;
  return {
    ...rest,
    model: model as ModelId,
    engineModelName,
    engineProfile,
    capabilities: new Set(capabilities),
  };
}
