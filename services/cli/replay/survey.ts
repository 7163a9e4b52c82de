import { arrivalsOf, TraceError, type TraceOptions } from "../../sim/main.ts";
import { Refusal } from "../outcome.ts";

/** What a trace holds, as far as its options let it. */
export interface Survey {
  readonly requests: number;
  /** From the first to the last request. */
  readonly spanMs: number;
}

/** Reads the trace once before anything is sent: a mistake in its last line is told now. */
export async function surveyed(trace: TraceOptions): Promise<Survey> {
  try {
    return await counted(trace);
  } catch (error) {
    if (error instanceof TraceError) throw new Refusal(error.message, { cause: error });
    throw error;
  }
}

async function counted(trace: TraceOptions): Promise<Survey> {
  let [requests, spanMs] = [0, 0];
  for await (const { atMs } of arrivalsOf(trace)) {
    requests += 1;
    spanMs = atMs;
  }
  return { requests, spanMs };
}
