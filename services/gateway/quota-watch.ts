import type { Refused, Reservation } from "./quota.ts";

/** What is done about an answer whose reservation runs out. */
export interface QuotaActions {
  /** Nothing more is read until `goOn`: what is asked for may not come. */
  wait(): void;
  goOn(): void;
  /** All that was reserved is used, and there is no more. */
  stop(refused: Refused): void;
}

/** From this part of a reservation on it is looked at closely; below it a number is compared. */
const closeRatio = 0.75;

/**
 * Asks for more before an answer has used up what was reserved for it, and holds it up where more is not there in time:
 * what is used is what was reserved, up to the tokens of one packet.
 */
export class QuotaWatch {
  readonly #reservation: Reservation | undefined;
  readonly #actions: QuotaActions;
  #limit = Infinity;
  #isAsking = false;
  #isWaiting = false;
  #refused: Refused | undefined;

  constructor(reservation: Reservation | undefined, actions: QuotaActions) {
    this.#reservation = reservation;
    this.#actions = actions;
    this.#learn();
  }

  get isWaiting(): boolean {
    return this.#isWaiting;
  }

  /** To be called for each packet, with the tokens so far. */
  check(outputTokens: number): void {
    if (outputTokens < this.#limit * closeRatio) return;
    if (this.#refused !== undefined) {
      if (outputTokens >= this.#limit) this.#actions.stop(this.#refused);
      return;
    }
    if (!this.#isAsking) this.#ask(BigInt(outputTokens));
    if (this.#isAsking && outputTokens >= this.#limit && !this.#isWaiting) {
      this.#isWaiting = true;
      this.#actions.wait();
    }
  }

  #ask(outputTokens: bigint): void {
    const reservation = this.#reservation;
    if (reservation?.needsMore(outputTokens) !== true) return;
    this.#isAsking = true;
    reservation.extend(outputTokens).then(
      (refused) => this.#answered(refused),
      (error: unknown) => {
        this.#answered({ kind: "refused", cause: "unreachable", reason: String(error) });
      },
    );
  }

  #answered(refused: Refused | undefined): void {
    this.#isAsking = false;
    this.#refused = refused;
    this.#learn();
    if (!this.#isWaiting) return;
    this.#isWaiting = false;
    if (refused === undefined) this.#actions.goOn();
    else this.#actions.stop(refused);
  }

  #learn(): void {
    const tokens = this.#reservation?.outputTokens;
    this.#limit = tokens === undefined ? Infinity : Number(tokens);
  }
}
