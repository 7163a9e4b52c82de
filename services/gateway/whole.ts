import type { Answer, AnswerSocket } from "./answer.ts";
import { Assembler } from "./assemble.ts";
import type { ChunkRewrite } from "./chunk-rewrite.ts";
import type { Refusal } from "./errors.ts";
import type { JsonObject } from "./json-value.ts";
import type { TextKind } from "./meter.ts";

/** One JSON answer, put together from a pool's stream and sent when it is whole. */
export class WholeAnswer implements Answer {
  readonly rewrite: ChunkRewrite;
  readonly #socket: AnswerSocket;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #assembler = new Assembler();
  #poolHeaders: Readonly<Record<string, string>> = {};
  #isEnded = false;

  constructor(
    socket: AnswerSocket,
    rewrite: Pick<ChunkRewrite, "alias" | "showsIds">,
    headers: Readonly<Record<string, string>>,
  ) {
    this.#socket = socket;
    this.rewrite = { ...rewrite, usage: "none", isShown: false };
    this.#headers = headers;
  }

  get isGone(): boolean {
    return this.#socket.isGone;
  }

  get hasBegun(): boolean {
    return false;
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

  text(choice: number, kind: TextKind, bytes: string): void {
    this.#assembler.addText(choice, kind, bytes);
  }

  chunk(chunk: JsonObject): void {
    this.#assembler.addChunk(chunk);
  }

  usage(usage: JsonObject): void {
    this.#assembler.addUsage(usage);
  }

  send(): boolean {
    return true;
  }

  finish(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    const body = Buffer.from(this.#assembler.toJson(this.rewrite.alias));
    this.#socket.response.writeHead(200, {
      "content-type": "application/json; charset=utf-8",
      "content-length": body.length,
      ...this.#headers,
      ...this.#poolHeaders,
    });
    this.#socket.end(body.toString("latin1"));
  }

  fail(refusal: Refusal): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#socket.refuse(refusal, this.#headers);
  }

  settled(): Promise<void> {
    return this.#socket.settled();
  }
}
