import type {
  Frozen,
  ReconCounts,
  Statement,
  TrueUp,
} from "../../core/settlement/statements/statement.ts";
import { makeStatement, statementId } from "../../core/settlement/statements/make-statement.ts";
import { closingOf, closingText, type Closing } from "../../core/settlement/statements/closing.ts";
import {
  addBalances,
  balanceText,
  movements,
  noBalance,
  type LedgerEntry,
} from "../../core/settlement/ledger/ledger.ts";
import {
  mayClose,
  type BehindGateway,
  type ClosingState,
} from "../../core/settlement/statements/may-close.ts";
import {
  dayOf,
  daysIn,
  kindOfPeriod,
  monthOf,
  nameOfPeriod,
  periodNamed,
  type Period,
  type PeriodKind,
  type TimeZone,
} from "../../core/settlement/statements/period.ts";
import { sealOf, sealText } from "../../core/settlement/proof/seal.ts";
import {
  accountsOf,
  closingEntries,
  statedNano,
} from "../../core/settlement/statements/statement-entries.ts";
import { statementLeafText } from "../../core/settlement/statements/statement-leaves.ts";
import { fromStatementText } from "../../core/settlement/statements/statement-text.ts";
import type { InstantUs, PairId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import type { Log } from "../../io/log.ts";
import { sha256 } from "../../io/signing.ts";
import { toConnectError } from "../../wire/errors.ts";
import type { ClosedPeriods } from "./closed-periods.ts";
import { LogReader, tree } from "../logs/log-reader.ts";
import type { SettlementMetrics } from "../metrics.ts";
import { compared, isUpToDate, type Compared } from "./compared.ts";
import { firstBooking } from "./statement-books.ts";
import { accountOfDay, accountOfMonth, type StatementAccount } from "./statement-accounts.ts";
import type { Change, NewLeaf, Writer } from "../ingest/writer.ts";

/** What a contract says of statements. */
export interface StatementTerms {
  /** SHA-256 of the contract's canonical text. */
  readonly hash: string;
  /** Over which rounding runs: the statement of that kind is what is paid. */
  readonly period: "daily" | "monthly";
  readonly timeZone: TimeZone;
}

/** What statements ask of others. */
export interface StatementSources {
  /** In force at an instant. */
  termsOf(pair: PairId, us: InstantUs): StatementTerms;
  /** Signs as the operator; undefined: it has no key. */
  sign(payload: string): string | undefined;
  /**
   * What keys of a rating period owe beyond their records, with the entries that say so. `lateDays` are those of earlier
   * periods that something was booked for.
   */
  trueUps(
    pair: PairId,
    period: Period,
    lateDays: readonly string[],
  ): Promise<{
    readonly trueUps: readonly TrueUp[];
    readonly entries: readonly LedgerEntry[];
    /** For logs of others, who have shares of what was sold. */
    readonly leaves?: readonly NewLeaf[];
  }>;
  /** Undefined: no claims were compared. */
  recon(pair: PairId, period: Period): Promise<ReconCounts | undefined>;
  /** Gateways that may still have attempts that were opened before an instant. */
  gatewaysBehind(us: InstantUs): readonly BehindGateway[];
  unwitnessedSinceUs(pair: PairId): InstantUs | undefined;
  calendars(versions: Statement["versions"]): Frozen["calendars"];
}

export interface StatementParts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly closed: ClosedPeriods;
  /** Of the operator: logs are named after it. */
  readonly domain: string;
  readonly sources: StatementSources;
  readonly metrics: SettlementMetrics;
  readonly log: Log;
  readonly nowUs: () => InstantUs;
}

interface Outcome {
  readonly statement: Statement;
  readonly isNew: boolean;
  /** Gateways that were not waited for any longer. */
  readonly without: readonly BehindGateway[];
}

/** Closes periods, and says what stands in one that is open. */
export class Statements {
  readonly #parts: StatementParts;
  readonly #reader: LogReader;

  constructor(parts: StatementParts) {
    this.#parts = parts;
    this.#reader = new LogReader(parts.store);
  }

