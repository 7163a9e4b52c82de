import { rejected, type Verdict } from "./verdict.ts";

const bytesMax = 64 * 1024;
/** How long the body is waited for: the status says enough. */
const waitMs = 1_000;

/** An answer of a pool that is no stream of events, read as far as it may say why. */
export class RejectedAnswer {
  readonly #status: number;
  readonly #since: number;
  readonly #packets: Buffer[] = [];
  #bytes = 0;

  /** `now` is monotonic, in ms, as in `isOver`. */
  constructor(status: number, now: number) {
    this.#status = status;
    this.#since = now;
  }

  add(bytes: Buffer): void {
    if (this.#bytes >= bytesMax) return;
    this.#packets.push(bytes);
    this.#bytes += bytes.length;
  }

  /** Nothing more of it is worth waiting for. */
  isOver(now: number): boolean {
    return this.#bytes >= bytesMax || now - this.#since >= waitMs;
  }

  get verdict(): Verdict {
    return rejected(this.#status, Buffer.concat(this.#packets));
  }
}
