import { dayOf, nameOfPeriod, periodNamed } from "../../core/settlement/statements/period.ts";
import { makeStatement } from "../../core/settlement/statements/make-statement.ts";
import { addedLines, linesOfHours } from "../../core/settlement/statements/statement-lines.ts";
import { differences } from "../../core/settlement/statements/statement-leaves.ts";
import { fromStatementText } from "../../core/settlement/statements/statement-text.ts";
import type {
  Account,
  Statement,
  StatementLine,
} from "../../core/settlement/statements/statement.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { sha256 } from "../../io/signing.ts";
import { LogReader } from "../logs/log-reader.ts";
import { sumLeaves, sumRecords } from "./statement-books.ts";

/** From what a closed statement is made again. */
export type RecomputeSource = "hours" | "records" | "leaves";

/**
 * Makes a closed statement again from the ledger as it is now. Resolves to what is not as it was stated, in words. What
 * was true at the moment of closing alone is taken from the statement.
 */
export async function recompute(
  store: LedgerStore,
  statement: Statement,
  options: { readonly source: RecomputeSource; onItems?: (items: number) => void },
): Promise<string[]> {
  const root = await rootFound(store, statement);
  if (statement.kind === "monthly") return [...root, ...(await monthFound(store, statement))];
  const { source, onItems } = options;
  const asked = {
    pair: statement.pair,
    day: statement.period,
    booking: nameOfPeriod(statement.period),
  };
  switch (source) {
    case "hours":
      return [...root, ...(await hoursFound(store, statement))];
    case "leaves": {
      const sum = await sumLeaves(store, asked, { ...statement.log, ...spread(onItems) });
      return [...root, ...differences(statement, sum)];
    }
    case "records": {
      const fromUs = earliestUs(statement);
      const sum = await sumRecords(store, asked, { fromUs, ...spread(onItems) });
      const { totals } = statement;
      // Records know neither shares nor what packages paid.
      const lines = { ...statement, fees: [], totals: { ...totals, creditsNano: 0n } };
      return [...root, ...differences(lines, sum)];
    }
  }
}

function spread(onItems: ((items: number) => void) | undefined) {
  return onItems === undefined ? {} : { onItems };
}

async function rootFound(store: LedgerStore, { pair, log }: Statement): Promise<string[]> {
  const root = await new LogReader(store).root(pair, log.size);
  return root === log.root
    ? []
    : [`log root of size ${log.size}: expected ${root}, found ${log.root}`];
}

async function hoursFound(store: LedgerStore, statement: Statement): Promise<string[]> {
  const { pair, period } = statement;
  const booking = nameOfPeriod(period);
  const { hashByVersion } = await store.account(pair, period);
  const attempts = statement.totals.attempts;
  const again = remade(statement, {
    lines: linesOfHours(await store.booked(pair, booking), period),
    attempts: attempts === undefined ? undefined : await store.bookedAttempts(pair, booking),
    hashByVersion: new Map([...hashesOf(statement), ...hashByVersion]),
  });
  return compared(statement, again);
}

async function monthFound(store: LedgerStore, statement: Statement): Promise<string[]> {
  const days: Statement[] = [];
  const found: string[] = [];
  for (const { id, digest } of statement.days) {
    const document = await store.document("statement", id);
    const day = document && fromStatementText(document.body, sha256);
    if (day?.digest === digest) days.push(day);
    else
      found.push(
        `day ${id}: expected the digest ${day?.digest ?? "of a statement"}, found ${digest}`,
      );
  }
  const lines = addedLines(days, statement.period);
  const { attempts } = statement.totals;
  const counted = days.reduce((sum, { totals }) => sum + (totals.attempts ?? 0n), 0n);
  const hashByVersion = new Map(hashesOf(statement));
  const again = remade(statement, {
    lines,
    attempts: attempts === undefined ? undefined : counted,
    hashByVersion,
  });
  return [...found, ...compared(statement, again)];
}

function remade(
  statement: Statement,
  known: Pick<Account, "lines" | "attempts" | "hashByVersion">,
): Statement {
  const { totals } = statement;
  const { minorUnits, roundingNano, creditsNano } = totals;
  const isRounded = !statement.isPayable && minorUnits !== undefined;
  return makeStatement(
    {
      ...statement,
      ...known,
      creditsNano,
      rounded: isRounded ? { minorUnits, roundingNano } : undefined,
    },
    sha256,
  );
}

function compared(statement: Statement, again: Statement): string[] {
  if (again.text === statement.text) return [];
  const known = new Set(statement.lines.map(textOf));
  const lines = again.lines.filter((line) => !known.has(textOf(line)));
  return [
    `bytes: expected the digest ${again.digest}, found ${statement.digest}`,
    ...lines.map(({ book, version, line, pool, amountNano }) => {
      return `line ${book}:${version}:${line} ${pool}: expected ${amountNano} nano, found another`;
    }),
  ];
}

/** Whatever the order of its members. */
function textOf(line: StatementLine): string {
  return Object.entries(line)
    .map(([name, value]) => `${name} ${value}`)
    .toSorted()
    .join("\n");
}

function hashesOf({ versions }: Statement): [string, string][] {
  return versions.map(({ book, version, hash = "" }) => [`${book}@${version}`, hash]);
}

/** Start of the earliest day that the statement has usage of. */
function earliestUs({ lines, period }: Statement): bigint {
  const late = lines.flatMap(({ usagePeriod }) => usagePeriod ?? []).toSorted()[0];
  const day = late === undefined ? undefined : periodNamed(late, period.timeZone);
  return (day ?? dayOf(period.fromUs, period.timeZone)).fromUs;
}
