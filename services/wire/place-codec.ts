import type { AttemptOutcome, AttemptResult } from "../core/lease.ts";
import { criticalities, serviceClasses, type PlacementRequest } from "../core/placement/request.ts";
import type { DataClass } from "../core/pool.ts";
import type {
  AttemptId,
  LeaseId,
  ModelId,
  OriginId,
  PoolId,
  RegionId,
  RequestId,
  TenantId,
  VendorId,
} from "../core/units.ts";
import { readChoice, withChoice } from "./model-choice.ts";
import { TooUnusual, type BytesReader } from "./protobuf-bytes.ts";

/*
 * The messages of the fast lane, read and written without the messages in between. Whatever is unusual about one, and
 * every mistake, throws `TooUnusual`: then the generated code reads it again and says what is wrong, so that there
 * is one wording and one set of rules.
 */

/** Wire types as they stand in a tag. */
const number = 0;
const double = 1;
const text = 2;

const tag = (field: number, type: number): number => field * 8 + type;

/** Bounds of the contract; a property test compares what is let through. */
const limits = {
  idBytes: 128,
  originBytes: 64,
  regions: 64,
  vendors: 256,
  excluded: 16,
  inputTokens: 100_000_000,
  mlpsLevel: 5,
  hashes: 4_096,
  sourceBytes: 160,
  uint32: 2 ** 32 - 1,
} as const;

const dataClasses: readonly DataClass[] = ["general", "general", "personal", "important", "core"];

const attemptResults: readonly (AttemptResult | undefined)[] = [
  undefined,
  "ok",
  "connect-error",
  "timeout",
  "upstream-4xx",
  "upstream-5xx",
  "reset",
  "cancelled",
];

function unusual(): never {
  throw new TooUnusual("expected the usual form of the message");
}

function within(value: number, most: number): number {
  return value <= most ? value : unusual();
}

function known<Value>(value: Value | undefined): Value {
  return value === undefined ? unusual() : value;
}

/** Fields as they come; what is required is checked at the end. */
interface Draft {
  request: string;
  attempt: string;
  tenant: string;
  model: string;
  class: PlacementRequest["class"] | undefined;
  criticality: PlacementRequest["criticality"] | undefined;
  origin: string;
  dataClass: DataClass;
  mlpsLevelMin: number;
  inputTokens: number;
  outputTokensExpected: number | undefined;
  outputTokensMax: number | undefined;
  deadlineMs: number | undefined;
  waitedMs: number | undefined;
  priceNanoMax: number | undefined;
  budgetNanoLeft: number | undefined;
  classSource: string | undefined;
  alias: string | undefined;
}

const none: ReadonlySet<never> = new Set<never>();

function emptyDraft(): Draft {
  return {
    request: "",
    attempt: "",
    tenant: "",
    model: "",
    class: undefined,
    criticality: undefined,
    origin: "",
    dataClass: "general",
    mlpsLevelMin: 0,
    inputTokens: 0,
    outputTokensExpected: undefined,
    outputTokensMax: undefined,
    deadlineMs: undefined,
    waitedMs: undefined,
    priceNanoMax: undefined,
    budgetNanoLeft: undefined,
    classSource: undefined,
    alias: undefined,
  };
}

export function readPlacementRequest(reader: BytesReader): PlacementRequest {
  const draft = emptyDraft();
  let regions: Set<RegionId> | undefined;
  let vendorsAllowed: Set<VendorId> | undefined;
  let vendorsDenied: Set<VendorId> | undefined;
  let excluded: Set<PoolId> | undefined;
  let choices: PlacementRequest["choices"];
  let prefixBlocks: number[] | undefined;
  for (let next = reader.tag(); next !== 0; next = reader.tag()) {
    switch (next) {
      case tag(8, text):
        regions = added(regions, reader.text(limits.idBytes) as RegionId, limits.regions);
        break;
      case tag(11, text):
        vendorsAllowed = added(vendorsAllowed, vendorIn(reader), limits.vendors);
        break;
      case tag(12, text):
        vendorsDenied = added(vendorsDenied, vendorIn(reader), limits.vendors);
        break;
      case tag(13, text):
        excluded = added(excluded, reader.text(limits.idBytes) as PoolId, limits.excluded);
        break;
      case tag(20, text):
        prefixBlocks = reader.blocks(prefixBlocks ?? [], limits.hashes);
        break;
      case tag(23, text):
        choices = withChoice(choices, reader.inside(readChoice));
        break;
      default:
        readField(draft, next, reader);
    }
  }
  return {
    request: required(draft.request) as RequestId,
    attempt: required(draft.attempt) as AttemptId,
    tenant: required(draft.tenant) as TenantId,
    model: required(draft.model) as ModelId,
    class: known(draft.class),
    criticality: known(draft.criticality),
    origin: required(draft.origin) as OriginId,
    regions: regions ?? none,
    dataClass: draft.dataClass,
    mlpsLevelMin: draft.mlpsLevelMin,
    vendorsAllowed: vendorsAllowed ?? none,
    vendorsDenied: vendorsDenied ?? none,
    excluded: excluded ?? none,
    inputTokens: draft.inputTokens,
    cachedTokensAt: noCache,
    ...(prefixBlocks !== undefined && prefixBlocks.length > 0 && { prefixBlocks }),
    outputTokensExpected: draft.outputTokensExpected,
    outputTokensMax: draft.outputTokensMax,
    waitedMs: draft.waitedMs,
    deadlineMs: draft.deadlineMs,
    priceNanoMax: draft.priceNanoMax,
    budgetNanoLeft: draft.budgetNanoLeft,
    classSource: draft.classSource,
    alias: draft.alias,
    choices,
  };
}

