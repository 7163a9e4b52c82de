import { hash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { type Writable } from "node:stream";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Command, Option } from "commander";
import { cloudEventText } from "../../core/settlement/statements/cloud-event.ts";
import { EvidenceSum } from "../../core/settlement/statements/focus-evidence.ts";
import {
  focusOtherRows,
  focusUsageRow,
  type FocusParties,
  type FocusRow,
  type FocusVersion,
} from "../../core/settlement/statements/focus.ts";
import { statementPage } from "../../core/settlement/statements/page.ts";
import { daysIn } from "../../core/settlement/statements/period.ts";
import type { Statement } from "../../core/settlement/statements/statement.ts";
import type { InstantUs } from "../../core/units.ts";
import { SettlementService } from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import { toHour, toStatement } from "../../wire/settlement.ts";
import { client, type ServerOptions, withServer } from "../connect.ts";
import { exits, type ExitCode, Failure } from "../outcome.ts";
import { writeFocusCsv, writeFocusParquet } from "./focus-out.ts";
import { pairOf, withPair, type PairOptions } from "../pair.ts";
import { openWorkProgress, type WorkProgress } from "../work-progress.ts";
import { lastIds, newestFirst, pairsOf, periodOf } from "./source.ts";

const formats = ["focus", "focus-1.3", "parquet", "json", "cloudevents", "html", "leaves"] as const;
type Format = (typeof formats)[number];

/** What is counted while it is written, where that is no row. */
const wordOf: Partial<Record<Format, string>> = { cloudevents: "leaves", leaves: "leaves" };

interface ExportOptions extends ServerOptions, PairOptions {
  readonly format: Format;
  readonly last?: boolean;
  readonly period?: string;
  readonly out?: string;
  readonly operator: string;
  readonly evidence?: boolean;
}

/** A closed statement by its id, or what stands in a period now. */
type Asked =
  | { readonly statementId: string }
  | {
      readonly pairId: string;
      readonly period: { fromUs: bigint; toUs: bigint; timeZone: string };
    };

export function exportCommand(): Command {
  return withPair(withServer(new Command("export")))
    .summary("statements as FOCUS rows, CloudEvents, a page or canonical JSON")
    .description(
      "Writes closed statements, or with --period what stands in a period now. `focus` is CSV and `parquet` Parquet " +
        "with the columns of FOCUS 1.4, a row for each hour and price; `focus-1.3` the same for 1.3. `json` is the " +
        "canonical text that the digest is of, one on a line; `cloudevents` statements and usage as CloudEvents 1.0, " +
        "one on a line; `html` a page to print; `leaves` what `statement verify --leaves` reads.",
    )
    .argument("[statement...]", "ids, as `statement list` prints them")
    .addOption(new Option("--format <format>", "what to write").choices(formats).default("focus"))
    .option("--last", "the period that was closed last")
    .option("--period <period>", "today, yesterday, YYYY-MM-DD or YYYY-MM, as it stands now")
    .option("--out <file>", "instead of standard output; needed for parquet")
    .option("--operator <name>", "how the operator is called in rows and on pages", "Operator")
    .option(
      "--evidence",
      "read the leaves of a vendor's closed statement too, for x_CountBasis, x_OutputBytes and x_TokenizerDigest",
    )
    .action(exits(exportStatements));
}

async function exportStatements(ids: readonly string[], options: ExportOptions): Promise<ExitCode> {
  const asked = await askedFor(ids, options);
  const progress = openWorkProgress("export", wordOf[options.format] ?? "rows");
  try {
    await writers[options.format](asked, options, progress);
  } finally {
    progress.stop();
  }
  return 0;
}

async function askedFor(ids: readonly string[], options: ExportOptions): Promise<Asked[]> {
  const { last = false, period } = options;
  const ways = [ids.length > 0, last, period !== undefined].filter(Boolean).length;
  if (ways !== 1) {
    throw new Failure(
      "statement export: expected statement ids, --last or --period, one of the three",
    );
  }
  if (period === undefined) {
    const wanted = last ? await lastIds(options, pairOf(options)) : ids;
    return wanted.map((statementId) => ({ statementId }));
  }
  const { fromUs, toUs, timeZone } = periodOf(period);
  const pairs = await pairsOf(options);
  return pairs.map((pairId) => ({ pairId, period: { fromUs, toUs, timeZone } }));
}

