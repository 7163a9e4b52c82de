import { Template } from "@huggingface/jinja";
import { Tokenizer } from "@huggingface/tokenizers";
import { isObject, objectsIn, textIn, type JsonObject } from "./json-value.ts";
import type { OpenAiEncoding, TokenizerFiles } from "./tokenizer-files.ts";

/** Counts as the model's own tokenizer does. Slow: for worker threads. */
export interface TokenCounter {
  /** Of a whole text: parts that were cut apart count more. */
  tokens(text: string): number;
  /** Of a chat request's body. */
  promptTokens(body: string): PromptCount;
}

export interface PromptCount {
  readonly tokens: number;
  /** False: the texts were counted, and marks around messages guessed. */
  readonly hasTemplate: boolean;
}

/** What stands around a message, and before the answer, where no template says so: as in ChatML. */
const markTokensPerMessage = 4;
const markTokensPerAnswer = 3;

export async function openCounter(files: TokenizerFiles): Promise<TokenCounter> {
  const tokens =
    files.kind === "openai"
      ? await openAiTokens(files.encoding)
      : publishedTokens(files.tokenizer, files.config);
  const template = files.kind === "openai" ? undefined : templateOf(files);
  return {
    tokens,
    promptTokens: (body) => {
      const request: unknown = JSON.parse(body);
      if (!isObject(request)) throw new Error("expected a chat request as an object");
      const text = template?.(request);
      if (text !== undefined) return { tokens: tokens(text), hasTemplate: true };
      return { tokens: plainTokens(request, tokens), hasTemplate: false };
    },
  };
}

type Count = (text: string) => number;
type Render = (request: JsonObject) => string | undefined;

/** An answer may hold what looks like a mark of the template; here it is text like any other. */
const asText = { disallowedSpecial: new Set<string>() };

const encodings: Readonly<
  Record<OpenAiEncoding, () => Promise<{ countTokens(text: string, as: typeof asText): number }>>
> = {
  cl100k_base: () => import("gpt-tokenizer/encoding/cl100k_base"),
  o200k_base: () => import("gpt-tokenizer/encoding/o200k_base"),
  o200k_harmony: () => import("gpt-tokenizer/encoding/o200k_harmony"),
  p50k_base: () => import("gpt-tokenizer/encoding/p50k_base"),
  r50k_base: () => import("gpt-tokenizer/encoding/r50k_base"),
};

async function openAiTokens(encoding: OpenAiEncoding): Promise<Count> {
  const counting = await encodings[encoding]();
  return (text) => counting.countTokens(text, asText);
}

function publishedTokens(tokenizerJson: string, configJson: string): Count {
  const tokenizer = new Tokenizer(toObject(tokenizerJson), toObject(configJson));
  return (text) => tokenizer.encode(text, { add_special_tokens: false }).ids.length;
}

function toObject(json: string): JsonObject {
  const value: unknown = JSON.parse(json);
  if (isObject(value)) return value;
  throw new Error("expected a tokenizer's file to be an object");
}

/** A template that cannot take a request, as many cannot take tools, says nothing of it. */
function templateOf(files: Extract<TokenizerFiles, { readonly kind: "published" }>): Render {
  if (files.chatTemplate === undefined) return () => undefined;
  const template = new Template(files.chatTemplate);
  const config = toObject(files.config);
  const marks = { bos_token: markIn(config, "bos_token"), eos_token: markIn(config, "eos_token") };
  return (request) => {
    const options = request["chat_template_kwargs"];
    try {
      return template.render({
        ...marks,
        add_generation_prompt: true,
        ...(isObject(options) && options),
        messages: objectsIn(request, "messages").map(flattened),
        ...(Array.isArray(request["tools"]) && { tools: request["tools"] }),
      });
    } catch {
      return undefined;
    }
  };
}

/** A text, or an object with the text in it. */
function markIn(config: JsonObject, name: string): string {
  const mark = config[name];
  return (isObject(mark) ? textIn(mark, "content") : textIn(config, name)) ?? "";
}

/** Engines join the parts of a message by line breaks where the template takes a text. */
function flattened(message: JsonObject): JsonObject {
  const { content } = message;
  if (!Array.isArray(content)) return message;
  return { ...message, content: textsOf(content).join("\n") };
}

function textsOf(content: unknown): readonly string[] {
  if (typeof content === "string") return [content];
  if (!Array.isArray(content)) return [];
  return content.filter(isObject).flatMap((part) => textIn(part, "text") ?? []);
}

function plainTokens(request: JsonObject, count: Count): number {
  let tokens = markTokensPerAnswer;
  for (const message of objectsIn(request, "messages")) {
    const calls = message["tool_calls"];
    const said = [...textsOf(message["content"]), textIn(message, "reasoning_content") ?? ""];
    const called = Array.isArray(calls) ? JSON.stringify(calls) : "";
    tokens += markTokensPerMessage + count([...said, called].filter(Boolean).join("\n"));
  }
  const { tools } = request;
  return Array.isArray(tools) ? tokens + count(JSON.stringify(tools)) : tokens;
}
