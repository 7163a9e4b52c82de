import type { Contract } from "../core/settlement/contract.ts";
import type { Period } from "../core/settlement/period.ts";
import { closeStatement, type Statement } from "../core/settlement/statement.ts";
import { contractText } from "../core/settlement/terms-text.ts";
import type { VendorId } from "../core/units.ts";
import type { LedgerStore } from "../io/ledger-store.ts";
import { sha256 } from "./ingest.ts";
import type { SettlementMetrics } from "./metrics.ts";

/** Makes statements from the ledger, one after the other, so that revisions are dense. */
export class Statements {
  readonly #store: LedgerStore;
  readonly #contractOf: (vendor: VendorId) => Contract;
  readonly #metrics: SettlementMetrics;
  #last: Promise<unknown> = Promise.resolve();

  constructor(options: {
    readonly store: LedgerStore;
    readonly contractOf: (vendor: VendorId) => Contract;
    readonly metrics: SettlementMetrics;
  }) {
    this.#store = options.store;
    this.#contractOf = options.contractOf;
    this.#metrics = options.metrics;
  }

  async close(vendor: VendorId, period: Period): Promise<Statement> {
    const turn = this.#last.then(() => this.#close(vendor, period));
    // The next one does not care how this one ended; whoever asked for it does.
    this.#last = turn.catch(() => undefined);
    try {
      return await turn;
    } catch (error) {
      this.#metrics.onStatement("failed");
      throw error;
    }
  }

  async #close(vendor: VendorId, period: Period): Promise<Statement> {
    const latest = await this.#store.latestStatement(vendor, period);
    const books = await this.#store.account(vendor, period);
    const contractHash = sha256(contractText(this.#contractOf(vendor)));
    const account = { vendor, period, contractHash, ...books };
    const statement = closeStatement(account, latest, sha256);
    if (statement === latest) return statement;
    await this.#store.saveStatement(statement);
    this.#metrics.onStatement(statement.rev === 0 ? "issued" : "corrected");
    return statement;
  }
}
