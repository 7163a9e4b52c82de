import { criticalities, type Criticality, type ServiceClass } from "../core/placement/request.ts";
import type { OriginId, RegionId, TenantId } from "../core/units.ts";
import { dimensionSchema } from "../io/keys.ts";
import { outcomes } from "../wire/errors.ts";
import { AnswerSocket, type Answer, type AnswerTimings } from "./answer.ts";
import type { AttemptLimits } from "./attempt-order.ts";
import type { UseDimensions } from "./attempt-record.ts";
import type { Tenancy } from "./auth.ts";
import { parseChatRequest, type ChatRequest } from "./chat-request.ts";
import type { ClassTables } from "./class-table.ts";
import { beforeFirstByte, Refusal } from "./errors.ts";
import { integerHeader, textHeader, type Exchange, type ExchangeEnd } from "./exchange.ts";
import type { IdempotencyKeys } from "./idempotency.ts";
import { labelOf } from "./metrics.ts";
import type { PoolDirectory } from "./pools.ts";
import type { QuotaKeeper } from "./quota.ts";
import { reserve, usedBy } from "./reserve.ts";
import { requestClass } from "./request-class.ts";
import { readJsonBody } from "./request-body.ts";
import { route, type RouteJob, type RouteParts, type RouteResult } from "./route.ts";
import { StreamAnswer } from "./stream.ts";
import { WholeAnswer } from "./whole.ts";

/** What the OpenAI surface works with; made once. */
export interface OpenAiParts extends RouteParts {
  readonly tenancy: Tenancy;
  readonly classTables: ClassTables;
  readonly idempotency: IdempotencyKeys;
  /** Undefined: packages stop nobody here. */
  readonly quota: QuotaKeeper | undefined;
  readonly origin: OriginId;
  readonly limits: RequestLimits;
}

export interface RequestLimits {
  readonly bodyBytesMax: number;
  readonly answer: AnswerTimings;
  /** From the dispatch to the first token, by class. */
  readonly firstTokenMs: Readonly<Record<ServiceClass, number>>;
  readonly interTokenMs: number;
  /** Of an answer that is not streamed. Node's fetch waits 300 s for headers. */
  readonly wholeMsMax: number;
  readonly streamMsMax: number;
}

export const defaultRequestLimits: RequestLimits = {
  bodyBytesMax: 32_000_000,
  answer: { keepAliveMs: 15_000, slowReaderMs: 30_000 },
  firstTokenMs: {
    "metro-realtime": 10_000,
    "realtime-interactive": 20_000,
    "llm-interactive": 60_000,
    "batch-offline": 600_000,
    archival: 600_000,
  },
  interTokenMs: 30_000,
  wholeMsMax: 290_000,
  streamMsMax: 3_600_000,
};

/** `POST /v1/chat/completions`. */
export async function chatCompletions(
  parts: OpenAiParts,
  exchange: Exchange,
): Promise<ExchangeEnd> {
  const { request, id, key, api } = exchange;
  const body = await readJsonBody(request, parts.limits.bodyBytesMax);
  const parsedAt = performance.now();
  const chat = parseChatRequest(body);
  if (textHeader(request, "idempotency-key") !== undefined) {
    parts.idempotency.check(key.subject as TenantId, id, body);
  }
  const placing = placementOf(parts, exchange, chat);
  const use = useOf(exchange);
  const limits = attemptLimits(parts.limits, exchange, { serviceClass: placing.class, chat });
  parts.metrics.overhead.observe({ phase: "parse" }, (performance.now() - parsedAt) / 1_000);
  const stream = String(chat.isStream);
  parts.metrics.inFlight.inc({ api, stream });
  try {
    return await serveChat(parts, exchange, { chat, placing, use, limits });
  } finally {
    parts.metrics.inFlight.dec({ api, stream });
  }
}

interface ChatJob {
  readonly chat: ChatRequest;
  readonly placing: RouteJob["request"];
  readonly use: UseDimensions;
  readonly limits: AttemptLimits;
}

async function serveChat(
  parts: OpenAiParts,
  exchange: Exchange,
  { chat, placing, use, limits }: ChatJob,
): Promise<ExchangeEnd> {
  const { response, id, key } = exchange;
  const socket = new AnswerSocket(response, parts.sweeper, parts.limits.answer);
  const headers = { "x-request-id": id };
  const { model: alias, usage, isAskingForIds: showsIds } = chat;
  const answer = chat.isStream
    ? new StreamAnswer(socket, { alias, usage, isShown: true, showsIds }, headers)
    : new WholeAnswer(socket, { alias, showsIds }, headers);
  const gone = new AbortController();
  answer.onGone = () => gone.abort();
  const result = await routeReserved(parts, {
    request: placing,
    chat,
    use,
    answer,
    startedAt: exchange.startedAt,
    limits,
    isDebug: key.isDebug,
    traceparent: traceparentOf(exchange),
    signal: gone.signal,
  });
  countTimes(parts, exchange, { result, criticality: chat.criticality });
  return endOf(result, answer, { chat, placing });
}

