import type { Run } from "./settlement-time.ts";

/** Every moment at which something may die, with what must hold when it is there again (settlement.md, section 15). */
export const crashPoints = {
  C0: "request accepted, nothing durable: no charge",
  C1: "attempt written, not dispatched: the vendor gets nothing, what was reserved comes free",
  C2: "dispatched, before the first byte: closed as crashed, nothing is known of it",
  C3: "in the middle of the stream: the watermark is a lower bound",
  C4: "last chunk seen, not spooled: the same",
  C5: "spooled, not published: sent again",
  C6: "published, the answer lost: one effect",
  C7: "taken by the bus, then lost by it: the spool has it still",
  C8: "ledger committed, the answer lost: it exists",
  C9: "half a transaction: nothing of it is there",
  C10: "leaf appended, no checkpoint: the next one covers it, at the same index",
  C11: "checkpoint kept, not signed: the same root is signed",
  C12: "witness verified, not kept: no reply was sent",
  C13: "statement made, not signed: made again it has the same bytes",
  C14: "statement sent twice: it is one",
  C15: "dispute signed, the ledger not moved: said again it moves once",
  C16: "slices forgotten: overspent is at most what they held",
  C17: "clocks jump by an hour: ids, order and price are as before",
  C18: "disk full, fsync fails: nothing is taken on that cannot be kept",
  C19: "ledger restored from an old backup: it refuses to sign",
  C20: "signing key lost or replaced: a rotation, and old checkpoints still verify",
} as const;

export type CrashPoint = keyof typeof crashPoints;

export const crashNames = Object.keys(crashPoints) as CrashPoint[];

/** Faults that come by themselves, each with the likelihood that a message or a second has it. */
export interface Weather {
  lost: number;
  doubled: number;
  late: number;
  answerLost: number;
}

export const goodWeather: Weather = { lost: 0, doubled: 0, late: 0, answerLost: 0 };

/** Which crash comes after how many times that it could have come, and which came. */
export class Traps {
  readonly #run: Run;
  readonly #left = new Map<CrashPoint, number>();
  readonly happened = new Set<CrashPoint>();

  constructor(run: Run) {
    this.#run = run;
  }

  set(point: CrashPoint, after: number): void {
    this.#left.set(point, after);
  }

  clear(): void {
    this.#left.clear();
  }

  /** To be asked wherever it could be. True: it is now. */
  hit(point: CrashPoint): boolean {
    const left = this.#left.get(point);
    if (left === undefined) return false;
    if (left > 0) {
      this.#left.set(point, left - 1);
      return false;
    }
    this.#left.delete(point);
    this.mark(point);
    return true;
  }

  mark(point: CrashPoint): void {
    this.happened.add(point);
    this.#run.note(`crash point ${point}`);
  }
}
