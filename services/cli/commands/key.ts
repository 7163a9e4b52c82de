import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { serviceClasses, type ServiceClass } from "../../core/placement/request.ts";
import {
  createKey,
  dimensionSchema,
  type KeyKind,
  keyKinds,
  type KeyRecord,
  keyRecordSchema,
} from "../../io/keys.ts";
import { checked, fromEnvironment } from "../../io/config.ts";
import type { Registry } from "../../io/registry.ts";
import { openSqliteRegistry } from "../../io/registry-sqlite.ts";
import { type OutputOptions, withOutput } from "../connect.ts";
import { existingFolder } from "../dev/data-folder.ts";
import { exits, type ExitCode, Failure, Refusal } from "../outcome.ts";
import { localTime } from "../period.ts";
import { print, textCard, textTable } from "../print.ts";

interface Options extends OutputOptions {
  readonly data: string;
}

interface CreateOptions extends Options {
  readonly kind: KeyKind;
  readonly subject: string;
  readonly model?: readonly string[];
  readonly class?: ServiceClass;
  readonly department?: string;
  readonly project?: string;
  readonly scenario?: string;
  readonly debug?: boolean;
  readonly file?: string;
}

export function command(): Command {
  return new Command("key")
    .description(
      "Keys of tenants, vendors, operators, owners of models and channels. Works on the registry in the data folder; a running " +
        "program sees the change within a second.",
    )
    .addCommand(createCommand())
    .addCommand(
      onData(new Command("list"))
        .description("All keys, without their secrets.")
        .action(exits(list)),
    )
    .addCommand(
      onData(new Command("revoke"))
        .description("The key opens nothing any more. It stays in the list.")
        .argument("<prefix>", "first part of the key, such as sk-tg-0123456789ab")
        .action(exits(revoke)),
    );
}

function createCommand(): Command {
  return onData(new Command("create"))
    .description(
      "Makes a key and prints it once, or writes it into a new file that only its owner can read: only a hash " +
        "of it is kept.",
    )
    .addOption(new Option("--kind <kind>", "whose key it is").choices(keyKinds).default("tenant"))
    .requiredOption(
      "--subject <id>",
      "the tenant, vendor, owner of models or channel, or the operator's name",
    )
    .option("--file <path>", "where to write the key instead of printing it")
    .option("--model <id...>", "models or aliases it may use; all if not given")
    .addOption(
      new Option("--class <class>", "class of its requests that state none").choices(
        serviceClasses,
      ),
    )
    .option("--department <id>", "whose use it is within the tenant", dimension)
    .option("--project <id>", "for which project", dimension)
    .option("--scenario <id>", "of requests that name none in x-tokengrid-scenario", dimension)
    .option("--debug", "may ask for debug headers and name the origin of a request")
    .action(exits(createOne));
}

function dimension(text: string): string {
  const { success } = dimensionSchema.safeParse(text);
  if (success) return text;
  throw new InvalidArgumentError("Expected 1 to 64 letters, digits, dots, dashes, underscores.");
}

function onData(command: Command): Command {
  return withOutput(command).option(
    "--data <folder>",
    "data folder (env TOKENGRID_DATA)",
    fromEnvironment("data") ?? ".tokengrid",
  );
}

async function createOne(options: CreateOptions): Promise<ExitCode> {
  const { kind, subject, model = [], debug = false, department, project, scenario } = options;
  const isDivided = [department, project, scenario].some((each) => each !== undefined);
  if (isDivided && kind !== "tenant") {
    throw new Refusal(`departments, projects and scenarios are a tenant's, found a ${kind}'s key`);
  }
  const { secret, record } = createKey({
    kind,
    subject,
    models: model,
    isDebug: debug,
    serviceClass: options.class,
    department,
    project,
    scenario,
    nowUs: BigInt(Date.now()) * 1_000n,
  });
  await withRegistry(options, async (registry) => {
    // The file first: a key that nobody could read afterwards would be of no use.
    if (options.file !== undefined) writeSecret(options.file, secret);
    await keep(registry, record, 0);
  });
  if (options.file !== undefined) {
    print(options.output, {
      json: { file: options.file, ...publicPart(record) },
      names: [record.prefix],
      text: () => `key ${record.prefix} of ${kind} ${subject} is in ${options.file}\n`,
    });
    return 0;
  }
  print(options.output, {
    json: { key: secret, ...publicPart(record) },
    names: [secret],
    text: () =>
      textCard([
        ["key", secret],
        ["kind", record.kind],
        ["subject", record.subject],
        ...dimensionsOf(record),
      ]),
  });
  return 0;
}

/** Throws if there is such a file already: it may be a key in use. */
function writeSecret(path: string, secret: string): void {
  writeFileSync(path, `${secret}\n`, { mode: 0o600, flag: "wx" });
}

async function list(options: Options): Promise<ExitCode> {
  const entries = await withRegistry(options, (registry) => registry.list("key"));
  const records = entries.map(({ key, value }) => recordOf(key, value));
  print(options.output, {
    json: records.map(publicPart),
    names: records.map(({ prefix }) => prefix),
    text: () => textTable(columns, records.map(row)),
  });
  return 0;
}

async function revoke(prefix: string, options: Options): Promise<ExitCode> {
  const record = await withRegistry(options, async (registry) => {
    const entry = await registry.get("key", prefix);
    if (entry === undefined) throw new Refusal(`no key ${prefix} in ${options.data}`);
    const revoked = { ...recordOf(prefix, entry.value), isRevoked: true };
    await keep(registry, revoked, entry.revision);
    return revoked;
  });
  print(options.output, {
    json: publicPart(record),
    names: [prefix],
    text: () => `key ${prefix} of ${record.subject} is revoked\n`,
  });
  return 0;
}

async function withRegistry<Result>(
  { data }: Options,
  work: (registry: Registry) => Promise<Result>,
): Promise<Result> {
  const registry = await openSqliteRegistry(join(existingFolder(data), "registry.sqlite"));
  try {
    return await work(registry);
  } finally {
    await registry.close();
  }
}

async function keep(registry: Registry, record: KeyRecord, baseRevision: number): Promise<void> {
  const outcome = await registry.set({
    kind: "key",
    key: record.prefix,
    value: JSON.stringify(record),
    baseRevision,
    author: "cli",
    comment: "",
  });
  if (outcome.kind === "conflict")
    throw new Failure(`${record.prefix}: someone else changed it just now`);
}

function recordOf(prefix: string, value: string): KeyRecord {
  return checked(`registry key ${prefix}`, JSON.parse(value), keyRecordSchema);
}

function dimensionsOf({ department, project, scenario }: KeyRecord): [string, string][] {
  const named = Object.entries({ department, project, scenario });
  return named.flatMap(([name, value]) => (value === undefined ? [] : [[name, value]]));
}

/** The hash opens nothing, and still has no business on a screen. */
function publicPart({ hash: _hash, ...rest }: KeyRecord): Omit<KeyRecord, "hash"> {
  return rest;
}

const columns = ["PREFIX", "KIND", "SUBJECT", "FOR", "MODELS", "DEBUG", "CREATED", "STATE"].map(
  (name) => ({
    name,
  }),
);

function row(record: KeyRecord): string[] {
  return [
    record.prefix,
    record.kind,
    record.subject,
    dimensionsOf(record)
      .map(([name, value]) => `${name}=${value}`)
      .join(" "),
    record.models.length === 0 ? "all" : record.models.join(","),
    record.isDebug ? "yes" : "no",
    localTime(BigInt(record.createdAtUs)),
    record.isRevoked ? "revoked" : "valid",
  ];
}
