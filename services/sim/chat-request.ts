import { z } from "zod";
import { blockHashes } from "../core/prefix.ts";
import { randomFromSeed, seedFromText } from "../core/random.ts";
import type { ServedModel } from "../core/pool.ts";

/** A chat request as a simulated engine understands it, in tokens. */
export interface ChatRequest {
  readonly model: string;
  readonly isStream: boolean;
  readonly hasUsage: boolean;
  readonly hasContinuousUsage: boolean;
  readonly promptTokens: number;
  readonly outputTokens: number;
  readonly outputTokensMax: number;
  readonly finishReason: "stop" | "length";
  readonly blocks: readonly number[];
  /** For the words of the answer. */
  readonly seed: number;
}

/** An answer that is an error, as vLLM writes it. */
export interface EngineError {
  readonly status: number;
  readonly type: string;
  readonly message: string;
  readonly param: string | null;
}

/** Mean of answers that end by themselves, in tokens: as in recorded conversations. */
const NATURAL_TOKENS_MEAN = 211;

const content = z.union([
  z.string(),
  z.array(z.object({ type: z.literal("text"), text: z.string() })),
  z.null(),
]);

const bodySchema = z.object({
  model: z.string(),
  messages: z.array(z.object({ role: z.string(), content: content.optional() })).min(1),
  stream: z.boolean().nullish(),
  stream_options: z
    .object({
      include_usage: z.boolean().nullish(),
      continuous_usage_stats: z.boolean().nullish(),
    })
    .nullish(),
  max_tokens: z.int().min(1).nullish(),
  max_completion_tokens: z.int().min(1).nullish(),
  ignore_eos: z.boolean().nullish(),
  n: z.literal(1).nullish(),
});

type Body = z.output<typeof bodySchema>;

/**
 * Reads a request body. One word of a message is one token, so that a prompt of N words has N tokens; an
 * empty prompt has one. With `ignore_eos` the answer has exactly `max_tokens`; otherwise it ends where its
 * own length, drawn from the prompt, says.
 */
export function parseChat(
  text: string,
  served: ReadonlyMap<string, ServedModel>,
): ChatRequest | EngineError {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return badRequest("expected a JSON object, found text that is no JSON", null);
  }
  const parsed = bodySchema.safeParse(data);
  if (!parsed.success) {
    const [issue] = parsed.error.issues;
    const param = issue?.path.map(String).join(".") ?? "";
    return badRequest(`${param}: ${issue?.message ?? "not understood"}`, param);
  }
  const body = parsed.data;
  const model = served.get(body.model);
  if (model === undefined) {
    const message = `The model \`${body.model}\` does not exist.`;
    return { status: 404, type: "NotFoundError", message, param: "model" };
  }
  if (body.stream_options != null && body.stream !== true) {
    return badRequest("Stream options can only be defined when `stream=True`.", "stream_options");
  }
  return toRequest(body, model);
}

function toRequest(body: Body, model: ServedModel): ChatRequest | EngineError {
  const words = body.messages.flatMap((message) => wordsOf(message.content));
  const promptTokens = Math.max(1, words.length);
  const blocks = blockHashes(words);
  const seed = seedFromText(words.slice(-16).join(" "), blocks.at(-1));
  const room = model.contextTokensMax - promptTokens;
  const asked = body.max_completion_tokens ?? body.max_tokens ?? undefined;
  if (room < 1 || (asked ?? 1) > room) return tooLong(model, promptTokens, asked);
  const natural = Math.min(room, naturalTokens(seed));
  const outputTokens =
    body.ignore_eos === true ? (asked ?? room) : Math.min(asked ?? natural, natural);
  return {
    model: body.model,
    isStream: body.stream === true,
    hasUsage: body.stream_options?.include_usage === true,
    hasContinuousUsage: body.stream_options?.continuous_usage_stats === true,
    promptTokens,
    outputTokens,
    outputTokensMax: asked ?? outputTokens,
    finishReason: outputTokens === natural && body.ignore_eos !== true ? "stop" : "length",
    blocks,
    seed,
  };
}

function wordsOf(text: z.output<typeof content> | undefined): string[] {
  const whole = Array.isArray(text) ? text.map((part) => part.text).join(" ") : (text ?? "");
  return whole.match(/\S+/g) ?? [];
}

/** Exponential: most answers are short, some are long. The same prompt gives the same length. */
function naturalTokens(seed: number): number {
  return Math.ceil(-Math.log(1 - randomFromSeed(seed)()) * NATURAL_TOKENS_MEAN) || 1;
}

function tooLong(model: ServedModel, promptTokens: number, asked: number | undefined): EngineError {
  const completion = asked ?? 1;
  return badRequest(
    `This model's maximum context length is ${model.contextTokensMax} tokens. However, you requested ${promptTokens + completion} tokens (${promptTokens} in the messages, ${completion} in the completion). Please reduce the length of the messages or completion.`,
    null,
  );
}

function badRequest(message: string, param: string | null): EngineError {
  return { status: 400, type: "BadRequestError", message, param };
}
