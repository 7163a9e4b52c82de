import { setTimeout as wait } from "node:timers/promises";

/** Waits, or leaves at once when the caller does. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await wait(ms, undefined, { signal, ref: false });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
