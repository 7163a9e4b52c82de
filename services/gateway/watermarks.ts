import type { Clock } from "../io/clock.ts";
import { watermarkOf, type AttemptTimes } from "./attempt-record.ts";
import type { AnswerMeter } from "./meter.ts";
import type { Spool, UnnumberedRecord } from "./spool.ts";
import type { Watermark } from "./spooled.ts";

const watermarkMs = 2_000;
const watermarkTokens = 256;

/** Notes in the spool how far an attempt has come, every so often: what is owed if we are not there to close it. */
export class Watermarks {
  readonly #spool: Spool;
  readonly #clock: Clock;
  readonly #of: { readonly draft: UnnumberedRecord; readonly meter: AnswerMeter };
  #marked = { at: performance.now(), deltas: 0 };
  #last: Watermark | undefined;

  constructor(
    { spool, clock }: { readonly spool: Spool; readonly clock: Clock },
    of: { readonly draft: UnnumberedRecord; readonly meter: AnswerMeter },
  ) {
    this.#spool = spool;
    this.#clock = clock;
    this.#of = of;
  }

  get last(): Watermark | undefined {
    return this.#last;
  }

  /** `now` is monotonic, in ms. */
  tick(
    now: number,
    taken: Readonly<Record<"deliveredBytes" | "sentBytes", number>>,
    times: Readonly<AttemptTimes>,
  ): void {
    const { draft, meter } = this.#of;
    const { deltas } = meter;
    const isDue =
      now - this.#marked.at >= watermarkMs || deltas - this.#marked.deltas >= watermarkTokens;
    if (!isDue || deltas === this.#marked.deltas) return;
    this.#marked = { at: now, deltas };
    // Getters of a class: spread would leave them out.
    const { deliveredBytes, sentBytes } = taken;
    const at = this.#clock.now();
    this.#last = watermarkOf(draft, meter, { at, times, deliveredBytes, sentBytes });
    this.#spool.watermark(this.#last);
  }
}
