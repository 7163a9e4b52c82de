import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { Figure, FigureSource } from "../core/figure.ts";
import type {
  DataClass,
  EngineCapability,
  EngineKind,
  EngineProfile,
  ModelReport,
  PoolRegistration,
  PoolReport,
  PoolStatus,
  PowerModel,
  ServedModel,
} from "../core/pool.ts";
import type { ReportResult } from "../core/events.ts";
import type { Instant, ModelId, PoolId, RegionId, VendorId } from "../core/units.ts";
import { required, words } from "./field.ts";
import * as gen from "./gen/tokengrid/v1/pool_pb.js";

export const figureSources = words<FigureSource, gen.FigureSource>({
  measured: gen.FigureSource.MEASURED,
  declared: gen.FigureSource.DECLARED,
  estimated: gen.FigureSource.ESTIMATED,
});

export const engineKinds = words<EngineKind, gen.EngineKind>({
  vllm: gen.EngineKind.VLLM,
  sglang: gen.EngineKind.SGLANG,
  trtllm: gen.EngineKind.TRTLLM,
  llamacpp: gen.EngineKind.LLAMACPP,
  openai: gen.EngineKind.OPENAI,
  anthropic: gen.EngineKind.ANTHROPIC,
  other: gen.EngineKind.OTHER,
});

export const engineCapabilities = words<EngineCapability, gen.EngineCapability>({
  "continuous-usage": gen.EngineCapability.CONTINUOUS_USAGE,
  "cache-report": gen.EngineCapability.CACHE_REPORT,
  "reasoning-count": gen.EngineCapability.REASONING_COUNT,
  "token-ids": gen.EngineCapability.TOKEN_IDS,
  "usage-query": gen.EngineCapability.USAGE_QUERY,
});

export const dataClasses = words<DataClass, gen.DataClass>({
  general: gen.DataClass.GENERAL,
  personal: gen.DataClass.PERSONAL,
  important: gen.DataClass.IMPORTANT,
  core: gen.DataClass.CORE,
});

export const poolStatuses = words<PoolStatus, gen.PoolStatus>({
  ready: gen.PoolStatus.READY,
  cordoned: gen.PoolStatus.CORDONED,
  draining: gen.PoolStatus.DRAINING,
});

export const reportResults = words<ReportResult, gen.ReportResult>({
  accepted: gen.ReportResult.ACCEPTED,
  "rejected-identity": gen.ReportResult.REJECTED_IDENTITY,
  "rejected-schema": gen.ReportResult.REJECTED_SCHEMA,
  "out-of-order": gen.ReportResult.OUT_OF_ORDER,
  "stale-generation": gen.ReportResult.STALE_GENERATION,
});

const ageMsMax = 2 ** 32 - 1;

/** On our clock: what is said to be `age_ms` old at `now` was observed that much earlier. */
export function toFigure(message: gen.Figure, now: Instant): Figure {
  return {
    value: message.value,
    source: figureSources.toWord("source", message.source),
    observedAt: now - message.ageMs,
    validMs: message.validMs,
  };
}

export function fromFigure(figure: Figure, now: Instant): gen.Figure {
  return create(gen.FigureSchema, {
    value: figure.value,
    source: figureSources.fromWord(figure.source),
    ageMs: toAgeMs(now - figure.observedAt),
    validMs: figure.validMs,
  });
}

/** What is older than the field can say, 49 days, is as old as it can say. */
export function toAgeMs(ms: number): number {
  return Math.min(ageMsMax, Math.max(0, Math.round(ms)));
}

function optionalFigure(message: gen.Figure | undefined, now: Instant): Figure | undefined {
  return message === undefined ? undefined : toFigure(message, now);
}

/** Leaves out what is unknown: on the wire, absent is unknown and 0 is 0. */
function known<Name extends string>(
  figures: Readonly<Record<Name, Figure | undefined>>,
  now: Instant,
): Partial<Record<Name, gen.Figure>> {
  const there: Partial<Record<Name, gen.Figure>> = {};
  for (const name of Object.keys(figures) as Name[]) {
    const figure = figures[name];
    if (figure !== undefined) there[name] = fromFigure(figure, now);
  }
  return there;
}

export function toPoolRegistration(message: gen.PoolRegistration, now: Instant): PoolRegistration {
  return {
    id: required("pool_id", message.poolId) as PoolId,
    vendor: required("vendor_id", message.vendorId) as VendorId,
    region: required("region_id", message.regionId) as RegionId,
    endpoint: required("endpoint", message.endpoint),
    engine: engineKinds.toWord("engine", message.engine),
    models: message.models.map(toServedModel),
    tags: new Set(message.tags),
    accelerator: message.accelerator,
    pue: optionalFigure(message.powerUsageEffectiveness, now),
    greenShare: optionalFigure(message.greenShare, now),
    dataClasses: new Set(
      message.dataClasses.map((each) => dataClasses.toWord("data_classes", each)),
    ),
    mlpsLevel: message.mlpsLevel,
    generation: Number(message.generation),
    powerModel: message.powerModel === undefined ? undefined : toPowerModel(message.powerModel),
  };
}

