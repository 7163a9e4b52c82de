import { disputeReasons } from "../../core/settlement/claims/dispute-reason.ts";
import {
  disputeEntries,
  effectOf,
  undisputedNano,
  unpaidNano,
  withheldNano,
  type MoneyEffect,
} from "../../core/settlement/claims/dispute-money.ts";
import {
  fromTransitionRecord,
  parseTransition,
  toTransitionRecord,
} from "../../core/settlement/claims/dispute-record.ts";
import {
  apply,
  fromTransitionText,
  replayed,
  toTransitionText,
  transitionIdOf,
  type Transition,
} from "../../core/settlement/claims/dispute-text.ts";
import {
  actors,
  dueOf,
  isTooHigh,
  parties,
  type AtOpening,
  type Dispute,
  type Disputed,
  type DisputeTerms,
  type MoveRefusal,
} from "../../core/settlement/claims/dispute.ts";
import type { AccountId } from "../../core/settlement/ledger/ledger.ts";
import type { InstantUs, Nano, PairId } from "../../core/units.ts";
import {
  LedgerFencedError,
  LedgerStoppedError,
  type LedgerDocument,
  type LedgerStore,
} from "../../io/ledger-store.ts";
import type { Log } from "../../io/log.ts";
import { sha256 } from "../../io/signing.ts";
import { toConnectError, type Reason } from "../../wire/errors.ts";
import type { KeyOf } from "./claims.ts";
import { signersOf } from "./dispute-signers.ts";
import type { Documents } from "../documents.ts";
import type { Change, Writer } from "../ingest/writer.ts";
import { progressOf } from "../statements/statement-steps.ts";
import { nettedNanoOf, refuseOverdrawn } from "./set-off.ts";

/** What a statement is to a dispute about it. */
export interface Disputable {
  readonly pair: PairId;
  /** When it was closed. */
  readonly statedUs: InstantUs;
  /** What is paid with it; undefined: it is paid with another one. */
  readonly statedNano: Nano | undefined;
  /** Those that it moved money on. */
  readonly accounts: ReadonlySet<AccountId>;
}

interface Parts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly documents: Documents;
  readonly keyOf: KeyOf;
  /** In force between the operator and a pair. */
  termsOf(pair: PairId, us: InstantUs): DisputeTerms;
  /** A closed statement; undefined if there is none of that id. */
  statementOf(id: string): Promise<Disputable | undefined>;
  /** What the counterparty's signed claims of a statement's period come to beyond our records of it. */
  claimedBeyondNano(statement: string): Promise<Nano>;
  readonly log: Pick<Log, "error">;
  nowUs(): InstantUs;
}

interface MovedDispute {
  readonly dispute: Dispute;
  readonly moved: readonly MoneyEffect[];
}

/** Disputes of one pair that are open at once. */
const openDisputesMax = 10_000;

/**
 * Every transition is one transaction of document, leaf and entries: a dispute that was signed and not moved is moved by
 * sending it again, once. What is known of disputes is what their documents say.
 */
export class Disputes {
  readonly #parts: Parts;
  readonly #disputes = new Map<string, Dispute>();