type Write = (asked: Asked[], options: ExportOptions, progress: WorkProgress) => Promise<void>;

const writers: Readonly<Record<Format, Write>> = {
  focus: focusWriter("1.4"),
  "focus-1.3": focusWriter("1.3"),
  parquet: async (asked, options, progress) => {
    const { out } = options;
    if (out === undefined) throw new Failure("--out: expected a file for parquet, found none");
    await writeFocusParquet(focusRows(asked, options, "1.4", progress), "1.4", out);
  },
  json: async (asked, options) => {
    await write(
      options,
      mapped(asked, async (each) => `${(await one(options, each)).text}\n`),
    );
  },
  html: async (asked, options) => {
    await write(
      options,
      mapped(asked, async (each) => page(options, each)),
    );
  },
  cloudevents: async (asked, options, progress) => write(options, events(asked, options, progress)),
  leaves: async (asked, options, progress) => {
    const [each, ...more] = asked;
    if (each === undefined || !("statementId" in each) || more.length > 0) {
      throw new Failure("statement export: expected one closed statement for leaves");
    }
    await write(options, leafLines(each.statementId, options, progress));
  },
};

function focusWriter(version: FocusVersion): Write {
  return async (asked, options, progress) =>
    writeFocusCsv(focusRows(asked, options, version, progress), version, outOf(options));
}

async function* focusRows(
  asked: readonly Asked[],
  options: ExportOptions,
  version: FocusVersion,
  progress: WorkProgress,
): AsyncGenerator<FocusRow> {
  let rows = 0;
  for (const each of asked) {
    for (const invoice of await invoicesOf(each, options)) {
      for await (const row of rowsOf(invoice, options, version)) {
        yield row;
        rows += 1;
        progress.at(rows, 0);
      }
    }
  }
}

/** A month whose days were paid is on no invoice itself: its days are, with their own rounding. */
async function invoicesOf(asked: Asked, options: ExportOptions): Promise<Asked[]> {
  if (!("statementId" in asked)) return [asked];
  const { kind, isPayable, pair, period } = await one(options, asked);
  if (kind !== "monthly" || isPayable) return [asked];
  const invoices: Asked[] = [];
  for (const periodName of daysIn(period)) {
    const days = await newestFirst(options, { pairId: pair, periodName });
    invoices.push(...days.map((day) => ({ statementId: day.statementId })));
  }
  return invoices;
}

async function* rowsOf(
  asked: Asked,
  options: ExportOptions,
  version: FocusVersion,
): AsyncGenerator<FocusRow> {
  let statement: Statement | undefined;
  const evidence = new EvidenceSum();
  if (options.evidence === true && "statementId" in asked) {
    const progress = openWorkProgress("evidence", "leaves");
    for await (const leaf of leavesOf(asked.statementId, options, progress)) evidence.add(leaf);
    progress.stop();
  }
  for await (const message of client(SettlementService, options).listStatementHours(asked)) {
    statement ??= message.statement && toStatement(message.statement, sha256);
    if (statement === undefined) throw new Error("expected a statement first, found none");
    const parties = partiesOf(statement, options);
    for (const each of message.hours) {
      const hour = toHour(each);
      const shown = { ...hour, evidence: evidence.of(hour) };
      yield focusUsageRow({ statement, parties, version, hour: shown });
    }
  }
  if (statement !== undefined) {
    yield* focusOtherRows({ statement, parties: partiesOf(statement, options), version });
  }
}

function partiesOf({ pair }: Statement, { operator }: ExportOptions): FocusParties {
  const [, id = pair] = pair.split(/:(.*)/s);
  return { operator: { id: "operator", name: operator }, counterparty: { id, name: id } };
}