export function fromPoolRegistration(pool: PoolRegistration, now: Instant): gen.PoolRegistration {
  return create(gen.PoolRegistrationSchema, {
    poolId: pool.id,
    vendorId: pool.vendor,
    regionId: pool.region,
    endpoint: pool.endpoint,
    engine: engineKinds.fromWord(pool.engine),
    models: pool.models.map(fromServedModel),
    tags: [...pool.tags],
    accelerator: pool.accelerator,
    ...known({ powerUsageEffectiveness: pool.pue, greenShare: pool.greenShare }, now),
    dataClasses: [...pool.dataClasses].map(dataClasses.fromWord),
    mlpsLevel: pool.mlpsLevel,
    generation: BigInt(pool.generation),
    ...(pool.powerModel === undefined ? {} : { powerModel: pool.powerModel }),
  });
}

function toServedModel(message: gen.ServedModel): ServedModel {
  const { engineProfile, modelId } = message;
  return {
    model: required("model_id", modelId) as ModelId,
    engineModelName: message.engineModelName === "" ? modelId : message.engineModelName,
    version: message.version,
    contextTokensMax: message.contextTokensMax,
    slotsTotal: message.slotsTotal,
    replicas: message.replicas,
    engineProfile: engineProfile === undefined ? undefined : toEngineProfile(engineProfile),
    capabilities: new Set(
      message.capabilities.map((each) => engineCapabilities.toWord("capabilities", each)),
    ),
  };
}

function fromServedModel(served: ServedModel): MessageInitShape<typeof gen.ServedModelSchema> {
  return {
    modelId: served.model,
    engineModelName: served.engineModelName,
    version: served.version,
    contextTokensMax: served.contextTokensMax,
    slotsTotal: served.slotsTotal,
    replicas: served.replicas,
    ...(served.engineProfile === undefined
      ? {}
      : { engineProfile: fromEngineProfile(served.engineProfile) }),
    capabilities: [...served.capabilities].map(engineCapabilities.fromWord),
  };
}

function toEngineProfile(message: gen.EngineProfile): EngineProfile {
  return {
    stepBaseMs: message.stepBaseMs,
    stepMsPerSequence: message.stepMsPerSequence,
    stepMsPerKvToken: message.stepMsPerKvToken,
    prefillMsPerToken: message.prefillMsPerToken,
    prefillChunkTokens: message.prefillChunkTokens,
    kvTokensTotal: message.kvTokensTotal,
    sequencesMax: message.sequencesMax,
  };
}

function fromEngineProfile(
  profile: EngineProfile,
): MessageInitShape<typeof gen.EngineProfileSchema> {
  return {
    stepBaseMs: profile.stepBaseMs,
    stepMsPerSequence: profile.stepMsPerSequence,
    stepMsPerKvToken: profile.stepMsPerKvToken,
    prefillMsPerToken: profile.prefillMsPerToken,
    prefillChunkTokens: profile.prefillChunkTokens,
    kvTokensTotal: profile.kvTokensTotal,
    sequencesMax: profile.sequencesMax,
  };
}

function toPowerModel(message: gen.PowerModel): PowerModel {
  const { accelerators, idleWatts, nominalWatts, steepness, midpointLog2, hostWatts } = message;
  return { accelerators, idleWatts, nominalWatts, steepness, midpointLog2, hostWatts };
}

export function toPoolReport(message: gen.ReportRequest, now: Instant): PoolReport {
  return {
    pool: required("pool_id", message.poolId) as PoolId,
    generation: Number(message.generation),
    sequence: Number(message.sequence),
    models: message.models.map((each) => toModelReport(each, now)),
    powerWatts: optionalFigure(message.powerWatts, now),
    energyJoulesTotal: optionalFigure(message.energyJoulesTotal, now),
    pue: optionalFigure(message.powerUsageEffectiveness, now),
    greenShare: optionalFigure(message.greenShare, now),
  };
}

export function fromPoolReport(report: PoolReport, now: Instant): gen.ReportRequest {
  return create(gen.ReportRequestSchema, {
    poolId: report.pool,
    generation: BigInt(report.generation),
    sequence: BigInt(report.sequence),
    models: report.models.map((each) => fromModelReport(each, now)),
    ...known(
      {
        powerWatts: report.powerWatts,
        energyJoulesTotal: report.energyJoulesTotal,
        powerUsageEffectiveness: report.pue,
        greenShare: report.greenShare,
      },
      now,
    ),
  });
}

function toModelReport(message: gen.ModelReport, now: Instant): ModelReport {
  return {
    model: required("model_id", message.modelId) as ModelId,
    runningRequests: optionalFigure(message.runningRequests, now),
    waitingRequests: optionalFigure(message.waitingRequests, now),
    kvUsedRatio: optionalFigure(message.kvUsedRatio, now),
    promptTokensTotal: optionalFigure(message.promptTokensTotal, now),
    cachedPromptTokensTotal: optionalFigure(message.cachedPromptTokensTotal, now),
    outputTokensTotal: optionalFigure(message.outputTokensTotal, now),
    ttftMsP50: optionalFigure(message.ttftMsP50, now),
    ttftMsP95: optionalFigure(message.ttftMsP95, now),
    itlMsMean: optionalFigure(message.itlMsMean, now),
    slotsTotal: optionalFigure(message.slotsTotal, now),
    kvTokensTotal: optionalFigure(message.kvTokensTotal, now),
  };
}

export function fromModelReport(report: ModelReport, now: Instant): gen.ModelReport {
  const { model, ...figures } = report;
  return create(gen.ModelReportSchema, { modelId: model, ...known(figures, now) });
}
