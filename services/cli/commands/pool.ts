import { Command, Option } from "commander";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { readMessage } from "../document.ts";
import { drain } from "../drain.ts";
import { durationMs } from "../duration.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { healthWord, poolCard, poolList, statusWord } from "../pool-text.ts";
import { jsonOf, print, textCard } from "../print.ts";
import { watching } from "../watch.ts";
import {
  type Pool,
  PoolRegistrationSchema,
  PoolSchema,
  PoolService,
  PoolServiceListResponseSchema,
} from "../../wire/gen/tokengrid/v1/pool_pb.js";
import { PriceBookSchema } from "../../wire/gen/tokengrid/v1/price_pb.js";

type Options = ServerOptions & OutputOptions;

interface Selection {
  readonly vendor?: string;
  readonly region?: string;
  readonly model?: string;
}

export function command(): Command {
  return new Command("pool")
    .description("Lists, watches and steers the pools that placement chooses from.")
    .addCommand(listCommand())
    .addCommand(oneCommand("get", "one pool as a line").action(exits(get)))
    .addCommand(
      oneCommand(
        "describe",
        "everything known of one pool, each figure with source and age",
      ).action(exits(describe)),
    )
    .addCommand(watchCommand())
    .addCommand(
      steerCommand("cordon", "no new leases; those that run keep running").action(exits(cordon)),
    )
    .addCommand(
      steerCommand("uncordon", "takes leases again; cancels a drain").action(exits(uncordon)),
    )
    .addCommand(drainCommand())
    .addCommand(registerCommand())
    .addCommand(publishCommand());
}

function listCommand(): Command {
  return selected(withOutput(withServer(new Command("list"))))
    .description("all pools, one line per model")
    .action(exits(list));
}

/** Options that narrow a list. */
export function selected(command: Command): Command {
  return command
    .optionsGroup("Selection:")
    .option("--vendor <id>", "only pools of this vendor")
    .option("--region <id>", "only pools in this region, such as zhongwei")
    .option("--model <id>", "only pools that serve this model");
}

export function selection({ vendor = "", region = "", model = "" }: Selection): {
  vendorId: string;
  regionId: string;
  modelId: string;
} {
  return { vendorId: vendor, regionId: region, modelId: model };
}

function oneCommand(name: string, summary: string): Command {
  return withOutput(withServer(new Command(name)))
    .summary(summary)
    .argument("<pool>", "id of the pool");
}

function watchCommand(): Command {
  return selected(withOutput(withServer(new Command("watch"))))
    .description("the list again whenever something changes, until Ctrl-C")
    .addOption(intervalOption())
    .action(exits(watch));
}

export function intervalOption(): Option {
  return new Option("--interval <time>", "least time between two lists")
    .argParser(durationMs)
    .default(1_000, "1s")
    .helpGroup("Output:");
}

function steerCommand(name: string, summary: string): Command {
  return oneCommand(name, summary).option("--reason <text>", "for the audit log", "");
}

function drainCommand(): Command {
  return withServer(new Command("drain"))
    .summary("cordon, let leases end, cut what is left at the deadline")
    .description(
      "Cordons the pool, waits until its leases have ended and cuts what is left at the deadline. " +
        "Blocks and shows progress. Ctrl-C leaves the drain running; `pool uncordon` cancels it. " +
        "Exits with 2 if work was cut.",
    )
    .argument("<pool>", "id of the pool")
    .addOption(
      new Option("--deadline <time>", "when to cut what is left, such as 90s or 1h")
        .argParser(durationMs)
        .default(3_600_000, "1h"),
    )
    .option("--detach", "return as soon as the drain has begun")
    .option("--reason <text>", "for the audit log", "")
    .action(exits(drain));
}

function registerCommand(): Command {
  return withOutput(withServer(new Command("register")))
    .summary("add a pool or replace its registration")
    .description(
      "Needs the vendor's credential (--token-file). The file is a PoolRegistration in YAML or JSON.",
    )
    .requiredOption("-f, --file <path>", "the registration; - reads standard input")
    .action(exits(register));
}

function publishCommand(): Command {
  return withOutput(withServer(new Command("publish-prices")))
    .summary("a new version of a vendor's price book")
    .description(
      "Needs the vendor's credential (--token-file). The file is a PriceBook in YAML or JSON.",
    )
    .requiredOption("-f, --file <path>", "the price book; - reads standard input")
    .action(exits(publishPrices));
}

