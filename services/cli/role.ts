import { type Command } from "commander";
import type { z } from "zod";
import { readConfig } from "../io/config.ts";
import { exits, type ExitCode } from "./outcome.ts";
import { untilSignal } from "./signals.ts";

/** What the main file of a role exports. */
export interface Role<Config> {
  readonly configSchema: z.ZodType<Config>;
  /** Runs until the signal says stop. */
  start(config: Config, signal: AbortSignal): Promise<void>;
}

interface Options {
  readonly config: string;
  readonly checkConfig?: boolean;
}

/** Gives a command the options of a role and makes it run that role. */
export function running<Config>(command: Command, load: () => Promise<Role<Config>>): Command {
  return command
    .requiredOption("-c, --config <file>", "settings of the role, YAML or JSON; see deploy/config")
    .option("--check-config", "read the file, say whether it can be used, and stop")
    .action(exits(async (options: Options) => run(options, await load())));
}

async function run<Config>(
  { config, checkConfig }: Options,
  role: Role<Config>,
): Promise<ExitCode> {
  const settings = readConfig(config, role.configSchema);
  if (checkConfig === true) {
    process.stdout.write(`${config}: valid\n`);
    return 0;
  }
  await role.start(settings, untilSignal());
  return 0;
}