/** Within the tenant's quota: reserved before anything is placed, settled however it ends. Throws `Refusal`. */
async function routeReserved(
  parts: OpenAiParts,
  job: Omit<RouteJob, "reservation">,
): Promise<RouteResult> {
  const { tenant, model, inputTokens, outputTokensMax } = job.request;
  const { department, project, scenario } = job.use;
  const reservation = await reserve(
    parts.quota,
    { tenant, department, project, scenario },
    {
      model,
      promptTokens: BigInt(inputTokens),
      outputTokensMax: outputTokensMax === undefined ? undefined : BigInt(outputTokensMax),
    },
  );
  let result: RouteResult | undefined;
  try {
    result = await route(parts, { ...job, reservation });
    return result;
  } finally {
    reservation?.settle(usedBy(result?.last?.record));
  }
}

/** What control is asked, for whichever attempt. Throws `Refusal`. */
function placementOf(
  { tenancy, classTables, origin, directory, limits }: OpenAiParts,
  exchange: Exchange,
  chat: ChatRequest,
): RouteJob["request"] {
  const { id, key } = exchange;
  const named = tenancy.modelOf(chat.model, key);
  const prefixBlocks = chat.prefixBlocks(key.subject);
  const deadlineMs = deadlineMsOf(exchange, chat, limits.streamMsMax);
  const derived = requestClass(exchange, chat, {
    table: classTables.current,
    model: named.model,
    deadlineMs,
    endpoint: "/v1/chat/completions",
  });
  return {
    request: id,
    tenant: key.subject as TenantId,
    ...named,
    class: derived.class,
    classSource: derived.source,
    criticality: chat.criticality,
    origin: originOf(exchange, origin),
    regions: regionsOf(exchange, chat, directory),
    dataClass: "general",
    mlpsLevelMin: 0,
    vendorsAllowed: new Set(),
    vendorsDenied: new Set(),
    inputTokens: chat.inputTokens,
    cachedTokensAt: new Map(),
    ...(prefixBlocks.length > 0 && { prefixBlocks }),
    outputTokensExpected: undefined,
    outputTokensMax: chat.outputTokensMax,
    deadlineMs,
    priceNanoMax: undefined,
    budgetNanoLeft: undefined,
  };
}

/** `GET /v1/models` and `GET /v1/models/{id}`: only what the key may use. */
export function models(
  parts: OpenAiParts,
  exchange: Exchange,
  name: string | undefined,
): ExchangeEnd {
  const { response, key, id } = exchange;
  const served = [...parts.directory.pools.values()].flatMap((pool) => [...pool.models.keys()]);
  const names = new Set([...parts.tenancy.aliases.keys(), ...served]);
  const usable = [...names].filter((each) => mayUse(parts.tenancy, each, key)).toSorted();
  if (name !== undefined && !usable.includes(name)) {
    throw new Refusal("MODEL_NOT_FOUND", "there is no such model for this key", { param: "model" });
  }
  const answer =
    name === undefined ? { object: "list", data: usable.map(modelObject) } : modelObject(name);
  const body = Buffer.from(JSON.stringify(answer));
  response.writeHead(200, {
    "content-type": "application/json; charset=utf-8",
    "content-length": body.length,
    "x-request-id": id,
  });
  response.end(body);
  return { code: 200, outcome: "ok", isStream: false, facts: {} };
}

function mayUse(tenancy: Tenancy, name: string, key: Exchange["key"]): boolean {
  try {
    tenancy.modelOf(name, key);
    return true;
  } catch (error) {
    if (error instanceof Refusal) return false;
    throw error;
  }
}

function modelObject(id: string) {
  return { id, object: "model", created: 0, owned_by: "tokengrid" };
}

/** Whose use it is within the tenant: by its key, and for which scenario, by the caller. Throws `Refusal`. */
function useOf({ request, key }: Exchange): UseDimensions {
  const name = "x-tokengrid-scenario";
  const scenario = textHeader(request, name) ?? key.scenario ?? "";
  if (scenario !== "" && !dimensionSchema.safeParse(scenario).success) {
    const message = `${name}: expected 1 to 64 letters, digits, dots, dashes, underscores`;
    throw new Refusal("BAD_REQUEST", message, { param: name });
  }
  const { department = "", project = "", prefix: keyPrefix } = key;
  return { department, project, scenario, keyPrefix };
}

/** Only keys for debugging may say that demand arises elsewhere. */
function originOf({ request, key }: Exchange, own: OriginId): OriginId {
  const named = key.isDebug ? textHeader(request, "x-tokengrid-origin") : undefined;
  if (named === undefined) return own;
  if (/^[a-z0-9][a-z0-9-]{0,62}$/.test(named)) return named as OriginId;
  throw new Refusal("BAD_REQUEST", "x-tokengrid-origin: expected the id of a city", {
    param: "x-tokengrid-origin",
  });
}

