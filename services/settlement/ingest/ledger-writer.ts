import { OpenHolds, type Hold } from "../../core/settlement/packages/hold.ts";
import { movements } from "../../core/settlement/ledger/ledger.ts";
import {
  LedgerFencedError,
  LedgerStoppedError,
  type LedgerBatch,
  type LedgerDocument,
  type LedgerStore,
} from "../../io/ledger-store.ts";
import type { Log } from "../../io/log.ts";
import { sha256 } from "../../io/signing.ts";
import { toConnectError } from "../../wire/errors.ts";
import { Logs } from "../logs/logs.ts";
import { lostLeaves } from "../logs/lost-leaves.ts";
import { Totals } from "./totals.ts";
import type { Change, NewLeaf, Writer } from "./writer.ts";

/** Rows of a batch as who makes them has them: leaves have no place yet, documents no number. */
export interface NewRows extends Partial<Omit<LedgerBatch, "leaves" | "tiles" | "documents">> {
  readonly leaves?: readonly NewLeaf[];
  readonly documents?: Change["documents"];
}

/** A document of that kind and id is there, with other bytes. */
export class DocumentConflictError extends Error {
  override name = "DocumentConflictError";
}

/** The transaction before was not written: nothing of this one was either, and it can be made again. */
export class OutdatedError extends Error {
  override name = "OutdatedError";
}

/** A transaction on its way. */
export interface Sent {
  readonly batch: LedgerBatch;
  /** Resolves when it is durable. */
  readonly written: Promise<void>;
}

interface OnItsWay {
  readonly batch: LedgerBatch;
  /** However. */
  readonly ended: Promise<void>;
}

export interface SendHooks {
  readonly atLast?: () => Partial<Pick<LedgerBatch, "producers">>;
  readonly onWritten?: () => void;
}

/** Called after a commit with what was committed, before anybody else has a turn. */
export type OnCommitted = (batch: LedgerBatch) => void;

/** Open holds that are read at once. */
const pageHolds = 1_000;

/**
 * The one writer of the ledger: one turn after the other. Within a turn nothing changes but by who has it. After a commit
 * whose end is not known it does nothing any more.
 */
export class LedgerWriter implements Writer {
  readonly store: LedgerStore;
  readonly totals: Totals;
  readonly holds = new OpenHolds();
  readonly #logs: Logs;
  readonly #log: Log;
  readonly #listeners: OnCommitted[] = [];
  #last: Promise<unknown> = Promise.resolve();
  #onItsWay: OnItsWay | undefined;
  /** Transactions that were not written, and how many of them there were when the turn began. */
  #failures = 0;
  #basis = 0;
  /** Why nothing can be written any more. */
  #failure: unknown;

  constructor({ store, log, totals }: { store: LedgerStore; log: Log; totals?: Totals }) {
    this.store = store;
    this.totals = totals ?? new Totals(store);
    this.#logs = new Logs(store);
    this.#log = log;
  }

  get isReady(): boolean {
    return this.#failure === undefined;
  }

  /** Listeners are called in the order in which they came. */
  onCommitted(listener: OnCommitted): void {
    this.#listeners.push(listener);
  }

  /** Nothing is written from now on: what the ledger says is not to be built on. */
  halt(reason: string): void {
    this.#failure ??= new Error(reason);
  }

  /** Reads what is held, and what was lost. To be called once, before anything is written. */
  async loadHolds(): Promise<void> {
    this.#logs.expect(await lostLeaves(this.store));
    const end = 2n ** 62n;
    // They come by end: until a page brings nothing new.
    for (let limit = pageHolds; ; limit *= 2) {
      const page = await this.store.holdsEnding(end, limit);
      this.holds.apply(page);
      if (page.length < limit) return;
    }
  }

  /** Nobody else reads or writes by what the ledger says until the work is done. */
  async turn<Result>(work: () => Promise<Result>): Promise<Result> {
    return this.overlappingTurn(async () => {
      await this.settled();
      return work();
    });
  }

