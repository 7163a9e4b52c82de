import { Command } from "commander";
import {
  followLog,
  LogFollower,
  openWitness,
  toWitnessConfig,
  type FollowOutcome,
} from "../../agent/main.ts";
import { formatKey, noteKey } from "../../core/settlement/proof/note.ts";
import { openLeafCopy } from "../../io/leaf-copy.ts";
import { openLog } from "../../io/log.ts";
import { openSigningKey, sha256 } from "../../io/signing.ts";
import { serveWitness } from "../../io/witness-http.ts";
import { type ServerOptions, transportOf, withServer } from "../connect.ts";
import { exits, type ExitCode, Refusal } from "../outcome.ts";
import { parsePort } from "../dev/ports.ts";
import { untilSignal } from "../signals.ts";

interface KeyOptions {
  readonly name: string;
  readonly key: string;
}

interface WitnessOptions extends KeyOptions {
  readonly state: string;
  readonly logKey: readonly string[];
}

interface RunOptions extends WitnessOptions {
  readonly host: string;
  readonly port: number;
  readonly prefix: string;
}

interface FollowOptions extends WitnessOptions, ServerOptions {
  readonly log: string;
  readonly interval: string;
  readonly everyLeaf?: boolean;
  readonly keep?: string;
  readonly once?: boolean;
}

const defaultPort = 7_235;
const defaultIntervalMs = "10000";

export function command(): Command {
  return new Command("witness")
    .description(
      "Signs what a log says of itself, as long as it says one thing and only grows. Keeps what it signed on disk " +
        "before it answers.",
    )
    .addCommand(
      withKey(new Command("key"))
        .summary("the witness's public key")
        .description("Prints the public key, and makes the key file if there is none.")
        .action(exits(key)),
    )
    .addCommand(runCommand())
    .addCommand(followCommand());
}

function runCommand(): Command {
  return withWitness(new Command("run"))
    .summary("serve C2SP tlog-witness over HTTP")
    .description("Serves POST <prefix>/add-checkpoint for logs that come by themselves.")
    .option("--host <address>", "address to listen on", "127.0.0.1")
    .option("--port <port>", "port to listen on; 0 takes any that is free", parsePort, defaultPort)
    .option("--prefix <path>", "what the path begins with", "")
    .action(exits(run));
}

function followCommand(): Command {
  return withServer(withWitness(new Command("follow")))
    .summary("look at the operator's log and sign it, from outside in")
    .description(
      "Polls the operator with the vendor's key, checks that the log only grew, and hands in the signature. Nobody " +
        "has to reach this machine.",
    )
    .requiredOption("--log <log>", "such as vendor:northgrid")
    .option("--interval <ms>", "how often to look", defaultIntervalMs)
    .option(
      "--every-leaf",
      "read every leaf and make their root, instead of believing in proofs alone",
    )
    .option(
      "--keep <folder>",
      "read every leaf and keep it, with tiles as C2SP tlog-tiles: from it the operator's log can be made again",
    )
    .option("--once", "look once; exits with 2 if the log misbehaves")
    .action(exits(follow));
}

function withKey(command: Command): Command {
  return command
    .requiredOption("--name <name>", "name of the key, such as northgrid.example/witness")
    .requiredOption("--key <file>", "PEM file of the key; made with mode 0600 if there is none");
}

function withWitness(command: Command): Command {
  return withKey(command)
    .requiredOption("--state <file>", "what was signed; whoever loses it may sign two histories")
    .requiredOption(
      "--log-key <key...>",
      "keys of the logs, name+id+base64, as their owners gave them",
    );
}

async function key({ name, key: path }: KeyOptions): Promise<ExitCode> {
  const { publicKey } = await openSigningKey(path);
  const shown = noteKey({ name, type: "cosignature", publicKey }, sha256);
  process.stdout.write(`${formatKey(shown)}\n`);
  return 0;
}

async function run(options: RunOptions): Promise<ExitCode> {
  const { host, port: wanted, prefix } = options;
  const signal = untilSignal();
  const log = openLog({ role: "witness", level: "info" });
  const { witness, state, logKeys } = await openWitness(settingsOf(options, "-"), () => Date.now());
  try {
    const port = await serveWitness({ host, port: wanted, prefix, witness, log, signal });
    log.info({ port, logs: new Set(logKeys.map(({ name }) => name)).size }, "the witness listens");
    await ended(signal);
  } finally {
    state.close();
  }
  return 0;
}

async function follow(options: FollowOptions): Promise<ExitCode> {
  const signal = untilSignal();
  const config = settingsOf(options, options.log);
  const log = openLog({ role: "witness", level: "info" }).child({ logId: options.log });
  const { witness, logKeys, state } = await openWitness(config, () => Date.now());
  const { keep } = options;
  const copy = keep === undefined ? undefined : await openLeafCopy(keep, options.log);
  const follower = new LogFollower({
    transport: transportOf(options),
    logId: options.log,
    logKeys,
    witness,
    isEveryLeafRead: options.everyLeaf === true,
    copy,
  });
  try {
    if (options.once === true) return outcomeOf(await follower.look(signal));
    const { intervalMs } = config;
    const onOutcome = (outcome: FollowOutcome): void => log.debug(outcome, "looked");
    await followLog({ follower, intervalMs, onOutcome, log, signal });
    return 0;
  } finally {
    await copy?.close();
    state.close();
  }
}

function outcomeOf(outcome: FollowOutcome): ExitCode {
  switch (outcome.kind) {
    case "signed":
      process.stdout.write(`signed ${outcome.size} leaves\n`);
      return 0;
    case "nothing":
      process.stdout.write("nothing is signed there yet\n");
      return 0;
    case "misbehaved":
      throw new Refusal(`the log misbehaves: ${outcome.reason}`);
    case "stopped":
      throw new Refusal(`the operator has stopped to sign: ${outcome.reason}`);
  }
}

function settingsOf(options: WitnessOptions & { readonly interval?: string }, logId: string) {
  const { name, key: keyFile, state: stateFile, logKey: logKeys, interval } = options;
  return toWitnessConfig({
    name,
    keyFile,
    stateFile,
    logId,
    logKeys,
    ...(interval === undefined ? {} : { intervalMs: Number(interval) }),
  });
}

async function ended(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise((resolve) => {
    signal.addEventListener("abort", resolve, { once: true });
  });
}
