import { Command } from "commander";
import { fromEnvironment } from "../../io/config.ts";
import { type OutputOptions, withOutput } from "../connect.ts";
import { portOption, type PortName } from "../dev/ports.ts";
import { examine, type Finding } from "../doctor.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { print, textTable } from "../print.ts";

type Options = OutputOptions &
  Readonly<Record<`${Exclude<PortName, "sim">}Port`, number>> & {
    readonly data: string;
    readonly host: string;
  };

export function command(): Command {
  return withOutput(new Command("doctor"))
    .description(
      "Looks at Node, the ports, the data folder, the registry and the ledger, and changes nothing. " +
        "Exits with 2 if something has to be put right.",
    )
    .option(
      "--data <folder>",
      "data folder (env TOKENGRID_DATA)",
      fromEnvironment("data") ?? ".tokengrid",
    )
    .option("--host <address>", "address whose ports are tried", "127.0.0.1")
    .addOption(portOption("gateway"))
    .addOption(portOption("rpc"))
    .addOption(portOption("console"))
    .addOption(portOption("metrics"))
    .action(exits(look));
}

async function look(options: Options): Promise<ExitCode> {
  const findings = await examine({
    dataPath: options.data,
    host: options.host,
    ports: {
      gateway: options.gatewayPort,
      rpc: options.rpcPort,
      console: options.consolePort,
      metrics: options.metricsPort,
      sim: 0,
    },
    nodeVersion: process.versions.node,
  });
  print(options.output, {
    json: findings,
    names: findings.filter(isBad).map(({ check }) => check),
    text: () =>
      textTable(
        columns,
        findings.map(({ check, verdict, detail }) => [verdict, check, detail]),
      ),
  });
  return findings.some(isBad) ? 2 : 0;
}

const columns = [{ name: "" }, { name: "CHECK" }, { name: "FOUND" }];

function isBad({ verdict }: Finding): boolean {
  return verdict === "bad";
}
