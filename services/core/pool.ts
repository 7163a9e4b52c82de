import type { EngineFit } from "./engine-fit.ts";
import type { Figure } from "./figure.ts";
import type { PredictionErrors } from "./prediction-error.ts";
import type { Region } from "./region.ts";
import type { BookId, Instant, ModelId, OriginId, PoolId, RegionId, VendorId } from "./units.ts";

export type EngineKind =
  "vllm" | "sglang" | "trtllm" | "llamacpp" | "openai" | "anthropic" | "other";

export type EngineCapability =
  "continuous-usage" | "cache-report" | "reasoning-count" | "token-ids" | "usage-query";

/** 一般数据, 个人信息, 重要数据, 核心数据. Declared by the tenant, never inferred. */
export type DataClass = "general" | "personal" | "important" | "core";

/** What a vendor registers. Changes seldom, durable in the registry before it counts. */
export interface PoolRegistration {
  readonly id: PoolId;
  readonly vendor: VendorId;
  readonly region: RegionId;
  /** Base address of the engine; `/v1/chat/completions` and `/health` are below it. */
  readonly endpoint: string;
  readonly engine: EngineKind;
  readonly models: readonly ServedModel[];
  readonly tags: ReadonlySet<string>;
  readonly accelerator: string;
  /** Site energy / IT energy, at least 1. Undefined means unknown: the region's target is used. */
  readonly pue: Figure | undefined;
  /** Share of purchased green power, 0..1. Undefined means unknown. */
  readonly greenShare: Figure | undefined;
  readonly dataClasses: ReadonlySet<DataClass>;
  /** Level of the multi-level protection scheme (等保), 1..5. */
  readonly mlpsLevel: number;
  /** Fences an older agent of the same pool. */
  readonly generation: number;
  readonly powerModel: PowerModel | undefined;
}

/** A model as a pool serves it. */
export interface ServedModel {
  readonly model: ModelId;
  /** The engine's own name for it, sent upstream. */
  readonly engineModelName: string;
  readonly version: string;
  readonly contextTokensMax: number;
  /** Concurrent requests within the pool's objectives, over all replicas. */
  readonly slotsTotal: number;
  readonly replicas: number;
  /** Coefficients of one replica as declared. Undefined means unknown. */
  readonly engineProfile: EngineProfile | undefined;
  readonly capabilities: ReadonlySet<EngineCapability>;
}

/** One step of a replica takes base + perSequence·B + perKvToken·K + prefill·n ms. */
export interface EngineProfile {
  readonly stepBaseMs: number;
  readonly stepMsPerSequence: number;
  readonly stepMsPerKvToken: number;
  readonly prefillMsPerToken: number;
  readonly prefillChunkTokens: number;
  /** KV cache of one replica, in tokens. */
  readonly kvTokensTotal: number;
  readonly sequencesMax: number;
}

/** Draw of one accelerator at batch B: idle + (nominal − idle) / (1 + exp(−steepness·(log2 B − midpoint))). */
export interface PowerModel {
  /** Accelerators of one replica. */
  readonly accelerators: number;
  readonly idleWatts: number;
  readonly nominalWatts: number;
  readonly steepness: number;
  readonly midpointLog2: number;
  /** The rest of the node, per replica. */
  readonly hostWatts: number;
}

/** What the agent of a pool says. An undefined figure is unknown, not 0. */
export interface PoolReport {
  readonly pool: PoolId;
  readonly generation: number;
  readonly sequence: number;
  readonly models: readonly ModelReport[];
  readonly powerWatts: Figure | undefined;
  readonly energyJoulesTotal: Figure | undefined;
  readonly pue: Figure | undefined;
  readonly greenShare: Figure | undefined;
}

/** What the engine of one model says. Counters only grow; a smaller value means it was restarted. */
export interface ModelReport {
  readonly model: ModelId;
  readonly runningRequests: Figure | undefined;
  readonly waitingRequests: Figure | undefined;
  /** 0..1 of the KV cache held by running requests. */
  readonly kvUsedRatio: Figure | undefined;
  readonly promptTokensTotal: Figure | undefined;
  readonly cachedPromptTokensTotal: Figure | undefined;
  readonly outputTokensTotal: Figure | undefined;
  readonly ttftMsP50: Figure | undefined;
  readonly ttftMsP95: Figure | undefined;
  readonly itlMsMean: Figure | undefined;
  readonly slotsTotal: Figure | undefined;
  readonly kvTokensTotal: Figure | undefined;
}

