import { isUtf8 } from "node:buffer";
import type { Criticality } from "../core/placement/request.ts";
import type { ChunkRewrite } from "./chunk-rewrite.ts";
import { Refusal } from "./errors.ts";
import {
  asciiJson,
  edited,
  scanObject,
  type JsonLimits,
  type Member,
  type Scan,
} from "./json-text.ts";
import { isObject, type JsonObject } from "./json-value.ts";
import { PlainPrompt } from "./plain-prompt.ts";
import { PrefixBlocks } from "./prefix-blocks.ts";
import { TokenEstimate } from "./token-estimate.ts";

/** A chat request as the gateway reads it. All else in it is forwarded byte for byte. */
export interface ChatRequest {
  readonly model: string;
  readonly isStream: boolean;
  /** What the client wants to see of the counts. */
  readonly usage: ChunkRewrite["usage"];
  /** What the engine is told, for all choices together, in tokens. Undefined: nothing. */
  readonly outputTokensMax: number | undefined;
  /** The gateway's own estimate of the prompt. */
  readonly inputTokens: number;
  /** The client wants the token ids that a pool may send. */
  readonly isAskingForIds: boolean;
  /** It is text alone, so that the bytes of its body bound the tokens of its prompt. */
  readonly isPlain: boolean;
  readonly criticality: Criticality;
  /** As the client says it; undefined if it does not. */
  readonly serviceTier: string | undefined;
  readonly hints: JsonObject;
  /** What prompts that begin alike have in common, see `PrefixBlocks`. */
  prefixBlocks(tenant: string): readonly number[];
  /** The body for a pool. */
  upstreamBody(options: UpstreamBody): Buffer;
}

export interface UpstreamBody {
  readonly engineModelName: string;
  readonly hasContinuousUsage: boolean;
  readonly hasTokenIds: boolean;
}

export const jsonLimits: JsonLimits = { depthMax: 64, keysMax: 10_000 };

const choicesMax = 128;
/** Of one choice, in tokens; a longer context is nowhere in sight, and all choices fit what control takes. */
const outputTokensMax = 10_000_000;
const modelNameMax = 128;

/** Members of a message that are no text of the prompt; pictures and sound come in the last two. */
const notPrompt = new Set(["role", "type", "id", "url", "data"]);

/** What is shed first to last, by the words of the clients. */
const criticalityByTier: ReadonlyMap<string, Criticality> = new Map([
  ["priority", "critical-plus"],
  ["fast", "critical-plus"],
  ["auto", "critical"],
  ["default", "critical"],
  ["scale", "critical"],
  ["flex", "sheddable"],
]);

/** Reads a body once. Throws `Refusal` and names the member that is at fault. */
export function parseChatRequest(body: Buffer): ChatRequest {
  if (!isUtf8(body)) throw bad("the body is not valid UTF-8");
  const text = body.toString("latin1");
  const estimate = new TokenEstimate(text);
  const prompt = new PlainPrompt(text);
  const prefix = new PrefixBlocks(text);
  const scan = scanObject(text, jsonLimits, (member, key, start, end) => {
    if (member !== "messages") return;
    prompt.add(key, start, end);
    prefix.add(start, end);
    if (!notPrompt.has(key)) estimate.add(start, end);
  });
  if (scan.kind !== "object") throw unusable(scan);
  const { members } = scan;
  const reader = new MemberReader(text, members);
  const streamOptions = reader.object("stream_options");
  const isStream = reader.boolean("stream") ?? false;
  const serviceTier = reader.text("service_tier");
  const choices = reader.integer("n", 1, choicesMax) ?? 1;
  const outputTokens = outputTokensIn(reader);
  requireMessages(reader);
  refuseStore(reader);
  return {
    model: requireModel(reader),
    isStream,
    usage: usageWanted(streamOptions, isStream),
    outputTokensMax: outputTokens === undefined ? undefined : outputTokens * choices,
    inputTokens: estimate.tokens,
    isAskingForIds: isAskingForIds(reader),
    isPlain: prompt.isPlain((member) => reader.raw(member)),
    criticality: criticalityOf(serviceTier),
    serviceTier,
    hints: reader.object("tokengrid") ?? {},
    // Engines say what tools there are before they say the messages.
    prefixBlocks: (tenant) => prefix.hashes(tenant, reader.raw("tools") ?? ""),
    upstreamBody: (options) => upstreamBody(text, members, streamOptions, options),
  };
}

/**
 * Counts are always asked for, and where the pool can, in every chunk; the stream always, so that a caller who
 * leaves is noticed upstream.
 */
