import type { Refused, Reservation } from "./quota.ts";

/** Asks for more before an answer has used up what was reserved for it. */
export class QuotaWatch {
  readonly #reservation: Reservation | undefined;
  readonly #onRefused: (refused: Refused) => void;
  #isAsking = false;

  constructor(reservation: Reservation | undefined, onRefused: (refused: Refused) => void) {
    this.#reservation = reservation;
    this.#onRefused = onRefused;
  }

  tick(outputTokens: number): void {
    const reservation = this.#reservation;
    if (reservation === undefined || this.#isAsking) return;
    const tokens = BigInt(outputTokens);
    if (!reservation.needsMore(tokens)) return;
    this.#isAsking = true;
    const extend = async (): Promise<void> => {
      const refused = await reservation.extend(tokens);
      this.#isAsking = false;
      if (refused !== undefined) this.#onRefused(refused);
    };
    extend().catch((error: unknown) => {
      this.#onRefused({ kind: "refused", cause: "unreachable", reason: String(error) });
    });
  }
}