async function one(options: ServerOptions, asked: Asked): Promise<Statement> {
  const settlement = client(SettlementService, options);
  if ("statementId" in asked) {
    const { statement } = await settlement.getStatement(asked);
    if (statement !== undefined) return toStatement(statement, sha256);
  } else {
    for await (const { statement } of settlement.listStatementHours(asked)) {
      if (statement !== undefined) return toStatement(statement, sha256);
    }
  }
  throw new Error("expected a statement in the answer, found none");
}

async function page(options: ExportOptions, asked: Asked): Promise<string> {
  const statement = await one(options, asked);
  const signatures =
    "statementId" in asked
      ? (await client(SettlementService, options).listStatementSignatures(asked)).signatures
      : [];
  const [, counterparty = statement.pair] = statement.pair.split(/:(.*)/s);
  return statementPage(statement, { operator: options.operator, counterparty }, signatures);
}

/** The statement, then what it adds up. */
async function* events(
  asked: readonly Asked[],
  options: ExportOptions,
  progress: WorkProgress,
): AsyncGenerator<string> {
  for (const each of asked) {
    const statement = await one(options, each);
    const source = `//${statement.log.origin}`;
    const { id, period, text } = statement;
    const type = "io.tokengrid.statement.v1";
    yield `${cloudEventText({ id, source, type, subject: id, atUs: period.toUs, data: text })}\n`;
    if (!("statementId" in each)) continue;
    for await (const leaf of leavesOf(each.statementId, options, progress)) {
      const event = usageEvent(leaf, source);
      if (event !== undefined) yield `${event}\n`;
    }
  }
}

function usageEvent(leaf: string, source: string): string | undefined {
  const members = JSON.parse(leaf) as {
    readonly type: string;
    readonly record_id?: string;
    readonly opened_us?: string;
    readonly witness?: { readonly record_id: string; readonly opened_us: string };
  };
  const { record_id: id, opened_us: openedUs } = members.witness ?? members;
  if (id === undefined || openedUs === undefined) return undefined;
  const atUs: InstantUs = BigInt(openedUs);
  const type = "io.tokengrid.usage.v1";
  return cloudEventText({
    id: `${members.type}:${id}`,
    source,
    type,
    subject: id,
    atUs,
    data: leaf,
  });
}

async function* leavesOf(
  statementId: string,
  options: ServerOptions,
  progress: WorkProgress,
): AsyncGenerator<string> {
  let done = 0n;
  for await (const message of client(SettlementService, options).listStatementLeaves({
    statementId,
  })) {
    yield* message.leaves;
    done += BigInt(message.leaves.length);
    progress.at(done, message.leavesTotal);
  }
}

/** The first line says where the range begins and what stands before it; then a leaf on each line, byte for byte. */
async function* leafLines(
  statementId: string,
  options: ServerOptions,
  progress: WorkProgress,
): AsyncGenerator<string> {
  let done = 0n;
  for await (const message of client(SettlementService, options).listStatementLeaves({
    statementId,
  })) {
    if (done === 0n && message.leaves.length === 0) {
      const { firstIndex, roots } = message;
      const head = { type: "log-range", v: "1", statement_id: statementId };
      yield `${JSON.stringify({ ...head, first_index: String(firstIndex), roots })}\n`;
    }
    for (const leaf of message.leaves) yield `${leaf}\n`;
    done += BigInt(message.leaves.length);
    progress.at(done, message.leavesTotal);
  }
}

async function* mapped<Item>(
  items: readonly Item[],
  work: (item: Item) => Promise<string>,
): AsyncGenerator<string> {
  for (const item of items) yield work(item);
}

async function write(options: ExportOptions, texts: AsyncIterable<string>): Promise<void> {
  const out = outOf(options);
  await pipeline(Readable.from(texts), out, { end: out !== process.stdout });
}

function outOf({ out }: ExportOptions): Writable {
  return out === undefined ? process.stdout : createWriteStream(out);
}

function sha256(text: string): string {
  return hash("sha256", text, "hex");
}
