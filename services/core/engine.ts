import { assert } from "./assert.ts";
import type { EngineProfile } from "./pool.ts";

/**
 * What one replica is doing. For a prediction: with the request in question already in it, that is
 * one more sequence and its prompt more KV.
 */
export interface EngineLoad {
  /** Sequences decoding together. */
  readonly batch: number;
  /** Tokens of KV they hold: prompts, cached part included, and what they have made. */
  readonly kvTokens: number;
  /** Part of the time that goes to prefill, 0..1. */
  readonly prefillShare: number;
}

/** Requests that are all alike, in tokens. */
export interface RequestShape {
  /** Of the prompt, what the prefix cache does not have. */
  readonly uncachedTokens: number;
  readonly promptTokens: number;
  readonly outputTokens: number;
  /** What the engine reserves. */
  readonly outputTokensMax: number;
}

/** Beyond it the closed form has no answer: the rest of the time would be divided by nothing. */
const PREFILL_SHARE_MAX = 0.95;

/** Halvings of an interval: enough for the last bit of a double. */
const BISECTIONS = 60;

/** Mean time per output token at this load, in ms: (W + a·B + h·K) / (1 − u). */
export function tpotMs(profile: EngineProfile, load: EngineLoad): number {
  const { stepBaseMs, stepMsPerSequence, stepMsPerKvToken } = profile;
  const stepMs = stepBaseMs + stepMsPerSequence * load.batch + stepMsPerKvToken * load.kvTokens;
  return stepMs / (1 - prefillShareOf(load));
}

/** Time from admission to the first token, in ms: the prompt's own prefill and its turn among others. */
export function prefillMs(
  profile: EngineProfile,
  uncachedTokens: number,
  load: EngineLoad,
): number {
  return uncachedTokens * profile.prefillMsPerToken * queueFactor(prefillShareOf(load));
}

/** Sequences of this shape that one replica holds at once. 0 if one alone does not fit. */
export function batchMax(profile: EngineProfile, shape: RequestShape): number {
  const kvTokensEach = shape.promptTokens + shape.outputTokensMax;
  return Math.min(profile.sequencesMax, profile.kvTokensTotal / kvTokensEach);
}

/** Part of the time that prefill takes at an arrival rate. */
export function prefillShareAt(
  profile: EngineProfile,
  shape: RequestShape,
  requestsPerMs: number,
): number {
  return requestsPerMs * shape.uncachedTokens * profile.prefillMsPerToken;
}

/** Mean time per output token at an arrival rate, in ms. Infinite when the replica cannot keep up. */
export function tpotMsAt(
  profile: EngineProfile,
  shape: RequestShape,
  requestsPerMs: number,
): number {
  const idleShare = 1 - requestsPerMs * busyMsOf(profile, shape);
  return idleShare <= 0 ? Infinity : profile.stepBaseMs / idleShare;
}

/** Time to the first token at an arrival rate below saturation, in ms, without waiting for a place. */
export function ttftMsAt(
  profile: EngineProfile,
  shape: RequestShape,
  requestsPerMs: number,
): number {
  const share = Math.min(prefillShareAt(profile, shape, requestsPerMs), PREFILL_SHARE_MAX);
  return shape.uncachedTokens * profile.prefillMsPerToken * queueFactor(share);
}

/** The arrival rate at which every place of one replica is taken, in requests per ms. */
export function requestsPerMsMax(profile: EngineProfile, shape: RequestShape): number {
  const places = batchMax(profile, shape);
  return places < 1 ? 0 : rateThatFills(places, profile, shape);
}

/** What a fixed number of clients see who each send the next request when the last is answered. */
export function closedLoop(
  profile: EngineProfile,
  shape: RequestShape,
  clients: number,
): { readonly ttftMs: number; readonly tpotMs: number; readonly tokensPerSecond: number } {
  const places = batchMax(profile, shape);
  assert(places >= 1, "a request of this shape fits the replica");
  const requestsPerMs = rateThatFills(Math.min(clients, places), profile, shape);
  const tpot = tpotMsAt(profile, shape, requestsPerMs);
  const ttftMs =
    clients > places
      ? clients / requestsPerMs - (shape.outputTokens - 1) * tpot
      : ttftMsAt(profile, shape, requestsPerMs);
  return { ttftMs, tpotMs: tpot, tokensPerSecond: requestsPerMs * shape.outputTokens * 1_000 };
}

