import { once } from "node:events";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";
import { fromBatch } from "./ledger-rows.ts";
import { openSqliteLedger, type SqliteLedger } from "./ledger-sqlite.ts";
import { LedgerFencedError, LedgerStoppedError, type LedgerStore } from "./ledger-store.ts";

/** Names of the calls that the thread serves. */
type Call = keyof SqliteLedger;

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

function toStore(line: Line): LedgerStore {
  return {
    recordsOf: (attempts) => line.ask("recordsOf", attempts),
    totalsOf: (rating, hours) => line.ask("totalsOf", rating, hours),
    // Rows cross to the thread at a fraction of what records cost.
    commit: (batch) => line.ask("commitRows", fromBatch(batch)),
    producers: () => line.ask("producers"),
    waiting: (after, limit) => line.ask("waiting", after, limit),
    waitingCount: () => line.ask("waitingCount"),
    usages: (filter, page) => line.ask("usages", filter, page),
    vendors: () => line.ask("vendors"),
    account: (vendor, period) => line.ask("account", vendor, period),
    saveStatement: (statement) => line.ask("saveStatement", statement),
    latestStatement: (vendor, period) => line.ask("latestStatement", vendor, period),
    statement: (id) => line.ask("statement", id),
    statements: (vendor, limit) => line.ask("statements", vendor, limit),
    recordsAfter: (after, limit) => line.ask("recordsAfter", after, limit),
    entriesAfter: (count, limit) => line.ask("entriesAfter", count, limit),
    balances: () => line.ask("balances"),
    cumulatives: () => line.ask("cumulatives"),
    hours: () => line.ask("hours"),
    close: () => line.close(),
  };
}

/** The other end: one question after the other, in the order they came. */
function serve(path: string): void {
  const store = openSqliteLedger(path);
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
if (!isMainThread && given?.mark === mark && given.path !== undefined) serve(given.path);
