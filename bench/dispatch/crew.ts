import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import type { Row, Task } from "./rows.ts";
import type { Answered } from "./worker.ts";

/** A run that did not come to its end. */
export interface Failure {
  readonly task: Task;
  readonly mistake: string;
}

export interface Hearer {
  readonly onRow: (row: Row) => void;
  readonly onFailure: (failure: Failure) => void;
}

/** As many threads as cores; each takes the next task when it is done with one. */
export class Crew {
  readonly #workers: readonly Worker[];

  constructor(commit: string, threads: number = availableParallelism()) {
    const url = new URL("worker.ts", import.meta.url);
    this.#workers = Array.from({ length: threads }, () => new Worker(url, { workerData: commit }));
  }

  /** All tasks, started in their order. A run that fails does not stop the others. */
  async run(tasks: readonly Task[], hearer: Hearer): Promise<void> {
    const rest = tasks.values();
    await Promise.all(this.#workers.map((worker) => works(worker, rest, hearer)));
  }

  async end(): Promise<void> {
    await Promise.all(this.#workers.map((worker) => worker.terminate()));
  }
}

async function works(worker: Worker, rest: Iterator<Task>, hearer: Hearer): Promise<void> {
  for (let next = rest.next(); next.done !== true; next = rest.next()) {
    const answered = await answerOf(worker, next.value);
    if ("row" in answered) hearer.onRow(answered.row);
    else hearer.onFailure({ task: next.value, mistake: answered.mistake });
  }
}

async function answerOf(worker: Worker, task: Task): Promise<Answered> {
  const { promise, resolve, reject } = Promise.withResolvers<Answered>();
  worker.once("message", resolve);
  worker.once("error", reject);
  worker.postMessage(task);
  try {
    return await promise;
  } finally {
    worker.off("message", resolve);
    worker.off("error", reject);
  }
}