/** `east`, `west` or the id of a region. Empty: anywhere. */
function regionsOf(
  { request }: Exchange,
  { hints }: ChatRequest,
  { pools }: PoolDirectory,
): ReadonlySet<RegionId> {
  const hint = hints["region"];
  const named = textHeader(request, "x-tokengrid-region") ?? hint;
  if (named === undefined) return new Set();
  const found = [...pools.values()].filter(
    ({ region, side }) => region === named || side === named,
  );
  if (found.length > 0) return new Set(found.map(({ region }) => region));
  throw new Refusal(
    "BAD_REQUEST",
    "x-tokengrid-region: expected east, west or the id of a region",
    {
      param: "x-tokengrid-region",
    },
  );
}

function attemptLimits(
  limits: RequestLimits,
  exchange: Exchange,
  { serviceClass, chat }: { readonly serviceClass: ServiceClass; readonly chat: ChatRequest },
): AttemptLimits {
  const { request, startedAt } = exchange;
  const mostMs = chat.isStream ? limits.streamMsMax : limits.wholeMsMax;
  const askedMs = deadlineMsOf(exchange, chat, mostMs);
  const clientMs = chat.isStream
    ? undefined
    : stainlessMs(textHeader(request, "x-stainless-timeout"));
  const totalMs = Math.min(mostMs, askedMs ?? clientMs ?? mostMs);
  return {
    firstTokenMs: limits.firstTokenMs[serviceClass],
    interTokenMs: limits.interTokenMs,
    deadlineAt: startedAt + totalMs,
  };
}

/** What the client set, in the header or in the body, and no more than `mostMs`. Undefined if it set none. */
function deadlineMsOf(
  { request }: Exchange,
  { hints }: ChatRequest,
  mostMs: number,
): number | undefined {
  const asked = integerHeader(request, "x-tokengrid-deadline-ms");
  const hint = asked ?? hints["deadline_ms"];
  if (hint === undefined) return undefined;
  if (typeof hint === "number" && Number.isSafeInteger(hint) && hint >= 1) {
    return Math.min(hint, mostMs);
  }
  throw new Refusal("BAD_REQUEST", "tokengrid.deadline_ms: expected a whole number of at least 1", {
    param: "tokengrid.deadline_ms",
  });
}

/** What an SDK says of its own patience, in seconds. Anything else is not for us. */
function stainlessMs(text: string | undefined): number | undefined {
  return text !== undefined && /^[1-9]\d{0,5}$/.test(text) ? Number(text) * 1_000 : undefined;
}

/** W3C trace context; what does not look like it is dropped. */
function traceparentOf({ request }: Exchange): string | undefined {
  const text = textHeader(request, "traceparent");
  const isOne = text !== undefined && /^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$/.test(text);
  return isOne ? text : undefined;
}

function countTimes(
  { metrics }: OpenAiParts,
  { api, startedAt }: Exchange,
  { result, criticality }: { readonly result: RouteResult; readonly criticality: Criticality },
): void {
  const { last, pool, placeMs } = result;
  metrics.overhead.observe({ phase: "place" }, placeMs / 1_000);
  if (last === undefined || pool === undefined) return;
  const region_class = pool.side;
  if (last.firstTokenAt !== undefined) {
    metrics.ttft.observe(
      { api, region_class, criticality: labelOf(criticality) },
      (last.firstTokenAt - startedAt) / 1_000,
    );
  }
  if (last.tpotMs !== undefined) metrics.tpot.observe({ region_class }, last.tpotMs / 1_000);
}

function endOf(
  { refusal, last, pool, attempts }: RouteResult,
  answer: Answer,
  { chat, placing }: Pick<ChatJob, "chat" | "placing">,
): ExchangeEnd {
  const { code, outcome } = codeOf(refusal, answer, { last, criticality: chat.criticality });
  const { input, output } = last?.record.engineCounts ?? {};
  return {
    code,
    outcome,
    isStream: chat.isStream,
    facts: {
      model: last?.record.model ?? placing.model,
      alias: placing.alias,
      class: placing.class,
      class_source: placing.classSource,
      pool: pool?.id,
      attempt: last?.record.attempt,
      attempts,
      end: last?.end,
      stream_end: chat.isStream ? last?.streamEnd : undefined,
      reason: refusal?.reason,
      input_tokens: input === undefined ? undefined : Number(input),
      output_tokens: output === undefined ? undefined : Number(output),
      ttft_ms: last?.ttftMs === undefined ? undefined : Math.round(last.ttftMs),
    },
  };
}

function codeOf(
  refusal: Refusal | undefined,
  answer: Answer,
  { last, criticality }: { readonly last: RouteResult["last"]; readonly criticality: Criticality },
): Pick<ExchangeEnd, "code" | "outcome"> {
  if (answer.isGone && last?.end !== "complete") {
    return { code: outcomes.CLIENT_GONE.httpStatus, outcome: outcomes.CLIENT_GONE.metric };
  }
  if (refusal === undefined) return { code: 200, outcome: "ok" };
  const told = answer.hasBegun ? refusal : beforeFirstByte(refusal);
  const { httpStatus, metric } = outcomes[told.reason];
  const isSheddable = criticalities.indexOf(criticality) >= criticalities.indexOf("sheddable-plus");
  const outcome = metric === "shed" && isSheddable ? "shed_sheddable" : metric;
  return { code: answer.hasBegun ? 200 : (told.options.httpStatus ?? httpStatus), outcome };
}