async function list(options: Options & Selection): Promise<ExitCode> {
  const pools = client(PoolService, options);
  const answer = await answered(options, () => pools.list(selection(options)));
  print(options.output, {
    json: jsonOf(PoolServiceListResponseSchema, answer),
    names: answer.pools.map(idOf),
    text: (isWide) => poolList(answer.pools, isWide),
  });
  return 0;
}

async function get(poolId: string, options: Options): Promise<ExitCode> {
  const pool = await onePool(poolId, options);
  printPool(options, pool, (isWide) => poolList([pool], isWide));
  return 0;
}

async function describe(poolId: string, options: Options): Promise<ExitCode> {
  const pool = await onePool(poolId, options);
  printPool(options, pool, () => poolCard(pool));
  return 0;
}

async function watch(
  options: Options & Selection & { readonly interval: number },
): Promise<ExitCode> {
  const { vendor, region, model } = options;
  await watching(options, (pools) => ({
    json: pools.map((pool) => jsonOf(PoolSchema, pool)),
    names: pools.map(idOf),
    text: (isWide) =>
      poolList(
        pools.filter(
          ({ registration, models }) =>
            (vendor ?? registration?.vendorId) === registration?.vendorId &&
            (region ?? registration?.regionId) === registration?.regionId &&
            (model === undefined || models.some(({ modelId }) => modelId === model)),
        ),
        isWide,
      ),
  }));
  return 0;
}

async function cordon(
  poolId: string,
  options: Options & { readonly reason: string },
): Promise<ExitCode> {
  const pools = client(PoolService, options);
  const { pool } = await answered(options, () => pools.cordon({ poolId, reason: options.reason }));
  if (pool !== undefined) printPool(options, pool, () => statusLine(pool));
  return 0;
}

async function uncordon(
  poolId: string,
  options: Options & { readonly reason: string },
): Promise<ExitCode> {
  const pools = client(PoolService, options);
  const { pool } = await answered(options, () =>
    pools.uncordon({ poolId, reason: options.reason }),
  );
  if (pool !== undefined) printPool(options, pool, () => statusLine(pool));
  return 0;
}

async function register(options: Options & { readonly file: string }): Promise<ExitCode> {
  const pool = readMessage(options.file, PoolRegistrationSchema);
  const pools = client(PoolService, options);
  const { revision, generation, reportIntervalMs } = await answered(options, () =>
    pools.register({ pool }),
  );
  const facts = {
    poolId: pool.poolId,
    revision: String(revision),
    generation: String(generation),
    reportIntervalMs,
  };
  print(options.output, {
    json: facts,
    names: [pool.poolId],
    text: () =>
      `pool ${pool.poolId} registered at revision ${revision}; it is placed on once its agent reports\n`,
  });
  return 0;
}

async function publishPrices(options: Options & { readonly file: string }): Promise<ExitCode> {
  const book = readMessage(options.file, PriceBookSchema);
  const pools = client(PoolService, options);
  const { revision, priceHash } = await answered(options, () => pools.publishPrices({ book }));
  const name = `${book.bookId}@${book.version}`;
  print(options.output, {
    json: {
      bookId: book.bookId,
      version: String(book.version),
      revision: String(revision),
      priceHash,
    },
    names: [name],
    text: () =>
      textCard([
        ["published", name],
        ["revision", String(revision)],
        ["hash", priceHash],
      ]),
  });
  return 0;
}

async function onePool(poolId: string, options: Options): Promise<Pool> {
  const pools = client(PoolService, options);
  const { pool } = await answered(options, () => pools.get({ poolId }));
  if (pool === undefined) throw new Error("expected a pool in the answer, found none");
  return pool;
}

function printPool(options: Options, pool: Pool, text: (isWide: boolean) => string): void {
  print(options.output, { json: jsonOf(PoolSchema, pool), names: [idOf(pool)], text });
}

function idOf({ registration }: Pool): string {
  return registration?.poolId ?? "";
}

function statusLine(pool: Pool): string {
  return `pool ${idOf(pool)} is ${statusWord(pool.status)} (${healthWord(pool.health)})\n`;
}
