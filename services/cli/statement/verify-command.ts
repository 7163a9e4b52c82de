import { createReadStream, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { Command } from "commander";
import {
  checkStatement,
  LeafCheck,
  type Check,
  type Checked,
  type Evidence,
} from "../../core/settlement/statements/statement-check.ts";
import { treeHash } from "../../core/settlement/proof/merkle.ts";
import type { Statement } from "../../core/settlement/statements/statement.ts";
import { sha256, verify } from "../../io/signing.ts";
import { type OutputOptions, withOutput } from "../connect.ts";
import { exits, type ExitCode, Failure, Refusal } from "../outcome.ts";
import { print, textTable } from "../print.ts";
import { openWorkProgress } from "../work-progress.ts";
import { PriceVerify } from "./verify-books.ts";
import { readKeys } from "./verify-keys.ts";

interface VerifyOptions extends OutputOptions {
  readonly keys: string;
  readonly signature?: readonly string[];
  readonly previous?: string;
  readonly checkpoint?: string;
  readonly proof?: string;
  readonly leaves?: string;
  readonly books?: readonly string[];
}

/** Leaves between two words of progress. */
const progressLeaves = 10_000;

const means = { sha256, verify, tree: treeHash(sha256) };

export function verifyCommand(): Command {
  return withOutput(new Command("verify"))
    .summary("check a statement offline, with public keys alone")
    .description(
      "Checks the bytes of a statement, its sums and its digest; and of what came with it the signatures, the statement " +
        "before, the checkpoint and the proof of its log. With --leaves every line is added up again from the leaves of " +
        "the log, and the log's root is made of them; with --books every leaf is rated again. It passes only with the operator's signature, or with a proof of " +
        "its log: anything else anybody could have written. What did not come with it is listed as not checked. Needs no " +
        "network. The keys file has the keys of logs and witnesses as `ledger keys` writes them, by which the operator's " +
        "signature is checked too, and for each other key a line `party <pair|operator> <kid> <public key in hex>`.",
    )
    .argument(
      "<file>",
      "the canonical text, as `statement get --out` and `statement export --format json` write it",
    )
    .requiredOption("--keys <file>", "whom you believe")
    .option("--signature <file...>", "detached JWS of a party, as `statement get --out` writes it")
    .option("--previous <file>", "the statement before, that this one names")
    .option("--checkpoint <file>", "signed note of the log at the statement's size")
    .option("--proof <file>", "tlog-proof that the statement is in the log")
    .option("--leaves <file>", "the log range, as `statement export --format leaves` writes it")
    .option(
      "--books <file...>",
      "versions of price books, as `price get --out` writes them: every leaf is rated again by them",
    )
    .action(exits(verifyStatement));
}

async function verifyStatement(file: string, options: VerifyOptions): Promise<ExitCode> {
  const evidence: Evidence = {
    signatures: (options.signature ?? []).map((path) => textOf(path)),
    previous: options.previous === undefined ? undefined : textOf(options.previous),
    checkpoint:
      options.checkpoint === undefined ? undefined : readFileSync(options.checkpoint, "utf8"),
    proof: options.proof === undefined ? undefined : readFileSync(options.proof, "utf8"),
  };
  const trust = readKeys(options.keys);
  const checked = checkStatement(textOf(file), evidence, { trust, means });
  const { statement } = checked;
  const { books } = options;
  if (books !== undefined && options.leaves === undefined) {
    throw new Failure("--books: expected --leaves too, which are rated by them, found none");
  }
  const prices = books && statement && new PriceVerify(books, statement, trust);
  const all = [...checked.checks, ...(await leafChecks(checked, options, prices))];
  const unchecked = uncheckedOf(checked, options, prices);
  print(options.output, {
    json: {
      statement_id: statement?.id ?? "",
      digest: statement?.digest ?? "",
      checks: all.map(jsonOf),
      not_checked: unchecked.map(([name, detail]) => ({ name, detail })),
    },
    names: all.filter(({ isGood }) => !isGood).map(({ name }) => name),
    text: () => checksText(statement, all, unchecked),
  });
  const bad = all.filter(({ isGood }) => !isGood);
  if (bad.length > 0) {
    throw new Refusal(
      `statement verify: expected all checks to pass, found ${bad.length} that did not`,
    );
  }
  return 0;
}

type NotChecked = readonly [name: string, detail: string];

/** What nothing is known of, in words: what was not looked at may be wrong. */
function uncheckedOf(
  { statement, unchecked }: Checked,
  options: VerifyOptions,
  prices: PriceVerify | undefined,
): NotChecked[] {
  if (statement === undefined) return [];
  const words = {
    counterparty: `no signature of ${statement.pair} (--signature)`,
    chain: "that it follows on the statement before (--previous)",
    checkpoint: "the log's root at its size (--checkpoint)",
    proof: "that it is in the log (--proof)",
  };
  const found = unchecked.map((name): NotChecked => [name, words[name]]);
  const books = (prices?.unsigned ?? []).map((name): NotChecked => [
    "book",
    `who has signed ${name}: found no signature by a key that is believed`,
  ]);
  const leaves: NotChecked = [
    "leaves",
    "that the leaves of the log add up to its lines (--leaves)",
  ];
  const rated: NotChecked = ["prices", "prices not checked: what the leaves cost (--books)"];
  return [
    ...found,
    ...(options.leaves === undefined ? [leaves] : []),
    ...(prices === undefined ? [rated] : books),
  ];
}

function checksText(
  statement: Statement | undefined,
  checks: readonly Check[],
  unchecked: readonly NotChecked[],
): string {
  const rows = [
    ...checks.map(({ name, isGood, detail }) => [isGood ? "ok" : "WRONG", name, detail]),
    ...unchecked.map(([name, detail]) => ["not checked", name, detail]),
  ];
  const table = textTable([{ name: "RESULT" }, { name: "CHECK" }, { name: "FOUND" }], rows);
  return `${statement?.id ?? "no statement"}\n${table}`;
}

function jsonOf({ name, isGood, detail }: Check) {
  return { name, is_good: isGood, detail };
}

/** Without the end of the last line, which editors add. */
function textOf(path: string): string {
  return readFileSync(path, "utf8").replace(/\r?\n$/, "");
}

async function leafChecks(
  { statement, isRootSigned }: Checked,
  { leaves }: VerifyOptions,
  prices: PriceVerify | undefined,
): Promise<Check[]> {
  if (statement === undefined || leaves === undefined) return [];
  const progress = openWorkProgress("verify", "leaves");
  const total = statement.log.endIndex - statement.log.firstIndex;
  let check: LeafCheck | undefined;
  let done = 0;
  const lines = createInterface({ input: createReadStream(leaves), crlfDelay: Infinity });
  try {
    for await (const line of lines) {
      if (check === undefined) {
        check = new LeafCheck({ statement, isRootSigned }, rootsIn(line, leaves), means.tree);
      } else {
        check.add(line);
        prices?.add(line);
      }
      done += 1;
      if (done % progressLeaves === 0) progress.at(done, total);
    }
  } finally {
    progress.stop();
  }
  if (check === undefined)
    throw new Failure(`${leaves}: expected a log range, found an empty file`);
  return [...check.checks, ...(prices?.checks ?? [])];
}

function rootsIn(line: string, path: string): readonly string[] {
  const head = JSON.parse(line) as { readonly type?: string; readonly roots?: readonly string[] };
  if (head.type === "log-range" && head.roots !== undefined) return head.roots;
  throw new Failure(`${path}: expected a log range in the first line, found ${line.slice(0, 60)}`);
}
