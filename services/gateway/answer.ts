import type { ServerResponse } from "node:http";
import type { ChunkRewrite } from "./chunk-rewrite.ts";
import { beforeFirstByte, toErrorAnswer, toErrorBody, type Refusal } from "./errors.ts";
import type { JsonObject } from "./json-value.ts";
import type { TextKind } from "./meter.ts";
import type { Sweeper, Ticker } from "./sweeper.ts";

/** What one client is given, while it is there. An attempt writes; the next one may go on if nothing was sent. */
export interface Answer {
  readonly rewrite: ChunkRewrite;
  /** The client left, or was cut, before it had all. */
  readonly isGone: boolean;
  /** The status went out as 200: what comes now is told in events. */
  readonly hasBegun: boolean;
  /** Bytes of the answer's body that its socket has taken. */
  readonly deliveredBytes: number;
  /** Bytes of it that were written, taken or not. */
  readonly sentBytes: number;
  /** Told when the client leaves before it has all. */
  onGone: (why: "client" | "slow-reader") => void;
  /** Told when the client has taken what it was sent. */
  onDrain: () => void;
  /** A pool's answer begins: these headers go out with it, if none went before. */
  commit(headers: Readonly<Record<string, string>>): void;
  text(choice: number, kind: TextKind, bytes: string): void;
  chunk(chunk: JsonObject): void;
  usage(usage: JsonObject): void;
  /** Events for the client, as bytes in `latin1`. False: it is slow, hold the pool up until `onDrain`. */
  send(shown: string): boolean;
  /** The end as it should be. */
  finish(shown: string): void;
  /** The end as it should not be: never clean without saying why. */
  fail(refusal: Refusal): void;
  /** Resolves when all was taken or nobody is there to take it. */
  settled(): Promise<void>;
}

export interface AnswerTimings {
  readonly keepAliveMs: number;
  /** A client that takes nothing for so long is cut. */
  readonly slowReaderMs: number;
}

export const defaultAnswerTimings: AnswerTimings = { keepAliveMs: 15_000, slowReaderMs: 30_000 };

/** What both forms of an answer share: the socket, whether somebody is there, and whether it reads. */
export class AnswerSocket implements Ticker {
  readonly response: ServerResponse;
  readonly #sweeper: Sweeper;
  readonly #timings: AnswerTimings;
  readonly #settled: Promise<void>;
  onGone: (why: "client" | "slow-reader") => void = () => undefined;
  onDrain: () => void = () => undefined;
  onQuiet: () => void = () => undefined;
  #isGone = false;
  #isCut = false;
  #writtenBytes = 0;
  #wroteAt = performance.now();
  #unread = { bytes: 0, since: performance.now() };

  constructor(response: ServerResponse, sweeper: Sweeper, timings: AnswerTimings) {
    this.response = response;
    this.#sweeper = sweeper;
    this.#timings = timings;
    this.#settled = new Promise((resolve) => {
      response.once("finish", resolve);
      response.once("close", () => {
        this.#close();
        resolve();
      });
    });
    response.on("drain", () => this.onDrain());
    response.on("error", () => response.destroy());
    sweeper.add(this);
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  get deliveredBytes(): number {
    return Math.max(0, this.#writtenBytes - this.response.writableLength);
  }

  get sentBytes(): number {
    return this.#writtenBytes;
  }

  settled(): Promise<void> {
    return this.#settled;
  }

  write(text: string): boolean {
    this.#note(text.length);
    return this.response.write(text, "latin1");
  }

  end(text: string): void {
    this.#note(text.length);
    this.response.end(text, "latin1");
  }

  /** An error before anything was sent. */
  refuse(refusal: Refusal, ownHeaders: Readonly<Record<string, string>>): void {
    const { httpStatus, headers, body } = toErrorAnswer(beforeFirstByte(refusal), Math.random());
    const bytes = Buffer.from(body);
    this.response.writeHead(httpStatus, {
      ...headers,
      ...ownHeaders,
      "content-length": bytes.length,
    });
    this.response.end(bytes);
  }

  tick(now: number): void {
    const waiting = this.response.writableLength;
    if (waiting === 0 || waiting < this.#unread.bytes)
      this.#unread = { bytes: waiting, since: now };
    else this.#unread.bytes = waiting;
    if (waiting > 0 && now - this.#unread.since >= this.#timings.slowReaderMs) {
      this.#isCut = true;
      this.response.destroy();
    } else if (waiting === 0 && now - this.#wroteAt >= this.#timings.keepAliveMs) {
      this.#wroteAt = now;
      this.onQuiet();
    }
  }

  #note(bytes: number): void {
    this.#writtenBytes += bytes;
    this.#wroteAt = performance.now();
  }

  #close(): void {
    this.#sweeper.remove(this);
    if (this.response.writableFinished) return;
    this.#isGone = true;
    this.onGone(this.#isCut ? "slow-reader" : "client");
  }
}

/** The line that ends a stream which was lost: clients raise it as an error. */
export function errorEvent(refusal: Refusal): string {
  return Buffer.from(`data: ${JSON.stringify(toErrorBody(refusal))}\n\n`).toString("latin1");
}
