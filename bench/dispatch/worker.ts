/** A thread that runs tasks one after the other. */

import { parentPort, workerData } from "node:worker_threads";
import { Racer } from "./race.ts";
import type { Row, Task } from "./rows.ts";

export type Answered = { readonly row: Row } | { readonly mistake: string };

const port = parentPort;
if (port === null) throw new Error("expected to run in a thread of its own");
const racer = new Racer(String(workerData));

port.on("message", (task: Task) => {
  racer.row(task).then(
    (row) => port.postMessage({ row } satisfies Answered),
    (error: unknown) => {
      const mistake = error instanceof Error ? (error.stack ?? error.message) : String(error);
      port.postMessage({ mistake } satisfies Answered);
    },
  );
});
