import { join } from "node:path";
import { Command } from "commander";
import {
  aliasModelsMax,
  aliasNameSchema,
  aliasSchema,
  aliasValue,
  type AliasModel,
  type AliasRecord,
} from "../../io/aliases.ts";
import { checked, fromEnvironment } from "../../io/config.ts";
import type { Entry, Registry } from "../../io/registry.ts";
import { openSqliteRegistry } from "../../io/registry-sqlite.ts";
import { choiceOf, choiceText } from "../alias-text.ts";
import { type OutputOptions, withOutput } from "../connect.ts";
import { existingFolder } from "../dev/data-folder.ts";
import { exits, type ExitCode, Failure, Refusal } from "../outcome.ts";
import { print, textTable } from "../print.ts";

interface Options extends OutputOptions {
  readonly data: string;
}

export function command(): Command {
  return new Command("alias")
    .description(
      "Names that tenants ask for, and the models that they stand for. Works on the registry in the data folder; a " +
        "running gateway sees the change within a second.",
    )
    .addCommand(
      onData(new Command("set"))
        .description(
          "Makes the name stand for the models, in order of preference: the next one serves where one has no room, or " +
            "costs more than its cap. A key that lists models and not the name uses those alone.",
        )
        .argument("<name>", "what tenants ask for")
        .argument(
          "<model...>",
          "such as qwen3-32b, qwen3-32b@2 for a version, qwen3-32b,in=2.5,out=10 for caps in CNY per million tokens",
        )
        .action(exits(set)),
    )
    .addCommand(
      onData(new Command("get"))
        .description("What a name stands for. Exits with 2 if there is no such alias.")
        .argument("<name>", "what tenants ask for")
        .action(exits(get)),
    )
    .addCommand(onData(new Command("list")).description("All aliases.").action(exits(list)))
    .addCommand(
      onData(new Command("delete"))
        .description("The name stands for nothing but itself any more.")
        .argument("<name>", "what tenants ask for")
        .action(exits(remove)),
    );
}

function onData(command: Command): Command {
  return withOutput(command).option(
    "--data <folder>",
    "data folder (env TOKENGRID_DATA)",
    fromEnvironment("data") ?? ".tokengrid",
  );
}

async function set(name: string, texts: readonly string[], options: Options): Promise<ExitCode> {
  const models = texts.map((text) => {
    const choice = choiceOf(text);
    if (typeof choice === "string") throw new Failure(`alias set: ${choice}`);
    return choice;
  });
  const twice = models.find((each, index) => models.findIndex((one) => isSame(one, each)) < index);
  if (twice !== undefined) throw new Failure(`alias set: ${choiceText(twice)} is there twice`);
  if (models.length > aliasModelsMax) {
    throw new Failure(
      `alias set: expected at most ${aliasModelsMax} models, found ${models.length}`,
    );
  }
  checked(`alias ${JSON.stringify(name)}`, name, aliasNameSchema);
  const record = checked(`alias ${name}`, { models }, aliasSchema);
  await withRegistry(options, (registry) => keep(registry, name, record));
  show(options, [[name, record]]);
  return 0;
}

function isSame(a: AliasModel, b: AliasModel): boolean {
  return a.model === b.model && a.version === b.version;
}

async function get(name: string, options: Options): Promise<ExitCode> {
  const entry = await withRegistry(options, (registry) => registry.get("alias", name));
  if (entry === undefined || entry.isDeleted) {
    throw new Refusal(`no alias ${name} in ${options.data}`);
  }
  show(options, [toPair(entry)]);
  return 0;
}

async function list(options: Options): Promise<ExitCode> {
  const entries = await withRegistry(options, (registry) => registry.list("alias"));
  show(options, entries.filter(({ isDeleted }) => !isDeleted).map(toPair));
  return 0;
}

async function remove(name: string, options: Options): Promise<ExitCode> {
  await withRegistry(options, async (registry) => {
    const entry = await registry.get("alias", name);
    if (entry === undefined || entry.isDeleted) {
      throw new Refusal(`no alias ${name} in ${options.data}`);
    }
    await change(registry, { key: name, value: entry.value, isDeleted: true }, entry.revision);
  });
  print(options.output, {
    json: { alias: name, deleted: true },
    names: [name],
    text: () => `alias ${name} is deleted\n`,
  });
  return 0;
}

async function keep(registry: Registry, name: string, record: AliasRecord): Promise<void> {
  const current = await registry.get("alias", name);
  const value = JSON.stringify(aliasValue(record));
  await change(registry, { key: name, value, isDeleted: false }, current?.revision ?? 0);
}

async function change(
  registry: Registry,
  entry: Pick<Entry, "key" | "value" | "isDeleted">,
  baseRevision: number,
): Promise<void> {
  const outcome = await registry.set({
    kind: "alias",
    ...entry,
    baseRevision,
    author: "cli",
    comment: "",
  });
  if (outcome.kind === "conflict") {
    throw new Failure(`${entry.key}: someone else changed it just now`);
  }
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

function toPair({ key, value }: Entry): readonly [string, AliasRecord] {
  return [key, checked(`registry alias ${key}`, JSON.parse(value), aliasSchema)];
}

const columns = ["ALIAS", "PREFERENCE", "MODEL", "VERSION", "IN ≤", "OUT ≤"].map((name, index) => ({
  name,
  ...(index === 1 || index > 3 ? { align: "right" as const } : {}),
}));

function show({ output }: Options, aliases: readonly (readonly [string, AliasRecord])[]): void {
  print(output, {
    json: aliases.map(([alias, { models }]) => ({ alias, models })),
    names: aliases.map(([alias]) => alias),
    text: () =>
      textTable(
        columns,
        aliases.flatMap(([alias, { models }]) =>
          models.map((each, index) => [
            index === 0 ? alias : "",
            String(index + 1),
            each.model,
            each.version ?? "any",
            cap(each.inputCnyPerMillionMax),
            cap(each.outputCnyPerMillionMax),
          ]),
        ),
      ),
  });
}

function cap(cnyPerMillion: number | undefined): string {
  return cnyPerMillion === undefined ? "-" : `${cnyPerMillion} CNY/M`;
}