  constructor(parts: Parts) {
    this.#parts = parts;
    parts.documents.on(["dispute"], (document) => this.#learn(document));
    parts.documents.on(["dispute-netting"], (document) => this.#learnNetting(document));
  }

  find(id: string): Dispute | undefined {
    return this.#disputes.get(id);
  }

  /** In the order in which they were opened. */
  list(): readonly Dispute[] {
    return [...this.#disputes.values()];
  }

  /** When silence decides it. */
  dueUs(dispute: Dispute): InstantUs | undefined {
    return dueOf(dispute, this.#termsOf(dispute));
  }

  /** Of a statement, what disputes keep from being approved with it. */
  takenNano(statement: string): Nano {
    return withheldNano(this.#of(statement));
  }

  /** Of a pair, decided ones that are not paid, in the order in which they were opened. */
  unpaid(pair: PairId): { readonly id: string; readonly amountNano: Nano }[] {
    return this.list()
      .filter((each) => each.pair === pair && each.approvedNano !== undefined)
      .map((each) => ({ id: each.id, amountNano: unpaidNano(each) }))
      .filter(({ amountNano }) => amountNano > 0n);
  }

  /** Documents of a dispute, in order. */
  async transitions(id: string): Promise<LedgerDocument[]> {
    const count = this.#disputes.get(id)?.transitions ?? 0;
    const found: LedgerDocument[] = [];
    for (let number = 0; number < count; number += 1) {
      const document = await this.#parts.store.document("dispute", `${id}:${number}`);
      if (document !== undefined) found.push(document);
    }
    return found;
  }

  /** Resolves when it is durable. The same text again changes nothing. */
  async move(text: string, jws: readonly string[]): Promise<MovedDispute> {
    const transition = parseTransition(text);
    if (typeof transition === "string") throw refused("BAD_REQUEST", "transition_json", transition);
    const objection =
      objectionTo(transition) ?? signersOf(transition, { text, jws }, this.#parts.keyOf);
    if (objection !== undefined) throw refused("BAD_REQUEST", "transition_json", objection);
    const { step } = transition;
    const isMissing = step.to === "opened" && !isTooHigh(step.claim);
    // Read before its turn, since it goes through all claims of a period; what is closed does not change.
    const claimedNano = isMissing ? await this.#parts.claimedBeyondNano(step.claim.statement) : 0n;
    return this.#parts.writer.write(async (store) => {
      const before = await store.document("dispute", transitionIdOf(transition));
      if (before !== undefined) return { change: {}, result: this.#repeated(before, text) };
      return this.#taken(store, transition, { jws, claimedNano });
    });
  }

  /** Fires every timer that is due, each once, whatever becomes of the others. Resolves to how many. */
  async fireTimers(): Promise<number> {
    const nowUs = this.#parts.nowUs();
    let fired = 0;
    for (const { id } of this.list()) {
      try {
        if (this.#isDue(id, nowUs) && (await this.#fire(id, nowUs))) fired += 1;
      } catch (error) {
        // Nothing can be written any more: that is nothing of this dispute.
        if (error instanceof LedgerStoppedError || error instanceof LedgerFencedError) throw error;
        this.#parts.log.error({ error, dispute: id }, "the timer of a dispute was not fired");
      }
    }
    return fired;
  }

  async #fire(id: string, nowUs: InstantUs): Promise<boolean> {
    return this.#parts.writer.write<boolean>(async (store) => {
      const dispute = this.#disputes.get(id);
      // Somebody may have been faster: looked at again when nobody else can write.
      if (dispute === undefined || !this.#isDue(id, nowUs)) return { change: {}, result: false };
      const { pair, transitions: number, lastHash: prevHash } = dispute;
      const step = { to: "lapsed" } as const;
      const frame = { dispute: id, pair, number, prevHash, atUs: nowUs };
      const lapsed = { ...frame, by: "timer", step } as const;
      const { change } = await this.#taken(store, lapsed, { jws: [], claimedNano: 0n });
      return { change, result: true };
    });
  }

  #isDue(id: string, nowUs: InstantUs): boolean {
    const dispute = this.#disputes.get(id);
    const due = dispute && this.dueUs(dispute);
    return due !== undefined && nowUs >= due;
  }

  async #taken(
    store: LedgerStore,
    transition: Transition,
    { jws, claimedNano }: { readonly jws: readonly string[]; readonly claimedNano: Nano },
  ): Promise<{ readonly change: Change; readonly result: MovedDispute }> {
    const text = toTransitionText(transition);
    const id = transitionIdOf(transition);
    const takenUs = this.#parts.nowUs();
    const next = await this.#next(store, transition, { nowUs: takenUs, claimedNano });
    const dispute = { ...next, lastHash: sha256(text) };
    const entries = disputeEntries(this.#disputes.get(dispute.id), dispute, takenUs);
    await refuseOverdrawn(store, entries);
    const moved = effectOf(entries);
    const { pair, number } = transition;
    const known: AtOpening | undefined = number === 0 ? dispute.known : undefined;
    const body = toTransitionRecord({ text, jws, takenUs, known, moved });
    const change: Change = {
      entries,
      documents: [{ kind: "dispute", id, pair, atUs: takenUs, body }],
      leaves: [{ log: pair, kind: "dispute", ref: id, text }],
    };
    return { change, result: { dispute, moved } };
  }

  #repeated(before: LedgerDocument, text: string): MovedDispute {
    const known = fromTransitionRecord(before.body);
    const { dispute: id } = fromTransitionText(known.text);
    const dispute = this.#disputes.get(id);
    if (known.text === text && dispute !== undefined) return { dispute, moved: known.moved };
    const found = sha256(text);
    throw refused("CONFLICT", before.id, `expected ${sha256(known.text)}, found ${found}`);
  }

  async #next(
    store: LedgerStore,
    transition: Transition,
    { nowUs, claimedNano }: { readonly nowUs: InstantUs; readonly claimedNano: Nano },
  ): Promise<Dispute> {
    const before = this.#disputes.get(transition.dispute);
    if (before !== undefined && before.pair !== transition.pair) {
      throw refused("BAD_REQUEST", "pair_id", `expected ${before.pair}, found ${transition.pair}`);
    }
    const about = await this.#about(store, transition, claimedNano);
    const terms =
      before === undefined ? this.#parts.termsOf(transition.pair, nowUs) : this.#termsOf(before);
    const moved = apply(before, transition, { about, terms, nowUs });
    if (moved.kind === "moved") return moved.dispute;
    throw refused(reasonOf[moved.reason], moved.reason, moved.detail);
  }

  /** What the statement still has that can be disputed, for the first transition. */
  async #about(
    store: LedgerStore,
    { step, pair }: Transition,
    claimedNano: Nano,
  ): Promise<Disputed | undefined> {
    if (step.to !== "opened") return undefined;
    const id = step.claim.statement;
    const statement = await this.#parts.statementOf(id);
    if (statement?.pair !== pair) {
      throw refused("NOT_FOUND", "statement_id", `there is no ${id} of ${pair}`);
    }
    const { statedUs, statedNano, accounts } = statement;
    if (statedNano === undefined) {
      throw refused("UNSATISFIABLE", "statement_id", `${id} is paid and disputed with another one`);
    }
    const stranger = step.claim.items.find(({ account }) => !accounts.has(account));
    if (stranger !== undefined) {
      throw refused(
        "BAD_REQUEST",
        "items",
        `expected accounts of ${id}, found ${stranger.account}`,
      );
    }
    const open = this.list().filter((each) => each.pair === pair && this.dueUs(each) !== undefined);
    if (open.length >= openDisputesMax) {
      throw refused("UNSATISFIABLE", "dispute_id", `expected at most ${openDisputesMax} open ones`);
    }
    const others = this.#of(id).filter(({ state }) => state !== "withdrawn");
    const missing = sum(others.filter((each) => !isTooHigh(each)));
    const { approvedNano } = await progressOf(store, id);
    return {
      statedUs,
      undisputedNano: statedNano - sum(others.filter(isTooHigh)),
      openNano: undisputedNano(statedNano, others) - approvedNano,
      missingNano: missing,
      evidenceNano: claimedNano - missing,
    };
  }

