import { setTimeout as wait } from "node:timers/promises";

/**
 * Waits. Throws the signal's reason as soon as it is aborted, so that a stream which is cut by its deadline or by a
 * server that closes never looks as if it had ended well.
 */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await wait(ms, undefined, { signal, ref: false });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}
