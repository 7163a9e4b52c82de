import { createHash } from "node:crypto";
import { isObject, objectsIn, type JsonObject } from "./json-value.ts";

/**
 * Counts the token ids that an engine sends with its text, where it was asked for them. Some leave them out of parts
 * of an answer (vLLM of streamed calls of tools): then their number is not that of the tokens, and is not told.
 */
export class TokenIds {
  readonly #hash = createHash("sha256");
  #input: number | undefined;
  #output = 0;
  #hasOutput = false;
  #isIncomplete = false;

  get input(): bigint | undefined {
    return this.#input === undefined ? undefined : BigInt(this.#input);
  }

  get output(): bigint | undefined {
    return this.#isKnown ? BigInt(this.#output) : undefined;
  }

  get #isKnown(): boolean {
    return this.#hasOutput && !this.#isIncomplete;
  }

  /** Ends the count. */
  digest(): string | undefined {
    return this.#isKnown ? this.#hash.digest("hex") : undefined;
  }

  observe(chunk: JsonObject, hasText: boolean): void {
    const prompt = chunk["prompt_token_ids"];
    if (Array.isArray(prompt)) this.#input = prompt.length;
    let hasIds = false;
    for (const choice of objectsIn(chunk, "choices")) {
      const ids = choice["token_ids"];
      if (!isIds(ids)) continue;
      hasIds = true;
      this.#output += ids.length;
      if (ids.length > 0) this.#hash.update(`${ids.join(",")},`);
    }
    if (hasIds) this.#hasOutput = true;
    else if (hasText) this.#isIncomplete = true;
  }

  /** Text came without ids. */
  missing(): void {
    this.#isIncomplete = true;
  }
}

function isIds(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((id) => Number.isSafeInteger(id) && id >= 0);
}

/** The chunk as clients get it that did not ask for token ids. */
export function withoutIds(chunk: JsonObject): JsonObject {
  if (!hasIds(chunk)) return chunk;
  const { prompt_token_ids: _prompt, ...rest } = chunk;
  const { choices } = chunk;
  if (!Array.isArray(choices)) return rest;
  return { ...rest, choices: choices.map(choiceWithoutIds) };
}

export function hasIds(chunk: JsonObject): boolean {
  return (
    "prompt_token_ids" in chunk ||
    objectsIn(chunk, "choices").some((choice) => "token_ids" in choice)
  );
}

function choiceWithoutIds(choice: unknown): unknown {
  if (!isObject(choice)) return choice;
  const { token_ids: _ids, ...rest } = choice;
  return rest;
}