  /**
   * The statement of a day or a month: as it was closed, or closed now. Of a period that is not over, an interim one,
   * which is not kept. Throws UNSATISFIABLE with the reason when it may not be closed yet.
   */
  async close(pair: PairId, asked: Period): Promise<Statement> {
    const { closed, writer, metrics, log } = this.#parts;
    const kind = closableKind(asked, this.#parts.sources.termsOf(pair, asked.toUs - 1n).timeZone);
    const known = await this.find(statementId(pair, kind, asked));
    if (known !== undefined) return known;
    if (this.#parts.nowUs() < asked.toUs) return this.interim(pair, asked);
    let marked: Closing | undefined;
    try {
      const before = await this.#compared(pair, asked);
      const { statement, isNew, without } = await writer.write<Outcome>(async () => {
        const twin = await this.find(statementId(pair, kind, asked));
        if (twin !== undefined) {
          return { change: {}, result: { statement: twin, isNew: false, without: [] } };
        }
        const { change, result, closing, behind } = await this.#closing(pair, kind, asked, before);
        // What is booked from here on goes into the next period.
        closed.add(closing);
        marked = closing;
        return { change, result: { statement: result, isNew: true, without: behind } };
      });
      if (isNew) metrics.onStatement("issued");
      if (without.length > 0) {
        metrics.onClosedWithout(without.length);
        const gateways = without.map(({ gateway }) => gateway);
        log.warn({ statement: statement.id, gateways }, "closed without the word of gateways");
      }
      return statement;
    } catch (error) {
      if (marked !== undefined) closed.remove(marked);
      metrics.onStatement("failed");
      throw error;
    }
  }

  /** Closes what is still open before a period, day after day, the months that ended with them, and then it. */
  async closeThrough(pair: PairId, asked: Period): Promise<Statement> {
    const { timeZone } = asked;
    const nowUs = this.#parts.nowUs();
    let day = (await this.#firstOpenDay(pair, timeZone)) ?? dayOf(asked.fromUs, timeZone);
    while (day.toUs <= asked.toUs && day.toUs <= nowUs) {
      await this.close(pair, day);
      await this.#closeMonths(pair, day);
      day = dayOf(day.toUs, timeZone);
    }
    await this.#closeMonths(pair, asked);
    return this.close(pair, asked);
  }

  async #closeMonths(pair: PairId, until: Period): Promise<void> {
    for (const month of this.#openMonths(pair, until)) await this.close(pair, month);
  }

  /** Months that ended before or with a period, of which days are closed and they are not. */
  #openMonths(pair: PairId, { toUs, timeZone }: Period): Period[] {
    const closings = this.#parts.closed.of(pair);
    const known = new Set(closings.map(({ name }) => name));
    const days = closings.filter(({ kind }) => kind === "daily");
    const months = new Map(
      days.map(({ fromUs }) => {
        const month = monthOf(fromUs, timeZone);
        return [nameOfPeriod(month), month] as const;
      }),
    );
    return [...months].flatMap(([name, month]) =>
      known.has(name) || month.toUs > toUs ? [] : [month],
    );
  }

  /** The oldest period of a pair that has ended and is not closed, and the last day that has; undefined if all are. */
  async unclosed(pair: PairId): Promise<{ oldest: Period; last: Period } | undefined> {
    const nowUs = this.#parts.nowUs();
    const { timeZone } = this.#parts.sources.termsOf(pair, nowUs);
    const last = dayOf(dayOf(nowUs, timeZone).fromUs - 1n, timeZone);
    const day = await this.#firstOpenDay(pair, timeZone);
    const [month] = this.#openMonths(pair, last);
    const isDayOpen = day !== undefined && day.toUs <= last.toUs;
    const oldest = isDayOpen ? day : month;
    return oldest && { oldest, last };
  }

  /** What stands in a period now. */
  async interim(pair: PairId, period: Period): Promise<Statement> {
    closableKind(period, this.#parts.sources.termsOf(pair, period.toUs - 1n).timeZone);
    const { account } = await this.#account(pair, "interim", period);
    return makeStatement(account, sha256);
  }

  /** As it was closed. */
  async find(id: string): Promise<Statement | undefined> {
    const found = await this.#parts.store.document("statement", id);
    return found && fromStatementText(found.body, sha256);
  }

  async #firstOpenDay(pair: PairId, timeZone: TimeZone): Promise<Period | undefined> {
    const { closed, store } = this.#parts;
    const name = closed.firstOpenOf(pair) ?? (await firstBooking(store, pair));
    return name === undefined ? undefined : periodNamed(name, timeZone);
  }

  /** Before the turn; undefined if the period may not be closed now, which the turn says. */
  async #compared(pair: PairId, period: Period): Promise<Compared | undefined> {
    const state = await this.#stateOf(pair, period, this.#parts.nowUs());
    return mayClose(state).kind === "no" ? undefined : compared({ pair, period }, this.#parts);
  }

  async #closing(
    pair: PairId,
    kind: Closing["kind"],
    period: Period,
    before: Compared | undefined,
  ) {
    const { store, nowUs, sources } = this.#parts;
    const atUs = nowUs();
    const state = await this.#stateOf(pair, period, atUs);
    const answer = mayClose(state);
    if (answer.kind === "no") {
      throw toConnectError("UNSATISFIABLE", `${answer.reason}: ${answer.detail}`, {
        metadata: { reason: answer.reason, pair_id: pair, period: nameOfPeriod(period) },
      });
    }
    const { account, leaves, entries: owed } = await this.#account(pair, kind, period, before);
    const draft = makeStatement(account, sha256);
    const entries = [...owed, ...closingEntries(draft, atUs)];
    const keys = accountsOf(pair);
    const [balances, moved] = [await store.balancesOf(keys), movements(entries)];
    const sealed = keys.map((key) => {
      const at = balanceText(key);
      const balance = addBalances(balances.get(at) ?? noBalance, moved.get(at) ?? noBalance);
      return { ...key, balance };
    });
    const seal = sealOf({ pair, period: nameOfPeriod(period) }, sealed, tree);
    const frozen = { ...account.frozen, seal: seal.root };
    const statement = { ...makeStatement({ ...account, frozen }, sha256), kind };
    const name = nameOfPeriod(period);
    const closing = closingOf(statement, { name, atUs, statedNano: statedNano(statement) });
    const jws = sources.sign(statement.text);
    const frame = { pair, atUs };
    const change: Change = {
      entries,
      documents: [
        { ...frame, kind: "statement", id: statement.id, body: statement.text },
        { ...frame, kind: "closing", id: statement.id, body: closingText(closing) },
        ...(jws === undefined
          ? []
          : [{ ...frame, kind: "statement-signature", id: `${statement.id}:operator`, body: jws }]),
      ],
      leaves: [
        ...leaves,
        { log: pair, kind: "seal", ref: statement.id, text: sealText(seal) },
        { log: pair, kind: "statement", ref: statement.id, text: statementLeafText(statement) },
      ],
    };
    return { change, result: statement, closing, behind: state.behind };
  }

  async #account(
    pair: PairId,
    kind: Statement["kind"],
    period: Period,
    before?: Compared,
  ): Promise<StatementAccount> {
    const { store, closed, domain, nowUs } = this.#parts;
    const asked = { pair, kind, period };
    const isKnown = before !== undefined && (await isUpToDate(before, asked, store));
    const sources: StatementSources = isKnown
      ? { ...this.#parts.sources, recon: async () => before.recon }
      : this.#parts.sources;
    const size = (await store.logs()).get(pair) ?? 0n;
    const root = await this.#reader.root(pair, size);
    const means = { store, closed, domain, sources, size, root, nowUs: nowUs() };
    return kindOfPeriod(period) === "monthly"
      ? accountOfMonth(asked, means)
      : accountOfDay(asked, means);
  }

  async #stateOf(pair: PairId, period: Period, nowUs: InstantUs): Promise<ClosingState> {
    const { store, sources } = this.#parts;
    const isMonth = kindOfPeriod(period) === "monthly";
    const producers = await store.producers();
    return {
      period,
      nowUs,
      // A month waits for its days.
      behind: isMonth ? [] : sources.gatewaysBehind(period.toUs),
      holes: producers.filter(({ ahead }) => ahead !== ""),
      unwitnessedSinceUs: sources.unwitnessedSinceUs(pair),
      openDays: isMonth ? this.#openDays(pair, period) : [],
      dayBefore: isMonth ? undefined : await this.#openBefore(pair, period),
    };
  }