  #of(statement: string): Dispute[] {
    return this.list().filter((each) => each.statement === statement);
  }

  /** Terms of when it was opened: nobody changes them while it runs. */
  #termsOf({ pair, openedUs }: Dispute): DisputeTerms {
    return this.#parts.termsOf(pair, openedUs);
  }

  #learn({ body }: LedgerDocument): void {
    const { text, takenUs, known } = fromTransitionRecord(body);
    const transition = fromTransitionText(text);
    const accepted = { transition: { ...transition, atUs: takenUs }, hash: sha256(text), known };
    const before = this.#disputes.get(transition.dispute);
    this.#disputes.set(transition.dispute, replayed(before, accepted));
  }

  #learnNetting({ id, body }: LedgerDocument): void {
    const name = id.slice(0, id.indexOf("/"));
    const dispute = this.#disputes.get(name);
    if (dispute === undefined) return;
    const nettedNano = dispute.nettedNano + nettedNanoOf(body);
    this.#disputes.set(name, { ...dispute, nettedNano });
  }
}

const reasonOf: Readonly<Record<MoveRefusal, Reason>> = {
  state: "CONFLICT",
  actor: "NOT_ALLOWED",
  time: "UNSATISFIABLE",
  evidence: "BAD_REQUEST",
  amount: "UNSATISFIABLE",
};

function sum(disputes: readonly Dispute[]): Nano {
  return disputes.reduce((all, { amountNano }) => all + amountNano, 0n);
}

const idPattern = /^[\w.-]{1,64}$/;
const accountPattern = /^(exp|rev):[\w:.*-]{1,120}$/;
const itemsMax = 1_000;

/** What a text can say that no dispute can be. */
function objectionTo({ dispute, step, by }: Transition): string | undefined {
  if (!idPattern.test(dispute)) return `dispute_id: expected ${idPattern}, found ${dispute}`;
  if (by === "timer" || !actors.includes(by)) {
    return `by: expected one of ${actors.filter((each) => each !== "timer").join(", ")}, found ${by}`;
  }
  if (step.to !== "opened") return undefined;
  const { reason, opener, items } = step.claim;
  if (!disputeReasons.includes(reason)) {
    return `reason: expected one of ${disputeReasons.join(", ")}, found ${reason}`;
  }
  if (!parties.includes(opener)) {
    return `opener: expected one of ${parties.join(", ")}, found ${opener}`;
  }
  if (items.length > itemsMax) return `items: expected at most ${itemsMax}, found ${items.length}`;
  const wrong = items.find(({ account }) => !accountPattern.test(account));
  return wrong && `items: expected accounts of cost or revenue, found ${wrong.account}`;
}

function refused(reason: Reason, field: string, detail: string) {
  return toConnectError(reason, `${field}: ${detail}`, { metadata: { field } });
}
