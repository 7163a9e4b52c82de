import { ConnectError } from "@connectrpc/connect";
import type { InstantUs, PairId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import type { Log } from "../../io/log.ts";
import type { SettlementMetrics } from "../metrics.ts";
import type { Statements } from "./statements.ts";
import type { Terms } from "../terms/terms.ts";

/** How often periods that have ended are looked for. */
const sweepIntervalMs = 15_000;
const usPerSecond = 1_000_000;

/** Closes the days and months of every pair by itself, as soon as each may be closed. */
export class Closer {
  readonly #parts: CloserParts;
  /** Why a pair was not closed, as it was logged last. */
  readonly #reasons = new Map<PairId, string>();
  #isRunning = false;

  constructor(parts: CloserParts) {
    this.#parts = parts;
  }

  /** Until the signal says stop. */
  follow(signal: AbortSignal): void {
    const { log } = this.#parts;
    const timer = setInterval(() => {
      this.sweep().catch((error: unknown) => log.error({ error }, "periods were not looked at"));
    }, sweepIntervalMs);
    signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  }

  /** Does nothing while another sweep runs. */
  async sweep(): Promise<void> {
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      await this.#closeAll();
      await this.#tell();
    } finally {
      this.#isRunning = false;
    }
  }

  async #closeAll(): Promise<void> {
    const { store, metrics, nowUs } = this.#parts;
    let oldestUs: InstantUs | undefined;
    for (const pair of (await store.logs()).keys()) {
      if (pair === "internal") continue;
      const left = await this.#close(pair);
      if (left !== undefined && (oldestUs === undefined || left < oldestUs)) oldestUs = left;
    }
    metrics.onUnclosed(oldestUs === undefined ? 0 : Number(nowUs() - oldestUs) / usPerSecond);
  }

  /** Resolves to when the oldest period ended that could not be closed. */
  async #close(pair: PairId): Promise<InstantUs | undefined> {
    const { statements } = this.#parts;
    const before = await statements.unclosed(pair);
    if (before === undefined) return undefined;
    try {
      await statements.closeThrough(pair, before.last);
      this.#reasons.delete(pair);
    } catch (error) {
      this.#report(pair, error);
    }
    const after = await statements.unclosed(pair);
    return after?.oldest.toUs;
  }

  /** What is not ready yet says so again and again: it is logged when it changes. */
  #report(pair: PairId, error: unknown): void {
    const { log } = this.#parts;
    const isRefusal = error instanceof ConnectError;
    const reason = isRefusal ? error.rawMessage : String(error);
    if (this.#reasons.get(pair) === reason) return;
    this.#reasons.set(pair, reason);
    if (isRefusal) log.info({ pair, reason }, "a period waits to be closed");
    else log.error({ pair, error }, "a period was not closed");
  }

  async #tell(): Promise<void> {
    const { store, metrics, terms } = this.#parts;
    metrics.onSalesWaiting(await store.salesWaitingCount());
    for (const calendar of terms.state.calendarIds) {
      const left = terms.calendarDaysLeft(calendar);
      if (left !== undefined) metrics.onCalendar(calendar, left);
    }
  }
}

interface CloserParts {
  readonly store: LedgerStore;
  readonly statements: Statements;
  readonly terms: Pick<Terms, "calendarDaysLeft"> & {
    readonly state: Pick<Terms["state"], "calendarIds">;
  };
  readonly metrics: SettlementMetrics;
  readonly log: Log;
  readonly nowUs: () => InstantUs;
}
