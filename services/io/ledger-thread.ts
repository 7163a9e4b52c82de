import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { keys } from "../core/table.ts";
import { fromBatch } from "./ledger-batch.ts";
import type { SqlLedger } from "./ledger-sql.ts";
import { openSqliteLedger } from "./ledger-sqlite.ts";
import { LedgerFencedError, LedgerStoppedError, type LedgerStore } from "./ledger-store.ts";

/** Names of the calls that the thread serves. */
type Call = keyof SqlLedger;

interface Question {
  readonly id: number;
  readonly call: Call;
  readonly operands: readonly unknown[];
}

type Answer =
  | { readonly id: number; readonly kind: "done"; readonly value: unknown }
  | {
      readonly id: number;
      readonly kind: "failed";
      readonly error: unknown;
      readonly name: string;
    };

const mark = "tokengrid-ledger";

/** Everything that is read; the compiler asks for a call that is missing, and the port for one too many. */
const calls = keys<Exclude<Call, "commit" | "commitRows" | "close">>({
  recordsOf: 0,
  totalsOf: 0,
  producers: 0,
  waiting: 0,
  waitingCount: 0,
  usages: 0,
  vendors: 0,
  booked: 0,
  bookedAttempts: 0,
  account: 0,
  recordsAfter: 0,
  entriesAfter: 0,
  balances: 0,
  balancesOf: 0,
  salesOf: 0,
  salesOfRequests: 0,
  salesWaiting: 0,
  salesWaitingCount: 0,
  salesBooked: 0,
  consumptionOf: 0,
  consumption: 0,
  documents: 0,
  document: 0,
  logs: 0,
  leaves: 0,
  leafHashes: 0,
  leafOf: 0,
  leavesOf: 0,
  tile: 0,
  hold: 0,
  holdsEnding: 0,
  holdsOpen: 0,
  counts: 0,
  claims: 0,
  claimsOf: 0,
  recordsIn: 0,
  chargesIn: 0,
  cumulatives: 0,
  cumulativesOf: 0,
  hours: 0,
});

/**
 * The SQLite ledger on a thread of its own, so that waiting for the disk holds up nobody else in the process.
 * Throws if the file cannot be opened.
 */
export async function openLedgerThread(path: string): Promise<LedgerStore> {
  const worker = new Worker(new URL(import.meta.url), { workerData: { mark, path } });
  // A file that cannot be opened ends the thread with an error, which `once` throws.
  await once(worker, "message");
  return toStore(new Line(worker));
}

/** Questions to the thread and their answers. */
class Line {
  readonly #worker: Worker;
  readonly #open = new Map<number, PromiseWithResolvers<unknown>>();
  #asked = 0;
  #ended: Error | undefined;

  constructor(worker: Worker) {
    this.#worker = worker;
    worker.on("message", (answer: Answer) => this.#onAnswer(answer));
    worker.on("error", (cause) => this.#end(new LedgerStoppedError("thread failed", { cause })));
    worker.on("exit", () => this.#end(new LedgerStoppedError("the ledger is closed")));
  }

  async ask<Value>(call: Call, ...operands: readonly unknown[]): Promise<Value> {
    if (this.#ended !== undefined) throw this.#ended;
    this.#asked += 1;
    const waiting = Promise.withResolvers<unknown>();
    this.#open.set(this.#asked, waiting);
    this.#worker.postMessage({ id: this.#asked, call, operands } satisfies Question);
    return (await waiting.promise) as Value;
  }

  async close(): Promise<void> {
    if (this.#ended !== undefined) return;
    await this.ask("close");
    await this.#worker.terminate();
  }

  #onAnswer(answer: Answer): void {
    const waiting = this.#open.get(answer.id);
    this.#open.delete(answer.id);
    if (answer.kind === "done") waiting?.resolve(answer.value);
    else waiting?.reject(toError(answer.name, answer.error));
  }

  #end(error: Error): void {
    this.#ended = error;
    for (const waiting of this.#open.values()) waiting.reject(error);
    this.#open.clear();
  }
}

/** An error loses its class on the way; its name stays. */
function toError(name: string, cause: unknown): unknown {
  const text = cause instanceof Error ? cause.message : String(cause);
  if (name === "LedgerFencedError") return new LedgerFencedError(text, { cause });
  if (name === "LedgerStoppedError") return new LedgerStoppedError(text, { cause });
  return cause;
}

/** Every call goes to the thread as it is, but for the two that have something to do on this side. */
function toStore(line: Line): LedgerStore {
  const passOn = Object.fromEntries(
    calls.map((call) => [call, (...operands: readonly unknown[]) => line.ask(call, ...operands)]),
  ) as Omit<LedgerStore, "commit" | "close">;
  return {
    ...passOn,
    // Rows cross to the thread at a fraction of what records cost.
    commit: (batch) => line.ask("commitRows", fromBatch(batch)),
    close: () => line.close(),
  };
}

/** The other end: one question after the other, in the order they came. */
async function serve(path: string): Promise<void> {
  const store = await openSqliteLedger(path);
  const answer = async ({ id, call, operands }: Question): Promise<void> => {
    try {
      // The port's methods differ in their operands; the typed side is `toStore`.
      const method = store[call] as (...operands: readonly unknown[]) => Promise<unknown>;
      const value = await method.apply(store, [...operands]);
      parentPort?.postMessage({ id, kind: "done", value } satisfies Answer);
    } catch (error) {
      const name = error instanceof Error ? error.name : "";
      parentPort?.postMessage({ id, kind: "failed", error, name } satisfies Answer);
    }
  };
  let last = Promise.resolve();
  parentPort?.on("message", (question: Question) => {
    last = last.then(() => answer(question));
  });
  parentPort?.postMessage("open");
}

/** Importing this file does nothing, except on the thread that `openLedgerThread` started. */
const given = workerData as { readonly mark?: string; readonly path?: string } | null;
if (!isMainThread && given?.mark === mark && given.path !== undefined) await serve(given.path);