function upstreamBody(
  text: string,
  members: ReadonlyMap<string, Member>,
  streamOptions: JsonObject | undefined,
  { engineModelName, hasContinuousUsage, hasTokenIds }: UpstreamBody,
): Buffer {
  const asked = { ...streamOptions, include_usage: true };
  const options = hasContinuousUsage ? { ...asked, continuous_usage_stats: true } : asked;
  const changes = new Map<string, string | undefined>([
    ["model", asciiJson(engineModelName)],
    ["stream", "true"],
    ["stream_options", asciiJson(options)],
    ["tokengrid", undefined],
  ]);
  // Only where it is declared: some engines refuse what they do not know.
  if (hasTokenIds) changes.set("return_token_ids", "true");
  return Buffer.from(edited(text, members, changes), "latin1");
}

function usageWanted(
  streamOptions: JsonObject | undefined,
  isStream: boolean,
): ChunkRewrite["usage"] {
  if (!isStream || streamOptions?.["include_usage"] !== true) return "none";
  return streamOptions["continuous_usage_stats"] === true ? "continuous" : "final";
}

function outputTokensIn(reader: MemberReader): number | undefined {
  const all = ["max_completion_tokens", "max_tokens"].map((key) =>
    reader.integer(key, 1, outputTokensMax),
  );
  return all.find((value) => value !== undefined);
}

/** Whatever else stands there is for the pool to refuse. */
function isAskingForIds(reader: MemberReader): boolean {
  const raw = reader.raw("return_token_ids");
  return raw !== undefined && raw !== "false" && raw !== "null";
}

function criticalityOf(tier = "auto"): Criticality {
  const criticality = criticalityByTier.get(tier);
  if (criticality !== undefined) return criticality;
  const expected = [...criticalityByTier.keys()].join(", ");
  throw bad(`service_tier: expected one of ${expected}`, "service_tier");
}

function requireModel(reader: MemberReader): string {
  const model = reader.text("model");
  if (model === undefined || model === "") {
    throw bad("model: expected the name of a model, found nothing", "model");
  }
  if (model.length > modelNameMax) {
    throw bad(`model: expected at most ${modelNameMax} characters, found ${model.length}`, "model");
  }
  return model;
}

function requireMessages(reader: MemberReader): void {
  const raw = reader.raw("messages");
  if (raw === undefined || !raw.startsWith("[") || /^\[\s*\]$/.test(raw)) {
    throw bad("messages: expected at least one message", "messages");
  }
}

function refuseStore(reader: MemberReader): void {
  if (reader.boolean("store") !== true) return;
  throw new Refusal("BAD_REQUEST", "store: expected false, answers are not stored here", {
    param: "store",
    code: "unsupported_value",
  });
}

/** Single members, parsed when they are asked for. `null` is the same as absent. */
class MemberReader {
  readonly #text: string;
  readonly #members: ReadonlyMap<string, Member>;

  constructor(text: string, members: ReadonlyMap<string, Member>) {
    this.#text = text;
    this.#members = members;
  }

  raw(key: string): string | undefined {
    const member = this.#members.get(key);
    return member && this.#text.slice(member.start, member.end);
  }

  text(key: string): string | undefined {
    const value = this.#value(key);
    if (value === undefined || typeof value === "string") return value;
    throw bad(`${key}: expected a string, found ${kindOf(value)}`, key);
  }

  boolean(key: string): boolean | undefined {
    const value = this.#value(key);
    if (value === undefined || typeof value === "boolean") return value;
    throw bad(`${key}: expected true or false, found ${kindOf(value)}`, key);
  }

  integer(key: string, min: number, max: number): number | undefined {
    const value = this.#value(key);
    if (value === undefined) return undefined;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max) {
      return value;
    }
    const found = typeof value === "number" ? String(value) : kindOf(value);
    throw bad(`${key}: expected a whole number from ${min} to ${max}, found ${found}`, key);
  }

  object(key: string): JsonObject | undefined {
    const value = this.#value(key);
    if (value === undefined || isObject(value)) return value;
    throw bad(`${key}: expected an object, found ${kindOf(value)}`, key);
  }

  #value(key: string): unknown {
    const raw = this.raw(key);
    if (raw === undefined) return undefined;
    const value: unknown = JSON.parse(Buffer.from(raw, "latin1").toString("utf8"));
    return value ?? undefined;
  }
}

function bad(message: string, param?: string): Refusal {
  return new Refusal("BAD_REQUEST", message, param === undefined ? {} : { param });
}

function unusable({ kind, problem }: Exclude<Scan, { readonly kind: "object" }>): Refusal {
  return new Refusal("BAD_REQUEST", `the body is not usable JSON: ${problem}`, {
    ...(kind !== "malformed" && { rejectedFor: "json_depth" }),
  });
}

/** Never the value itself: it could be part of a prompt. */
function kindOf(value: unknown): string {
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" ? "an object" : `a ${typeof value}`;
}
