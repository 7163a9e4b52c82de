import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Code, ConnectError } from "@connectrpc/connect";
import { Command, Option } from "commander";
import { hashText } from "../../core/settlement/proof/checkpoint.ts";
import { fromEnvironment } from "../../io/config.ts";
import { readLedger } from "../../io/ledger-open.ts";
import { verifyLedger } from "../../io/ledger-verify.ts";
import {
  type GetInclusionProofResponse,
  LogKeyRole,
  LogService,
  LogStateSchema,
} from "../../wire/gen/tokengrid/v1/log_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { dataFolder, existingFolder } from "../dev/data-folder.ts";
import { readText } from "../document.ts";
import { logStateTable } from "../ledger/log-state-text.ts";
import { checkProof, provenJson } from "../ledger/proof-check.ts";
import { compareCommand, rebuildCommand } from "../ledger/rebuild-commands.ts";
import { exits, type ExitCode, Refusal } from "../outcome.ts";
import { grouped, jsonOf, print, textCard } from "../print.ts";
import { openWorkProgress } from "../work-progress.ts";

interface VerifyOptions extends OutputOptions {
  readonly data: string;
  readonly ledger?: string;
}

interface ProofOptions extends ServerOptions, OutputOptions {
  readonly log?: string;
  readonly kind: string;
  readonly out: string;
}

interface CheckOptions extends OutputOptions {
  readonly keys: string;
}

interface TrustOptions extends ServerOptions, OutputOptions {
  readonly role: "witness" | "log";
  readonly withdraw?: boolean;
}

type Options = ServerOptions & OutputOptions;

const logHelp = "its pair, such as vendor:northgrid";

export function command(): Command {
  return new Command("ledger")
    .description("The books and their Merkle logs: check them, prove a record, sign what is new.")
    .addCommand(verifyCommand())
    .addCommand(proofCommand())
    .addCommand(checkCommand())
    .addCommand(
      withOutput(withServer(new Command("logs")))
        .description("Every log with what is signed and what its witness has seen.")
        .action(exits(logs)),
    )
    .addCommand(
      withOutput(withServer(new Command("seal")))
        .summary("sign at once what is durable")
        .description("Signs a checkpoint of every log that has grown, instead of within a second.")
        .action(exits(seal)),
    )
    .addCommand(
      withOutput(withServer(new Command("keys")))
        .summary("public keys of a log and its witnesses")
        .description(
          "Writes a C2SP tlog-policy, which `ledger verify-proof --keys` and `statement verify --keys` read.",
        )
        .argument("<log>", logHelp)
        .action(exits(keys)),
    )
    .addCommand(trustCommand())
    .addCommand(compareCommand())
    .addCommand(rebuildCommand());
}

function verifyCommand(): Command {
  return withOutput(new Command("verify"))
    .summary("make every sum of the books again")
    .description(
      "Makes balances, totals, hours, tiles and roots again from records, entries and leaves, as they are at one " +
        "moment; whoever writes goes on. Exits with 2 if something does not add up.",
    )
    .option(
      "--data <folder>",
      "data folder (env TOKENGRID_DATA)",
      fromEnvironment("data") ?? ".tokengrid",
    )
    .option("--ledger <file or url>", "another ledger: a SQLite file, or postgres://…")
    .action(exits(verify));
}

function proofCommand(): Command {
  return withOutput(withServer(new Command("proof")))
    .summary("a record and the proof that it is in the log")
    .description(
      "Writes record.json and record.tlog-proof (C2SP tlog-proof), which anybody can check with " +
        "`ledger verify-proof` and public keys alone.",
    )
    .argument("<record>", "record id, or what else the leaf is named after")
    .option("--log <log>", `${logHelp}; without it every log is asked that you may see`)
    .option("--kind <kind>", "kind of the leaf: usage, sale, statement, seal, key, …", "usage")
    .option("--out <folder>", "where to write", ".")
    .action(exits(proof));
}

function checkCommand(): Command {
  return withOutput(new Command("verify-proof"))
    .summary("check a proof, offline")
    .description(
      "Checks that a record is in a log, and that the witnesses that are asked for have seen it. Needs no network. " +
        "Exits with 2 if that is not shown.",
    )
    .argument("<record>", "file with the record, such as record.json")
    .argument("<proof>", "file with the proof, such as record.tlog-proof")
    .requiredOption("--keys <file>", "public keys: a C2SP tlog-policy, or a key on each line")
    .action(exits(check));
}

function trustCommand(): Command {
  return withOutput(withServer(new Command("trust")))
    .summary("a key speaks for a counterparty")
    .description(
      "From now on a key speaks for a counterparty: it witnesses the log, or signs a log of its own. It becomes a " +
        "leaf of the log. Make sure with the counterparty that the key is its own.",
    )
    .argument("<log>", logHelp)
    .argument("<key>", "name+id+base64, as `tokengrid witness key` prints it")
    .addOption(
      new Option("--role <role>", "what the key is for")
        .choices(["witness", "log"])
        .default("witness"),
    )
    .option("--withdraw", "it no longer speaks for it")
    .action(exits(trust));
}

