import { openSync, closeSync, writeSync } from "node:fs";
import { Command } from "commander";
import { fromEnvironment } from "../../io/config.ts";
import { LeafCopyError, readLeafCopy, type LeafCopy } from "../../io/leaf-copy.ts";
import { readLedger } from "../../io/ledger-open.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { openLog } from "../../io/log.ts";
import type { LogComparison } from "../../settlement/main.ts";
import { type OutputOptions, withOutput } from "../connect.ts";
import { dataFolder, existingFolder } from "../dev/data-folder.ts";
import { exits, type ExitCode, Failure, Refusal } from "../outcome.ts";
import { grouped, print, textTable } from "../print.ts";

interface LedgerOptions extends OutputOptions {
  readonly data: string;
  readonly ledger?: string;
}

interface CompareOptions extends LedgerOptions {
  readonly out?: string;
}

interface RebuildOptions extends LedgerOptions {
  readonly secrets?: string;
  readonly giveUp?: readonly string[];
}

type Lost = Awaited<ReturnType<typeof import("../../settlement/main.ts").stillLost>>[number];

export function compareCommand(): Command {
  return withLedger(new Command("compare"))
    .summary("a ledger's logs against copies of them")
    .description(
      "Compares logs with copies that `witness follow --keep` made, leaf for leaf: from which one on they differ, and " +
        "what the ledger does not have. Changes nothing. Exits with 2 if anything differs or is missing.",
    )
    .argument("<copy...>", "folders of copies")
    .option(
      "--out <file>",
      "write the missing leaves there, one JSON on a line: the evidence of what was owed",
    )
    .action(exits(compare));
}

export function rebuildCommand(): Command {
  return withLedger(new Command("rebuild"))
    .summary("put back what a restored ledger's logs lack")
    .description(
      "After an old ledger was put back: appends the leaves that it lacks from copies of its logs, byte for byte, so " +
        "that they are again what was signed. Settlement must not run. Money is not made of leaves: records come again " +
        "from the spools of gateways that have them; the others are listed, and stay lost until they are recorded.",
    )
    .argument("[copy...]", "folders of copies")
    .option("--secrets <folder>", "where operator.pem and signed-heads are")
    .option(
      "--give-up <log...>",
      "logs without a better copy: sign on from what is there, though more was signed; the ledger notes it",
    )
    .action(exits(rebuild));
}

function withLedger(command: Command): Command {
  return withOutput(command)
    .option(
      "--data <folder>",
      "data folder (env TOKENGRID_DATA)",
      fromEnvironment("data") ?? ".tokengrid",
    )
    .option("--ledger <file or url>", "another ledger: a SQLite file, or postgres://…");
}

async function compare(folders: readonly string[], options: CompareOptions): Promise<ExitCode> {
  const { compareLog, missingLeaves, stillLost } = await import("../../settlement/main.ts");
  const copies = await copiesOf(folders);
  const store = await readLedger(options.ledger ?? dataFolder(existingFolder(options.data)).ledger);
  try {
    const compared: LogComparison[] = [];
    for (const copy of copies) compared.push(await compareLog(store, copy));
    if (options.out !== undefined) await writeMissing(options.out, store, copies, missingLeaves);
    const lost = await stillLost(store);
    return show(compared, lost, options);
  } finally {
    await store.close();
  }
}

async function rebuild(folders: readonly string[], options: RebuildOptions): Promise<ExitCode> {
  const { rebuildLedger, RebuildError } = await import("../../settlement/main.ts");
  const copies = await copiesOf(folders);
  const { ledger, secrets, giveUp = [] } = options;
  const data = ledger === undefined || secrets === undefined ? dataOf(options) : undefined;
  try {
    const { logs, lost } = await rebuildLedger({
      ledger: ledger ?? data?.ledger ?? "",
      secretsPath: secrets ?? data?.secrets ?? "",
      ...{ copies, giveUp },
      log: openLog({ role: "rebuild", level: "warn" }),
      nowUs: BigInt(Date.now()) * 1_000n,
    });
    show(logs, lost, options);
    return 0;
  } catch (error) {
    if (error instanceof RebuildError) throw new Refusal(error.message);
    throw error;
  }
}

function dataOf({ data }: LedgerOptions) {
  return dataFolder(existingFolder(data));
}

async function copiesOf(folders: readonly string[]): Promise<LeafCopy[]> {
  const copies: LeafCopy[] = [];
  for (const folder of folders) {
    try {
      copies.push(await readLeafCopy(folder));
    } catch (error) {
      if (error instanceof LeafCopyError) throw new Failure(error.message);
      throw error;
    }
  }
  return copies;
}

async function writeMissing(
  path: string,
  store: Pick<LedgerStore, "logs">,
  copies: readonly LeafCopy[],
  missing: typeof import("../../settlement/main.ts").missingLeaves,
): Promise<void> {
  const sizes = new Map<string, bigint>(await store.logs());
  const file = openSync(path, "w");
  try {
    for (const copy of copies) {
      const { logId } = copy.head;
      for await (const { index, kind, ref, text } of missing(copy, sizes.get(logId) ?? 0n)) {
        const leaf = { log_id: logId, index: index.toString(), kind, ref, text };
        writeSync(file, `${JSON.stringify(leaf)}\n`);
      }
    }
  } finally {
    closeSync(file);
  }
}

function show(
  compared: readonly LogComparison[],
  lost: readonly Lost[],
  options: OutputOptions,
): ExitCode {
  const rows = compared.map(({ log, ledgerSize, copySize, differsFrom, missing }) => ({
    log_id: log,
    ledger_size: ledgerSize.toString(),
    copy_size: copySize.toString(),
    differs_from: differsFrom?.toString() ?? null,
    missing: Object.fromEntries([...missing].map(([kind, count]) => [kind, count.toString()])),
  }));
  const lostRows = lost.map(({ log, index, kind, ref }) => ({
    log_id: log,
    index: index.toString(),
    kind,
    ref,
  }));
  print(options.output, {
    json: { logs: rows, lost: lostRows },
    names: lostRows.map(({ ref }) => ref),
    text: () =>
      textTable(
        [
          { name: "LOG" },
          { name: "LEDGER", align: "right" },
          { name: "COPY", align: "right" },
          { name: "DIFFERS FROM", align: "right" },
          { name: "MISSING" },
        ],
        rows.map((row) => [
          row.log_id,
          grouped(row.ledger_size),
          grouped(row.copy_size),
          row.differs_from ?? "-",
          Object.entries(row.missing)
            .map(([kind, count]) => `${grouped(count)} ${kind}`)
            .join(", ") || "-",
        ]),
      ) +
      (lost.length === 0
        ? ""
        : `\n${grouped(lost.length)} leaves were put back and what they are leaves of has not come again:\n` +
          lostRows
            .map(({ log_id, index, kind, ref }) => `  ${log_id} ${index} ${kind} ${ref}\n`)
            .join("")),
  });
  const isSame = compared.every(
    ({ differsFrom, missing }) => differsFrom === undefined && missing.size === 0,
  );
  return isSame && lost.length === 0 ? 0 : 2;
}
