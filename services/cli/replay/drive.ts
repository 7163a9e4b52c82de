import { setTimeout } from "node:timers/promises";
import { type Answer, notSent } from "../../core/report.ts";
import type { Arrival } from "../../core/workload.ts";

export interface DriveResult {
  readonly startedAt: number;
  /** When the last answer ended. */
  readonly endedAt: number;
  /** Of the trace, the last request that was due. */
  readonly traceMs: number;
  readonly isEndedEarly: boolean;
}

/**
 * Open loop: every request goes out when it is due, however the ones before it fare. What is due while
 * `inFlightMax` are open is not sent, and says so in its answer. Aborting `stop` sends no more and waits
 * for what is open.
 */
export async function drive(options: {
  readonly arrivals: AsyncIterable<Arrival>;
  readonly speed: number;
  readonly inFlightMax: number;
  readonly send: (arrival: Arrival) => Promise<Answer>;
  readonly onAnswer: (answer: Answer, arrival: Arrival) => void;
  readonly stop: AbortSignal;
}): Promise<DriveResult> {
  const { arrivals, speed, inFlightMax, send, onAnswer, stop } = options;
  const open = new Set<Promise<void>>();
  const startedAt = performance.now();
  let traceMs = 0;
  for await (const arrival of arrivals) {
    await until(startedAt + arrival.atMs / speed, stop);
    if (stop.aborted) break;
    traceMs = arrival.atMs;
    if (open.size >= inFlightMax) {
      onAnswer(
        { class: arrival.class, outcome: notSent, ttftMs: undefined, tpotMs: undefined },
        arrival,
      );
      continue;
    }
    const task = send(arrival)
      .then((answer) => onAnswer(answer, arrival))
      .finally(() => open.delete(task));
    open.add(task);
  }
  await Promise.all(open);
  return { startedAt, endedAt: performance.now(), traceMs, isEndedEarly: stop.aborted };
}

async function until(at: number, stop: AbortSignal): Promise<void> {
  const leftMs = at - performance.now();
  if (leftMs <= 0 || stop.aborted) return;
  // Being told to stop ends the wait; the caller looks at the signal.
  await setTimeout(leftMs, undefined, { signal: stop }).catch((error: unknown) => {
    if (!stop.aborted) throw error;
  });
}