const noCache: ReadonlyMap<PoolId, number> = new Map<PoolId, number>();

/** Fields of which there is one. A field that we do not know is passed over, as the format wants. */
function readField(into: Draft, next: number, reader: BytesReader): void {
  const draft = into;
  switch (next) {
    case tag(1, text):
      draft.request = reader.text(limits.idBytes);
      break;
    case tag(2, text):
      draft.attempt = reader.text(limits.idBytes);
      break;
    case tag(3, text):
      draft.tenant = reader.text(limits.idBytes);
      break;
    case tag(4, text):
      draft.model = reader.text(limits.idBytes);
      break;
    case tag(5, number):
      draft.class = serviceClasses[reader.uint() - 1];
      break;
    case tag(6, number):
      draft.criticality = criticalities[reader.uint() - 1];
      break;
    case tag(7, text):
      draft.origin = reader.text(limits.originBytes);
      break;
    case tag(9, number):
      draft.dataClass = known(dataClasses[reader.uint()]);
      break;
    case tag(10, number):
      draft.mlpsLevelMin = within(reader.uint(), limits.mlpsLevel);
      break;
    case tag(14, number):
      draft.inputTokens = within(reader.uint(), limits.inputTokens);
      break;
    case tag(15, number):
      draft.outputTokensExpected = within(reader.uint(), limits.uint32);
      break;
    case tag(16, number):
      draft.outputTokensMax = within(reader.uint(), limits.uint32);
      break;
    case tag(17, number):
      draft.deadlineMs = within(reader.uint(), limits.uint32);
      break;
    case tag(24, number):
      draft.waitedMs = within(reader.uint(), limits.uint32);
      break;
    case tag(18, number):
      draft.priceNanoMax = reader.uint();
      break;
    case tag(19, number):
      draft.budgetNanoLeft = reader.uint();
      break;
    case tag(21, text):
      draft.classSource = reader.text(limits.sourceBytes);
      break;
    case tag(22, text):
      draft.alias = reader.text(limits.idBytes);
      break;
    default:
      if (next >> 3 > 24) reader.skip(next);
      else unusual();
  }
}

function vendorIn(reader: BytesReader): VendorId {
  return reader.text(limits.idBytes) as VendorId;
}

function added<Id>(into: Set<Id> | undefined, id: Id, most: number): Set<Id> {
  const ids = into ?? new Set<Id>();
  // Counted as they come: the contract bounds the list, not the set.
  if (ids.has(id) || ids.size >= most) unusual();
  return ids.add(id);
}

function required(id: string): string {
  return id === "" ? unusual() : id;
}

/** A lease and its fence. */
export interface Hold {
  readonly lease: LeaseId;
  readonly fence: number;
}

export interface ReleasedHold extends Hold {
  readonly outcome: AttemptOutcome | undefined;
}

export function readRenewal(reader: BytesReader): Hold {
  const { lease, fence } = readRelease(reader);
  return { lease, fence };
}

export function readRelease(reader: BytesReader): ReleasedHold {
  let lease = "";
  let fence = 0;
  let outcome: AttemptOutcome | undefined;
  for (let next = reader.tag(); next !== 0; next = reader.tag()) {
    if (next === tag(1, text)) lease = reader.text(limits.idBytes);
    else if (next === tag(2, number)) fence = reader.uint();
    else if (next === tag(3, text) && outcome === undefined) outcome = reader.inside(readOutcome);
    else unusual();
  }
  return { lease: required(lease) as LeaseId, fence, outcome };
}

function readOutcome(reader: BytesReader): AttemptOutcome {
  const draft: { -readonly [Name in keyof AttemptOutcome]: AttemptOutcome[Name] | undefined } = {
    result: undefined,
    ttftMs: undefined,
    itlMsMean: undefined,
    headersMs: undefined,
    inputTokens: undefined,
    cachedTokens: undefined,
    outputTokens: undefined,
    durationMs: undefined,
  };
  for (let next = reader.tag(); next !== 0; next = reader.tag()) {
    if (next === tag(1, number)) draft.result = attemptResults[reader.uint()];
    else if (next === tag(2, double)) draft.ttftMs = reader.double();
    else if (next === tag(3, double)) draft.itlMsMean = reader.double();
    else if (next === tag(4, double)) draft.headersMs = reader.double();
    else if (next === tag(5, number)) draft.inputTokens = within(reader.uint(), limits.uint32);
    else if (next === tag(6, number)) draft.cachedTokens = within(reader.uint(), limits.uint32);
    else if (next === tag(7, number)) draft.outputTokens = within(reader.uint(), limits.uint32);
    else if (next === tag(8, double)) draft.durationMs = reader.double();
    else unusual();
  }
  return { ...draft, result: known(draft.result) };
}

/** What a message of the stream asks. */
export interface PlaceBatch {
  readonly places: readonly PlacementRequest[];
  readonly renewals: readonly Hold[];
  readonly releases: readonly ReleasedHold[];
}

/** Bound of the contract, of each of the three. */
const batchMax = 1_024;

export function readPlaceBatch(reader: BytesReader): PlaceBatch {
  const places: PlacementRequest[] = [];
  const renewals: Hold[] = [];
  const releases: ReleasedHold[] = [];
  for (let next = reader.tag(); next !== 0; next = reader.tag()) {
    if (next === tag(1, text)) places.push(reader.inside(readPlacementRequest));
    else if (next === tag(2, text)) renewals.push(reader.inside(readRenewal));
    else if (next === tag(3, text)) releases.push(reader.inside(readRelease));
    else unusual();
  }
  within(Math.max(places.length, renewals.length, releases.length), batchMax);
  return { places, renewals, releases };
}