/** Smoothed over our own attempts at one pool and model. Undefined is not known yet. */
export interface Observed {
  readonly attempts: number;
  readonly ttftMs: number | undefined;
  readonly itlMs: number | undefined;
  /** 0..1. */
  readonly errorRatio: number;
  readonly tokensPerSecond: number | undefined;
  /** Mean of observed − predicted time to first token, in ms: what the model lacks at this pool. */
  readonly ttftOffsetMs: number;
  /** Mean of observed / predicted time per output token. */
  readonly tpotRatio: number;
  readonly failuresInRow: number;
  /** Without the way there. Undefined where no profile is declared, or no attempt showed a token yet. */
  readonly ttftAgainstProfile: AgainstProfile | undefined;
  /** The same of the time per output token. */
  readonly tpotAgainstProfile: AgainstProfile | undefined;
  /** Undefined: no attempt told of a time yet. */
  readonly fit: EngineFit | undefined;
  /** How far what was foretold of attempts at this pool was off. */
  readonly errors: PredictionErrors;
  readonly delivery: Delivery;
  readonly observedAt: Instant;
}

/** Means over the same attempts, in ms: as it was, and as the declared profile had it under the same load. */
export interface AgainstProfile {
  readonly observedMs: number;
  readonly declaredMs: number;
}

/** What a pool has shown that it can do, whatever it says of itself. */
export interface Delivery {
  /** Most leases of ours at once at which it did what it promised. It shrinks with every attempt that is let down. */
  readonly slotsProven: number;
  /** Part of the attempts, of late, that got less than was promised, 0..1. */
  readonly shortRatio: number;
  /** Prompt tokens that were foretold to be cached, and those that were: a belief in the prefix index. */
  readonly cachedTokensForetold: number;
  readonly cachedTokensFound: number;
}

/**
 * The price in force, for estimates. Estimates are numbers, debts are bigints: this one chooses a
 * pool, the price book settles the bill.
 */
export interface PriceEstimate {
  readonly book: BookId;
  readonly version: number;
  readonly slot: string;
  readonly uncachedInputPicoPerToken: number;
  readonly cacheReadPicoPerToken: number;
  readonly cacheWritePicoPerToken: number;
  readonly outputPicoPerToken: number;
  /** When the slot or the version ends. */
  readonly until: Instant;
  /**
   * Prices by the lengths of the request, in the order of the book. Empty: one price for all; else
   * the prices above are those of the first.
   */
  readonly brackets?: readonly PriceBracket[];
}

/** Prices of requests whose lengths are in these ranges, both ends included, in tokens. */
export interface PriceBracket {
  readonly inputTokensFrom: number;
  readonly inputTokensTo: number;
  readonly outputTokensFrom: number;
  readonly outputTokensTo: number;
  readonly uncachedInputPicoPerToken: number;
  readonly cacheReadPicoPerToken: number;
  readonly cacheWritePicoPerToken: number;
  readonly outputPicoPerToken: number;
}

/** One model of a pool as a control replica knows it. */
export interface Served extends ServedModel {
  readonly report: ModelReport | undefined;
  /**
   * Rates, per second: of prompts smoothed over some seconds, of answers over the last two reports. Undefined until
   * there were two. Prompt tokens that the prefix cache had are not in it.
   */
  readonly promptTokensPerSecond: number | undefined;
  readonly outputTokensPerSecond: number | undefined;
  readonly slotsLeased: number;
  /** Value of time of all that hold them, in nano per ms: what a ms of delay to all of them costs. */
  readonly waitNanoPerMsLeased: number;
  /** When the prompts that we placed there are all filled in, all replicas taken as one. In the past: they are. */
  readonly promptsDoneAt: Instant;
  /** Granted and ended since the report was scraped, by all replicas that we hear: corrects what it says is running. */
  readonly grantedSinceReport: number;
  readonly endedSinceReport: number;
  /** Leases that other replicas have told us of. */
  readonly slotsLeasedElsewhere: number;
  readonly observed: Observed | undefined;
  /** Undefined while the vendor has no price in force for the model. */
  readonly price: PriceEstimate | undefined;
}

/** A pool as one control replica knows it. A value: every change makes a new one. */
export interface Pool extends Omit<PoolRegistration, "models" | "region"> {
  readonly region: Region;
  readonly served: ReadonlyMap<ModelId, Served>;
  readonly status: PoolStatus;
  /** The part of the pool's slots that this replica may grant, 0..1. All replicas: at most 1. */
  readonly share: number;
  /** When its last report was received; undefined before the first. */
  readonly reportedAt: Instant | undefined;
  readonly reportSequence: number;
  /** How long a report is believed in full, in ms. */
  readonly reportValidMs: number;
  readonly powerWatts: Figure | undefined;
  readonly energyJoulesTotal: Figure | undefined;
  /** By where the caller is. A place without an entry has not been measured or estimated. */
  readonly roundTripMsFrom: ReadonlyMap<OriginId, Figure>;
  /** Not chosen before then: it failed too often in a row. */
  readonly ejectedUntil: Instant | undefined;
}

/**
 * - `ready` takes new leases.
 * - `cordoned` keeps its leases and takes no new ones.
 * - `draining` is cordoned, and its leases are cut at a deadline.
 */
export type PoolStatus = "ready" | "cordoned" | "draining";