  /** Days of a month from the pair's beginning on that are not closed. */
  #openDays(pair: PairId, month: Period): string[] {
    const days = this.#parts.closed.of(pair).filter(({ kind }) => kind === "daily");
    const [first] = days;
    const names = daysIn(month).filter((name) => first === undefined || name >= first.name);
    const known = new Set(days.map(({ name }) => name));
    return names.filter((name) => !known.has(name));
  }

  /** A day that must be closed before this one. */
  async #openBefore(pair: PairId, day: Period): Promise<string | undefined> {
    const { closed, store } = this.#parts;
    const name = nameOfPeriod(day);
    const next = closed.firstOpenOf(pair) ?? (await firstBooking(store, pair));
    if (next === undefined || next === name) return undefined;
    const isFirst = closed.firstOpenOf(pair) === undefined;
    if (next < name) return nameOfPeriod(dayOf(day.fromUs - 1n, day.timeZone));
    if (isFirst) return undefined;
    throw toConnectError(
      "UNSATISFIABLE",
      `day-before-chain: expected ${next} or later, since statements of ${pair} began later, found ${name}`,
    );
  }
}

/** Statements are of days and months of the contract's zone. */
function closableKind(period: Period, timeZone: TimeZone): Closing["kind"] {
  const kind: PeriodKind = kindOfPeriod(period);
  if (kind !== "custom" && period.timeZone === timeZone) return kind;
  const message = `period: expected a day or a month of ${timeZone}, found ${period.fromUs} to ${period.toUs} in ${period.timeZone}`;
  throw toConnectError("BAD_REQUEST", message, { metadata: { field: "period" } });
}
