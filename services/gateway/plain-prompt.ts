import { isObject } from "./json-value.ts";

/** Members of messages whose text an engine reads as it stands. */
const textKeys: ReadonlySet<string> = new Set([
  "role",
  "content",
  "text",
  "name",
  "id",
  "tool_call_id",
  "arguments",
  "input",
  "refusal",
  "reasoning_content",
  "reasoning",
  "ttl",
]);

/** Of parts, of calls of tools, and of marks for the cache, as they stand between quotes. */
const textTypes: ReadonlySet<string> = new Set([
  "text",
  "refusal",
  "function",
  "custom",
  "ephemeral",
]);

/** Members of a request that let the engine put in what it was not sent. */
const unboundedMembers = [
  "chat_template",
  "enable_search",
  "search_options",
  "web_search_options",
  "plugins",
  "mm_processor_kwargs",
] as const;

/**
 * Whether a request is text alone: then its tokens are at most its bytes. A picture of few bytes can be thousands of
 * tokens, so what is not known to be text is not taken for it.
 */
export class PlainPrompt {
  readonly #text: string;
  #isPlain = true;

  constructor(text: string) {
    this.#text = text;
  }

  /** A string of the messages, as it stands between quotes in JSON. */
  add(key: string, start: number, end: number): void {
    if (!this.#isPlain || textKeys.has(key)) return;
    this.#isPlain = key === "type" && textTypes.has(this.#text.slice(start, end));
  }

  /** `raw` is the JSON of a member of the request, in `latin1`. */
  isPlain(raw: (member: string) => string | undefined): boolean {
    return (
      this.#isPlain &&
      unboundedMembers.every((member) => !isSaid(raw(member))) &&
      areFunctions(raw("tools"))
    );
  }
}

/** Tools that the engine calls itself bring their results into the prompt. */
function areFunctions(raw: string | undefined): boolean {
  if (raw === undefined) return true;
  const tools: unknown = JSON.parse(raw);
  if (!Array.isArray(tools)) return tools === null;
  return tools.every((tool) => {
    const type = isObject(tool) ? (tool["type"] ?? "function") : undefined;
    return typeof type === "string" && textTypes.has(type);
  });
}

function isSaid(raw: string | undefined): boolean {
  return raw !== undefined && raw !== "null" && raw !== "false";
}
