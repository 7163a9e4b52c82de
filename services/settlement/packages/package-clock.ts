import type { Log } from "../../io/log.ts";
import type { Packages } from "./packages.ts";
import type { Quota } from "./quota.ts";

/** How often what has ended is looked for. */
const sweepIntervalMs = 1_000;

/** Ends slices and packages by the ledger's clock, until the signal says stop. */
export function sweepPackages(options: {
  readonly packages: Packages;
  readonly quota: Quota;
  readonly log: Log;
  readonly signal: AbortSignal;
}): void {
  const { packages, quota, log, signal } = options;
  let isRunning = false;
  const sweep = async (): Promise<void> => {
    if (isRunning) return;
    isRunning = true;
    try {
      await quota.sweep();
      await packages.sweep();
    } catch (error) {
      log.error({ error }, "what has ended was not swept");
    } finally {
      isRunning = false;
    }
  };
  const timer = setInterval(() => {
    sweep().catch((error: unknown) => log.error({ error }, "what has ended was not swept"));
  }, sweepIntervalMs);
  signal.addEventListener("abort", () => clearInterval(timer), { once: true });
}
