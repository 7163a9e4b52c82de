import { Sequence } from "../../core/settlement/ledger/sequence.ts";
import type { UsageRecord } from "../../core/settlement/counting/usage.ts";
import type { Instant } from "../../core/units.ts";
import type { Clock } from "../../io/clock.ts";
import type { ProducerState } from "../../io/ledger-store.ts";

/** A hole that has not moved for so long is a loss. */
export const holePatienceMs = 30_000;

interface Producer {
  readonly state: ProducerState;
  /** When its first hole was first seen; undefined without holes. */
  readonly holeSince: Instant | undefined;
}

/** New states, to be committed and then kept. */
export interface Noted {
  readonly states: readonly ProducerState[];
  /** Numbers that were given up for lost. */
  readonly lost: bigint;
  /** After the commit: from now on they are the truth. */
  keep(): void;
}

/** Watches the dense sequence of each gateway for holes: what never came is missing from the bill. */
export class Producers {
  readonly #clock: Clock;
  readonly #producers = new Map<string, Producer>();
  readonly #onLost: (numbers: bigint) => void;

  constructor(options: {
    readonly states: readonly ProducerState[];
    readonly clock: Clock;
    readonly onLost: (numbers: bigint) => void;
  }) {
    this.#clock = options.clock;
    this.#onLost = options.onLost;
    for (const state of options.states) this.#keep(state);
  }

  note(records: readonly UsageRecord[]): Noted {
    const sequences = new Map<string, { readonly start: ProducerState; sequence: Sequence }>();
    let lost = 0n;
    const lostBy = new Map<string, bigint>();
    for (const { gateway, epoch, producerSeq } of records) {
      const key = keyOf({ gateway, epoch });
      const start = this.#producers.get(key)?.state ?? newState(gateway, epoch);
      const open = sequences.get(key) ?? {
        start,
        sequence: new Sequence(start.nextSeq, start.ahead),
      };
      sequences.set(key, open);
      const given = open.sequence.note(producerSeq).lost;
      lost += given;
      lostBy.set(key, (lostBy.get(key) ?? 0n) + given);
    }
    const states = [...sequences].map(([key, { start, sequence }]) =>
      toState(start, sequence, lostBy.get(key) ?? 0n),
    );
    return this.#noted(states, lost);
  }

  /** Gives up the holes that stayed too long. */
  giveUp(): Noted {
    const now = this.#clock.now();
    const states: ProducerState[] = [];
    let lost = 0n;
    for (const { state, holeSince } of this.#producers.values()) {
      if (holeSince === undefined || now - holeSince < holePatienceMs) continue;
      const sequence = new Sequence(state.nextSeq, state.ahead);
      const given = sequence.giveUp();
      lost += given;
      states.push(toState(state, sequence, given));
    }
    return this.#noted(states, lost);
  }

  #noted(states: readonly ProducerState[], lost: bigint): Noted {
    const keep = (): void => {
      for (const state of states) this.#keep(state);
      if (lost > 0n) this.#onLost(lost);
    };
    return { states, lost, keep };
  }

  #keep(state: ProducerState): void {
    const before = this.#producers.get(keyOf(state));
    const isSameHole = before !== undefined && before.state.nextSeq === state.nextSeq;
    const since = isSameHole ? before.holeSince : undefined;
    const holeSince = state.ahead === "" ? undefined : (since ?? this.#clock.now());
    this.#producers.set(keyOf(state), { state, holeSince });
  }
}

function newState(gateway: ProducerState["gateway"], epoch: bigint): ProducerState {
  return { gateway, epoch, nextSeq: 1n, ahead: "", lost: 0n };
}

function toState(start: ProducerState, sequence: Sequence, lost: bigint): ProducerState {
  const { gateway, epoch } = start;
  const ahead = sequence.toText();
  return { gateway, epoch, nextSeq: sequence.next, ahead, lost: start.lost + lost };
}

function keyOf({ gateway, epoch }: Pick<ProducerState, "gateway" | "epoch">): string {
  return `${gateway}\n${epoch}`;
}
