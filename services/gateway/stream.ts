import { errorEvent, type Answer, type AnswerSocket } from "./answer.ts";
import type { ChunkRewrite } from "./chunk-rewrite.ts";
import type { Refusal } from "./errors.ts";

const streamHeaders = {
  "content-type": "text/event-stream; charset=utf-8",
  "cache-control": "no-cache, no-transform",
  "x-accel-buffering": "no",
} as const;

/**
 * Server-sent events. The headers wait for the first event, or for the first comment that keeps the connection
 * open; from then on errors are events.
 */
export class StreamAnswer implements Answer {
  readonly rewrite: ChunkRewrite;
  readonly #socket: AnswerSocket;
  readonly #headers: Readonly<Record<string, string>>;
  #poolHeaders: Readonly<Record<string, string>> = {};
  #isEnded = false;
  #hasBegun = false;

  constructor(
    socket: AnswerSocket,
    rewrite: ChunkRewrite,
    headers: Readonly<Record<string, string>>,
  ) {
    this.#socket = socket;
    this.rewrite = rewrite;
    this.#headers = headers;
    socket.onQuiet = () => this.#keepAlive();
  }

  get isGone(): boolean {
    return this.#socket.isGone;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  get deliveredBytes(): number {
    return this.#socket.deliveredBytes;
  }

  get sentBytes(): number {
    return this.#socket.sentBytes;
  }

  set onGone(gone: (why: "client" | "slow-reader") => void) {
    this.#socket.onGone = gone;
  }

  set onDrain(drain: () => void) {
    this.#socket.onDrain = drain;
  }

  commit(headers: Readonly<Record<string, string>>): void {
    this.#poolHeaders = headers;
  }

  text(): void {
    // Streams carry the events themselves.
  }

  chunk(): void {
    // As above.
  }

  usage(): void {
    // As above.
  }

  send(shown: string): boolean {
    if (this.#isEnded || shown === "") return true;
    this.#begin();
    return this.#socket.write(shown);
  }

  finish(shown: string): void {
    this.#end(`${shown}data: [DONE]\n\n`);
  }

  fail(refusal: Refusal): void {
    if (this.#socket.response.headersSent) this.#end(errorEvent(refusal));
    else if (!this.#isEnded) {
      this.#isEnded = true;
      this.#socket.refuse(refusal, this.#headers);
    }
  }

  settled(): Promise<void> {
    return this.#socket.settled();
  }

  #end(text: string): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#begin();
    this.#socket.end(text);
  }

  #begin(): void {
    const { response } = this.#socket;
    if (response.headersSent) return;
    this.#hasBegun = true;
    response.writeHead(200, { ...streamHeaders, ...this.#headers, ...this.#poolHeaders });
  }

  #keepAlive(): void {
    if (this.#isEnded) return;
    this.#begin();
    this.#socket.write(": keep-alive\n\n");
  }
}
