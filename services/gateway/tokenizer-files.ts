import { hash } from "node:crypto";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { ModelId } from "../core/units.ts";

/**
 * What a folder holds of one model, by its name in URL encoding: `tokenizer.json` with `tokenizer_config.json` and
 * `chat_template.jinja` as models are published with them, or `encoding` with the name of one of OpenAI's.
 */
export type TokenizerFiles = { readonly digests: TokenizerDigests } & (
  | {
      readonly kind: "published";
      readonly tokenizer: string;
      readonly config: string;
      readonly chatTemplate: string | undefined;
    }
  | { readonly kind: "openai"; readonly encoding: OpenAiEncoding }
);

/** SHA-256, lower-case hex. */
export interface TokenizerDigests {
  readonly tokenizer: string;
  readonly chatTemplate: string | undefined;
}

export const openAiEncodings = [
  "cl100k_base",
  "o200k_base",
  "o200k_harmony",
  "p50k_base",
  "r50k_base",
] as const;
export type OpenAiEncoding = (typeof openAiEncodings)[number];

/** The package is part of what counts: another version may count otherwise. */
const openAiPackage = "gpt-tokenizer@4.0.0";

const namedTemplate = z.object({ name: z.string(), template: z.string() });
const configSchema = z.object({
  chat_template: z.union([z.string(), z.array(namedTemplate)]).optional(),
});

/** Models of which the folder has something. Throws if there is no such folder. */
export async function modelsIn(folder: string): Promise<ModelId[]> {
  const entries = await readdir(folder, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => decodeURIComponent(name) as ModelId);
}

/** Throws for files that are missing or say nothing. */
export async function readTokenizer(folder: string, model: ModelId): Promise<TokenizerFiles> {
  const at = (name: string): string => join(folder, encodeURIComponent(model), name);
  const encoding = (await textOf(at("encoding")))?.trim();
  if (encoding !== undefined) return openAiFiles(encoding);
  const tokenizer = await textOf(at("tokenizer.json"));
  if (tokenizer === undefined) {
    throw new Error(`expected tokenizer.json or encoding for ${model}, found neither`);
  }
  const config = (await textOf(at("tokenizer_config.json"))) ?? "{}";
  const chatTemplate = (await textOf(at("chat_template.jinja"))) ?? templateIn(config);
  return {
    kind: "published",
    tokenizer,
    config,
    chatTemplate,
    digests: {
      tokenizer: hash("sha256", tokenizer, "hex"),
      chatTemplate: chatTemplate && hash("sha256", chatTemplate, "hex"),
    },
  };
}

function openAiFiles(name: string): TokenizerFiles {
  const encoding = openAiEncodings.find((each) => each === name);
  if (encoding === undefined) {
    throw new Error(`encoding: expected one of ${openAiEncodings.join(", ")}, found ${name}`);
  }
  const tokenizer = hash("sha256", `${openAiPackage}/${encoding}`, "hex");
  return { kind: "openai", encoding, digests: { tokenizer, chatTemplate: undefined } };
}

/** Some models have several; the one for plain chats has no other name. */
function templateIn(config: string): string | undefined {
  const { chat_template: template } = configSchema.parse(JSON.parse(config));
  if (template === undefined || typeof template === "string") return template;
  return template.find(({ name }) => name === "default")?.template;
}

/** Undefined: there is no such file. */
async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
