/**
 * Durable records per second: from usage record to ledger, through count rule, price books of both sides, rating, posting,
 * split, leaves of the logs and consumption. A record is durable when its caller is answered.
 */

import type { LedgerStore } from "../services/io/ledger-store.ts";
import { verifyLedger } from "../services/io/ledger-verify.ts";
import { appendResult } from "./report.ts";
import { interleave, median, type Round } from "./rounds.ts";
import { openSettlement, type SettlementBooks } from "./settlement-books.ts";
import { loadRecord } from "./settlement-load.ts";

const rounds = 5;
const roundMs = 500;

/** What gateways do is the last: many callers with few records each share transactions. */
const cases = {
  "batch-1": { batch: 1, callers: 1 },
  "batch-100": { batch: 100, callers: 1 },
  "batch-250": { batch: 250, callers: 1 },
  "batch-1000": { batch: 1_000, callers: 1 },
  "callers-4x250": { batch: 250, callers: 4 },
  "callers-64x4": { batch: 4, callers: 64 },
} as const;

type Case = keyof typeof cases;

export async function measureRates(
  store: LedgerStore,
  options: {
    readonly folder: string;
    /** Before the names of the cases. */
    readonly prefix: string;
    readonly conditions: Readonly<Record<string, string | number | boolean>>;
  },
): Promise<void> {
  const books = await openSettlement(store, { ...options, hasTenants: true, nowUs: () => 0n });
  const load = new Load(books);
  const names = Object.keys(cases) as Case[];
  const contestants = Object.fromEntries(names.map((name) => [name, load.round(name)]));
  const found = await interleave(contestants as Record<Case, Round>, { rounds });
  const verification = await verifyLedger(store);
  await books.close();
  if (verification.mistakes.length > 0) throw new Error(verification.mistakes.join("\n"));
  for (const name of names) {
    // Of this process: the wall's clock says how busy the machine was too.
    const cpuUs = Math.round(median(load.cpuUsOf(name)) * 10) / 10;
    const conditions = { rounds, roundMs, cpuUs, ...options.conditions, ledgered: load.sent };
    const value = median(found[name]);
    appendResult({ name: `${options.prefix}${name}`, unit: "records/s", value, conditions });
  }
}

class Load {
  readonly #books: SettlementBooks;
  readonly #cpuUs = new Map<Case, number[]>();
  sent = 0;

  constructor(books: SettlementBooks) {
    this.#books = books;
  }

  /** CPU microseconds per record, of each round. */
  cpuUsOf(name: Case): readonly number[] {
    return this.#cpuUs.get(name) ?? [];
  }

  /** Records per second of callers that each wait for their batch. */
  round(name: Case): Round {
    const { batch, callers } = cases[name];
    return async () => {
      const [start, before, cpu] = [performance.now(), this.sent, process.cpuUsage()];
      const call = async (): Promise<void> => {
        while (performance.now() - start < roundMs) await this.#post(batch);
      };
      await Promise.all(Array.from({ length: callers }, call));
      const { user, system } = process.cpuUsage(cpu);
      const records = this.sent - before;
      this.#cpuUs.set(name, [...this.cpuUsOf(name), (user + system) / records]);
      return (records * 1_000) / (performance.now() - start);
    };
  }

  async #post(batch: number): Promise<void> {
    await this.#books.post(Array.from({ length: batch }, () => loadRecord(this.sent++)));
  }
}
