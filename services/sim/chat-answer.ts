import type { ServerResponse } from "node:http";
import type { ChatRequest, EngineError } from "./chat-request.ts";
import type { Fault } from "./faults.ts";

/** What a simulated engine says: words without a meaning, one per token. */
const words =
  "power flows from west to east and tokens flow back the grid takes the cheapest pool that the rules allow counts every token once and says why wind sun water keep the lights on while answers come word by word".split(
    " ",
  );

/**
 * One answer on its way to the client, as vLLM writes it. A client who reads slowly gets several tokens in
 * one chunk, so no more waits in memory than one number.
 */
export class ChatAnswer {
  readonly #id: string;
  readonly #createdS: number;
  readonly #request: ChatRequest;
  readonly #response: ServerResponse;
  readonly #fault: Fault | undefined;
  /** Everything of a chunk before its text. */
  readonly #head: string;
  #tokens = 0;
  #sent = 0;
  #firstSentMs: number | undefined;
  #cachedTokens = 0;
  #isEnding = false;
  #isOver = false;

  constructor(options: {
    readonly id: string;
    readonly request: ChatRequest;
    readonly response: ServerResponse;
    readonly fault: Fault | undefined;
  }) {
    this.#id = `chatcmpl-${options.id}`;
    this.#createdS = Math.floor(Date.now() / 1_000);
    this.#request = options.request;
    this.#response = options.response;
    this.#fault = options.fault;
    const model = JSON.stringify(options.request.model);
    this.#head = `data: {"id":"${this.#id}","object":"chat.completion.chunk","created":${this.#createdS},"model":${model},"choices":[`;
  }

  /** What has left the engine. */
  get sent(): {
    readonly outputTokens: number;
    readonly cachedTokens: number;
    readonly firstAtMs: number | undefined;
  } {
    return {
      outputTokens: this.#sent,
      cachedTokens: this.#cachedTokens,
      firstAtMs: this.#firstSentMs,
    };
  }

  /** The headers of a stream leave before its first token, as the engine's do. */
  open(): void {
    if (!this.#request.isStream) return;
    this.#response.writeHead(200, { "content-type": "text/event-stream; charset=utf-8" });
    this.#response.flushHeaders();
    this.#response.on("drain", () => this.#send());
  }

  /** The engine made one more token. */
  token(cachedTokens: number): void {
    this.#cachedTokens = cachedTokens;
    this.#tokens += 1;
    this.#send();
  }

  /** The engine made the last one. */
  end(): void {
    this.#isEnding = true;
    if (this.#isOver) return;
    if (this.#request.isStream) this.#send();
    else this.#sendWhole();
  }

  #send(): void {
    const { isStream } = this.#request;
    if (!isStream || this.#isOver || this.#response.writableNeedDrain) return;
    if (this.#isStruck()) return;
    const isLast = this.#isEnding && this.#tokens === this.#request.outputTokens;
    if (this.#sent === this.#tokens) return;
    // The last token waits for the word that it is the last: its chunk says why the answer ended.
    if (this.#tokens === this.#request.outputTokens && !isLast) return;
    const role = this.#sent === 0 ? this.#roleChunk() : "";
    const text = JSON.stringify(this.#text(this.#sent, this.#tokens));
    this.#sent = this.#tokens;
    this.#firstSentMs ??= Date.now();
    const reason = isLast ? `"${this.#request.finishReason}"` : "null";
    const chunk = `${this.#head}{"index":0,"delta":{"content":${text}},"logprobs":null,"finish_reason":${reason}}]${this.#running()}}\n\n`;
    this.#response.write(isLast ? role + chunk + this.#lastChunks() : role + chunk);
    if (isLast) this.#finish();
  }

  #roleChunk(): string {
    return `${this.#head}{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]${this.#running()}}\n\n`;
  }

  #running(): string {
    return this.#request.hasContinuousUsage ? `,"usage":${this.#usage(this.#sent)}` : "";
  }

  #lastChunks(): string {
    const hasUsage = this.#request.hasUsage && this.#fault?.kind !== "no-usage";
    const usage = hasUsage ? `${this.#head}],"usage":${this.#usage(this.#sent)}}\n\n` : "";
    return `${usage}data: [DONE]\n\n`;
  }

  #sendWhole(): void {
    if (this.#isStruck()) return;
    const { model, finishReason, outputTokens } = this.#request;
    const message = { role: "assistant", content: this.#text(0, outputTokens) };
    const body = {
      id: this.#id,
      object: "chat.completion",
      created: this.#createdS,
      model,
      choices: [{ index: 0, message, logprobs: null, finish_reason: finishReason }],
      ...(this.#fault?.kind === "no-usage"
        ? {}
        : { usage: JSON.parse(this.#usage(outputTokens)) as unknown }),
    };
    this.#isOver = true;
    this.#sent = outputTokens;
    this.#firstSentMs = Date.now();
    this.#response.writeHead(200, { "content-type": "application/json" });
    this.#response.end(JSON.stringify(body));
  }

  #usage(outputTokens: number): string {
    const { promptTokens } = this.#request;
    return `{"prompt_tokens":${promptTokens},"total_tokens":${promptTokens + outputTokens},"completion_tokens":${outputTokens},"prompt_tokens_details":{"cached_tokens":${this.#cachedTokens}}}`;
  }

  #text(from: number, to: number): string {
    let text = "";
    for (let index = from; index < to; index++) {
      text += `${index === 0 ? "" : " "}${words[(this.#request.seed + index) % words.length]}`;
    }
    return text;
  }

  /** True when a fault has taken the answer over. */
  #isStruck(): boolean {
    const fault = this.#fault;
    if (fault === undefined || this.#sent < fault.afterTokens) return false;
    switch (fault.kind) {
      case "no-usage":
      // The other two are over before an answer begins.
      case "error-500":
      case "error-503":
        return false;
      case "drop":
      case "cut":
        this.#response.destroy();
        break;
      case "clean-end":
        this.#response.end();
        break;
      case "error-event":
        this.#response.end(
          `data: ${errorText({ status: 500, type: "InternalServerError", message: "simulated fault", param: null })}\n\ndata: [DONE]\n\n`,
        );
        break;
      case "stall":
        break;
    }
    this.#isOver = true;
    return true;
  }

  #finish(): void {
    this.#isOver = true;
    this.#response.end();
  }
}

/** The body of an error as vLLM writes it. */
export function errorText({ status, type, message, param }: EngineError): string {
  return JSON.stringify({ error: { message, type, param, code: status } });
}
