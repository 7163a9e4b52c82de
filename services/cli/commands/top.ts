import { Command } from "commander";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { poolTop } from "../pool-text.ts";
import { jsonOf, print, type Printable } from "../print.ts";
import { watching } from "../watch.ts";
import { type Pool, PoolSchema, PoolService } from "../../wire/gen/tokengrid/v1/pool_pb.js";
import { intervalOption } from "./pool.ts";

type Options = ServerOptions &
  OutputOptions & { readonly watch?: boolean; readonly interval: number };

export function command(): Command {
  const pools = withOutput(withServer(new Command("pools")))
    .description("Load, latency and power of every pool, the busiest first.")
    .option("-w, --watch", "again and again, until Ctrl-C")
    .addOption(intervalOption())
    .action(exits(top));
  return new Command("top").description("What is going on now.").addCommand(pools);
}

async function top(options: Options): Promise<ExitCode> {
  if (options.watch === true) {
    await watching(options, printable);
    return 0;
  }
  const { pools } = await answered(options, () => client(PoolService, options).list({}));
  print(options.output, printable(pools));
  return 0;
}

function printable(pools: readonly Pool[]): Printable {
  return {
    json: pools.map((pool) => jsonOf(PoolSchema, pool)),
    names: pools.map(({ registration }) => registration?.poolId ?? ""),
    text: (isWide) => poolTop(pools, isWide),
  };
}