/** Sizes of a model and of the accelerators it runs on, for a profile when nothing is measured. */
export interface RooflineSizes {
  readonly accelerators: number;
  readonly memoryGb: number;
  readonly bandwidthTbPerSecond: number;
  /** At the precision that is served. */
  readonly teraflops: number;
  readonly weightGb: number;
  /** Parameters that one token uses; all of them unless the model is a mixture of experts. */
  readonly activeParametersBillion: number;
  readonly bytesPerParameter: number;
  readonly layers: number;
  readonly kvBytesPerToken: number;
}

/** Of the memory's bandwidth and of the chip's peak that engines reach; general knowledge. */
const BANDWIDTH_REACHED = 0.8;
const FLOPS_REACHED = 0.5;
const MEMORY_USED = 0.9;
const OTHER_GB_EACH = 3;
const ALL_REDUCE_MS = 0.015;

/**
 * Coefficients from sizes alone: good to 20 to 40 %. The term per sequence is 0: sizes do not tell it.
 */
export function rooflineProfile(
  sizes: RooflineSizes,
  limits: Pick<EngineProfile, "prefillChunkTokens" | "sequencesMax">,
): EngineProfile {
  const { accelerators, kvBytesPerToken, activeParametersBillion } = sizes;
  const bytesPerMs = sizes.bandwidthTbPerSecond * 1e9 * BANDWIDTH_REACHED;
  const readMs =
    (activeParametersBillion * 1e9 * sizes.bytesPerParameter) / accelerators / bytesPerMs;
  const memoryGb = accelerators * (sizes.memoryGb * MEMORY_USED - OTHER_GB_EACH) - sizes.weightGb;
  assert(memoryGb > 0, "the weights fit the accelerators");
  return {
    stepBaseMs: readMs + (accelerators > 1 ? 2 * sizes.layers * ALL_REDUCE_MS : 0),
    stepMsPerSequence: 0,
    stepMsPerKvToken: kvBytesPerToken / (accelerators * bytesPerMs),
    prefillMsPerToken:
      (2 * activeParametersBillion) / (accelerators * sizes.teraflops * FLOPS_REACHED),
    kvTokensTotal: Math.floor((memoryGb * 1e9) / kvBytesPerToken),
    ...limits,
  };
}

/** Time that one request takes from a replica that does nothing but serve its kind. */
function busyMsOf(profile: EngineProfile, shape: RequestShape): number {
  const { stepMsPerSequence, stepMsPerKvToken, prefillMsPerToken } = profile;
  const kvTokensMean = shape.promptTokens + shape.outputTokens / 2;
  const decodeMs = shape.outputTokens * (stepMsPerSequence + stepMsPerKvToken * kvTokensMean);
  return shape.uncachedTokens * prefillMsPerToken + decodeMs;
}

function prefillShareOf(load: EngineLoad): number {
  return Math.min(load.prefillShare, PREFILL_SHARE_MAX);
}

/** Others' prompts are met in the queue: Pollaczek-Khinchine for equal service times. */
function queueFactor(share: number): number {
  return 1 + share / (2 * (1 - share));
}

/** By bisection: arrivals × stay = requests in the replica, and the stay grows with the rate. */
function rateThatFills(places: number, profile: EngineProfile, shape: RequestShape): number {
  const prefill = shape.uncachedTokens * profile.prefillMsPerToken;
  let [low, high] = [0, 1 / busyMsOf(profile, shape)];
  for (let halving = 0; halving < BISECTIONS; halving++) {
    const rate = (low + high) / 2;
    const stayMs = prefill + (shape.outputTokens - 1) * tpotMsAt(profile, shape, rate);
    if (rate * stayMs <= places) low = rate;
    else high = rate;
  }
  return low;
}
