import { createHash, type Hash } from "node:crypto";
import type { Event } from "../../core/events.ts";
import type { Decision } from "../../core/placement/decide.ts";
import type { Instant } from "../../core/units.ts";
import type { Lost } from "../../io/journal.ts";
import type { Replayed } from "../../io/journal-replay.ts";

/** From one image to the next. */
export interface Stretch {
  readonly fromMs: Instant | undefined;
  readonly toMs: Instant | undefined;
  readonly events: number;
  readonly decisions: number;
  /** SHA-256 over what was given for every event, a line each, as the journal has it and as it came out again. */
  readonly recorded: string;
  readonly replayed: string;
  /** Of the image behind it: is it the state that was replayed? Undefined: there is none, or it begins another run. */
  readonly isStateSame: boolean | undefined;
}

export interface Difference {
  readonly event: Event;
  readonly recorded: string;
  readonly replayed: string;
  /** As it was made again. Undefined: the event asks for none. */
  readonly decision: Decision | undefined;
}

export interface Gap {
  /** The event before it. */
  readonly afterMs: Instant | undefined;
  readonly dropped: number;
}

/** More are counted and not listed. */
const listedMax = 1_000;

/** What a replay proved. */
export class Proof {
  events = 0;
  decisions = 0;
  /** Events for which the journal does not say what was given. */
  unsaid = 0;
  differing = 0;
  /** Events that are not replayed: nothing is known of the state before them. */
  skipped = 0;
  fromMs: Instant | undefined;
  toMs: Instant | undefined;
  first: Difference | undefined;
  readonly stretches: Stretch[] = [];
  readonly gaps: Gap[] = [];
  readonly losses: Lost[] = [];
  #stretch: Open | undefined;

  take(each: Replayed): void {
    switch (each.kind) {
      case "restored":
        this.#close(undefined);
        this.#stretch = opened();
        return;
      case "compared":
        this.#close(each.isSame);
        return;
      case "step":
        return this.#step(each);
      case "skipped":
        this.skipped += 1;
        return;
      case "gap":
        this.#close(undefined);
        if (this.gaps.length < listedMax) {
          this.gaps.push({ afterMs: this.toMs, dropped: each.dropped });
        }
        return;
      case "lost":
        this.#close(undefined);
        if (this.losses.length < listedMax) this.losses.push(each);
    }
  }

  end(): void {
    this.#close(undefined);
  }

  /** Of all that is there: the cut end of the last write is what a crash leaves. */
  get isProven(): boolean {
    return (
      this.decisions > 0 &&
      this.differing === 0 &&
      this.unsaid === 0 &&
      this.losses.every(({ reason }) => reason === "torn-tail") &&
      this.stretches.every(({ isStateSame }) => isStateSame !== false)
    );
  }

  #step({ event, effects, given, text }: Extract<Replayed, { readonly kind: "step" }>): void {
    const stretch = (this.#stretch ??= opened());
    this.events += 1;
    stretch.events += 1;
    this.fromMs ??= event.at;
    this.toMs = event.at;
    stretch.fromMs ??= event.at;
    stretch.toMs = event.at;
    stretch.recorded.update(`${given ?? ""}\n`);
    stretch.replayed.update(`${text}\n`);
    const answer = effects.find((effect) => effect.kind === "answer");
    if (answer !== undefined) {
      this.decisions += 1;
      stretch.decisions += 1;
    }
    if (given === undefined) this.unsaid += 1;
    else if (given !== text) {
      this.differing += 1;
      this.first ??= { event, recorded: given, replayed: text, decision: answer?.decision };
    }
  }

  #close(isStateSame: boolean | undefined): void {
    if (this.#stretch === undefined) return;
    const { recorded, replayed, ...counts } = this.#stretch;
    this.#stretch = undefined;
    if (counts.events === 0 || this.stretches.length >= listedMax) return;
    this.stretches.push({
      ...counts,
      recorded: recorded.digest("hex"),
      replayed: replayed.digest("hex"),
      isStateSame,
    });
  }
}

interface Open {
  fromMs: Instant | undefined;
  toMs: Instant | undefined;
  events: number;
  decisions: number;
  readonly recorded: Hash;
  readonly replayed: Hash;
}

function opened(): Open {
  return {
    fromMs: undefined,
    toMs: undefined,
    events: 0,
    decisions: 0,
    recorded: createHash("sha256"),
    replayed: createHash("sha256"),
  };
}