  /**
   * The same, but what the turn before sent may be on its way still: `sent` has its rows, and `totals` and `holds` are as
   * if it were durable.
   */
  async overlappingTurn<Result>(work: () => Promise<Result>): Promise<Result> {
    const turn = this.#last.then(() => {
      if (this.#failure !== undefined) throw unavailable();
      this.#basis = this.#failures;
      return work();
    });
    // The next one does not care how this one ended; whoever asked for it does.
    this.#last = turn.catch(() => undefined);
    return turn;
  }

  /** Only within a turn, and before it looks at anything: resolves when all that was sent is durable or given up. */
  async settled(): Promise<void> {
    await this.#onItsWay?.ended;
    if (this.#failure !== undefined) throw unavailable();
    this.#basis = this.#failures;
  }

  /** What is on its way. */
  get sent(): LedgerBatch | undefined {
    return this.#onItsWay?.batch;
  }

  /** Changes when a transaction was not written: what was read before goes on from nothing. */
  get failures(): number {
    return this.#failures;
  }

  async write<Result>(
    work: (store: LedgerStore) => Promise<{ readonly change: Change; readonly result: Result }>,
  ): Promise<Result> {
    return this.turn(async () => {
      const { change, result } = await work(this.store);
      const documents = await this.#newDocuments(change.documents ?? []);
      const wasMade = documents.length === 0 && (change.documents ?? []).length > 0;
      if (!wasMade) await this.commit({ ...change, documents });
      return result;
    });
  }

  /** Only within a turn. */
  async commit(rows: NewRows): Promise<void> {
    const { written } = await this.send(rows);
    await written;
  }

  /**
   * Only within a turn. One transaction is on its way at a time: resolves when this one is, so that the next turn can be
   * worked on meanwhile. Throws `OutdatedError` if the one before was not written. `atLast` gives rows that are made when
   * the one before is durable; `onWritten` is called when this one is.
   */
  async send(rows: NewRows, hooks: SendHooks = {}): Promise<Sent> {
    const { leaves = [], documents = [], entries = [], ...others } = rows;
    // First whatever may throw: from `assign` on the logs count on the commit.
    const made = {
      movements: rows.movements ?? movements(entries),
      documents: documents.map(toDocument),
    };
    const placed = await this.#logs.assign(leaves, this.#onItsWay?.ended);
    await this.#onItsWay?.ended;
    if (this.#basis !== this.#failures) {
      this.#logs.forget();
      throw new OutdatedError("what this transaction goes on from was not written");
    }
    const last = hooks.atLast?.();
    const batch: LedgerBatch = { ...emptyBatch, ...others, ...placed, ...last, entries, ...made };
    if (isEmpty(batch)) return { batch, written: Promise.resolve() };
    const written = this.#write(batch, hooks.onWritten);
    this.#onItsWay = { batch, ended: written.catch(() => undefined) };
    return { batch, written };
  }

  async #write(batch: LedgerBatch, onWritten?: () => void): Promise<void> {
    const heldBefore = batch.holds.map(
      (each) => this.holds.hold(each.id) ?? { ...each, state: "void" as const },
    );
    this.totals.keep(batch);
    this.holds.apply(batch.holds);
    try {
      await this.store.commit(batch);
    } catch (error) {
      this.holds.apply(heldBefore);
      this.#fail(error);
      throw error;
    } finally {
      this.#onItsWay = undefined;
    }
    onWritten?.();
    for (const listener of this.#listeners) listener(batch);
  }

  /** Resolves when everybody who waits had a turn. */
  async drain(): Promise<void> {
    await this.#last;
    await this.#onItsWay?.ended;
  }

  async #newDocuments(documents: NonNullable<Change["documents"]>) {
    const fresh: (typeof documents)[number][] = [];
    for (const document of documents) {
      const { kind, id, body } = document;
      const before = await this.store.document(kind, id);
      if (before === undefined) fresh.push(document);
      else if (before.body !== body) {
        throw new DocumentConflictError(
          `${kind} ${id}: expected the bytes that it has, found others`,
        );
      }
    }
    return fresh;
  }

  /** Whoever asked may ask again; but after a failed commit, or with another writer, the answer stays. */
  #fail(error: unknown): void {
    const isFinal = error instanceof LedgerStoppedError || error instanceof LedgerFencedError;
    if (this.#failure === undefined)
      this.#log.error({ error, isFinal }, "the ledger was not written");
    if (isFinal) this.#failure = error;
    this.#failures += 1;
    this.totals.forget();
    this.#logs.forget();
  }
}

export function unavailable() {
  return toConnectError("METERING_UNAVAILABLE", "the ledger cannot be written");
}

const emptyBatch = {
  posted: [],
  waiting: [],
  released: [],
  cumulatives: [],
  hours: [],
  sales: [],
  consumption: [],
  versions: [],
  producers: [],
  holds: [] as readonly Hold[],
  claims: [],
};

/** The store gives the number. */
function toDocument(document: NonNullable<Change["documents"]>[number]): LedgerDocument {
  return { ...document, seq: 0n, hash: sha256(document.body) };
}

function isEmpty(batch: LedgerBatch): boolean {
  return Object.values(batch).every((each) =>
    Array.isArray(each) ? each.length === 0 : each.size === 0,
  );
}