async function verify(options: VerifyOptions): Promise<ExitCode> {
  const target = options.ledger ?? dataFolder(existingFolder(options.data)).ledger;
  const store = await readLedger(target);
  const progress = openWorkProgress("verify", "rows");
  try {
    const { records, entries, heads, mistakes } = await verifyLedger(store, progress.at);
    progress.stop();
    const logs = [...heads].map(([log, { size, root }]) => ({
      log_id: log,
      size: size.toString(),
      root: hashText(root),
    }));
    print(options.output, {
      json: { records: records.toString(), entries: entries.toString(), logs, mistakes },
      names: mistakes,
      text: () =>
        textCard([
          ["records", grouped(records)],
          ["entries", grouped(entries)],
          ...logs.map(
            ({ log_id, size, root }) => [log_id, `${grouped(size)} leaves, root ${root}`] as const,
          ),
          ["mistakes", mistakes.length === 0 ? "none" : grouped(mistakes.length)],
          ...mistakes.map((mistake) => ["", mistake] as const),
        ]),
    });
    return mistakes.length === 0 ? 0 : 2;
  } finally {
    progress.stop();
    await store.close();
  }
}

async function proof(record: string, options: ProofOptions): Promise<ExitCode> {
  const found = await answered(options, () => findProof(record, options));
  const [recordFile, proofFile] = [
    join(options.out, "record.json"),
    join(options.out, "record.tlog-proof"),
  ];
  writeFileSync(recordFile, found.leaf?.text ?? "");
  writeFileSync(proofFile, found.tlogProof);
  const files = [recordFile, proofFile];
  print(options.output, {
    json: { log_id: found.logId, files },
    names: files,
    text: () => files.map((file) => `${file}\n`).join(""),
  });
  return 0;
}

/** In the log that is named, or the first that has it. */
async function findProof(
  ref: string,
  options: ProofOptions,
): Promise<GetInclusionProofResponse & { readonly logId: string }> {
  const { kind } = options;
  const asked = client(LogService, options);
  const logIds =
    options.log === undefined
      ? (await asked.listLogs({})).logs.map(({ logId }) => logId)
      : [options.log];
  const found: string[] = [];
  for (const logId of logIds) {
    try {
      const leaf = { case: "name", value: { kind, ref } } as const;
      return { ...(await asked.getInclusionProof({ logId, leaf })), logId };
    } catch (error) {
      if (!(error instanceof ConnectError) || error.code !== Code.NotFound) throw error;
      found.push(`  ${error.rawMessage}`);
    }
  }
  throw new Refusal(`expected a leaf ${kind} ${ref}, found none:\n${found.join("\n")}`);
}

async function check(
  recordPath: string,
  proofPath: string,
  options: CheckOptions,
): Promise<ExitCode> {
  const proven = checkProof({
    record: readText(recordPath),
    proof: readText(proofPath),
    keys: readText(options.keys),
  });
  if (typeof proven === "string") throw new Refusal(`${recordPath} is not proven: ${proven}`);
  const json = provenJson(proven);
  print(options.output, {
    json,
    names: [json.origin],
    text: () =>
      textCard([
        ["verdict", json.verdict],
        ["log", json.origin],
        ["index", `${grouped(json.index)} of ${grouped(json.size)}`],
        ["root", json.root],
        ...json.signers.map(({ name, id }) => ["signed by", `${name}+${id}`] as const),
      ]),
  });
  return 0;
}

async function logs(options: Options): Promise<ExitCode> {
  const found = await answered(options, () => client(LogService, options).listLogs({}));
  return printLogs(found.logs, options);
}

async function seal(options: Options): Promise<ExitCode> {
  const sealed = await answered(options, () => client(LogService, options).sealLogs({}));
  return printLogs(sealed.logs, options);
}

function printLogs(found: Parameters<typeof logStateTable>[0], options: Options): ExitCode {
  print(options.output, {
    json: found.map((each) => jsonOf(LogStateSchema, each)),
    names: found.map(({ logId }) => logId),
    text: (isWide) => logStateTable(found, Date.now(), isWide),
  });
  return found.some(({ refusal }) => refusal !== "") ? 2 : 0;
}

async function keys(logId: string, options: Options): Promise<ExitCode> {
  const found = await answered(options, () => client(LogService, options).listKeys({ logId }));
  const witnesses = found.keys.filter(({ role }) => role === LogKeyRole.WITNESS);
  const names = witnesses.map((_each, at) => `witness-${at + 1}`);
  const lines = [
    `log ${found.logKey}`,
    ...witnesses.map(({ key }, at) => `witness ${names[at]} ${key}`),
    ...(names.length === 0
      ? ["quorum none"]
      : [`group witnesses any ${names.join(" ")}`, "quorum witnesses"]),
  ];
  print(options.output, {
    json: {
      log_id: logId,
      log_key: found.logKey,
      witness_keys: witnesses.map(({ key }) => key),
    },
    names: [found.logKey, ...witnesses.map(({ key }) => key)],
    text: () => lines.map((line) => `${line}\n`).join(""),
  });
  return 0;
}

async function trust(logId: string, key: string, options: TrustOptions): Promise<ExitCode> {
  const role = options.role === "log" ? LogKeyRole.LOG : LogKeyRole.WITNESS;
  const isWithdrawn = options.withdraw === true;
  await answered(options, () =>
    client(LogService, options).trustKey({ logId, role, key, isWithdrawn }),
  );
  const does = options.role === "log" ? "signs the own log" : "witnesses the log";
  const name = key.split("+")[0] ?? "";
  print(options.output, {
    json: { log_id: logId, role: options.role, key, is_withdrawn: isWithdrawn },
    names: [name],
    text: () => `${name}: ${isWithdrawn ? "no longer" : "from now on"} ${does} of ${logId}\n`,
  });
  return 0;
}
