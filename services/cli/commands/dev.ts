import { Command, Option } from "commander";
import { fromEnvironment } from "../../io/config.ts";
import { isLoopback } from "../../io/rpc-server.ts";
import { presetFleetPath } from "../../sim/main.ts";
import { banner } from "../dev/banner.ts";
import { type Dev, openDev } from "../dev/compose.ts";
import { portOption, type PortName, type Ports } from "../dev/ports.ts";
import { exits, type ExitCode, Failure } from "../outcome.ts";
import { untilSignal } from "../signals.ts";
import { version } from "../version.ts";

type PortFlags = Readonly<Record<`${PortName}Port`, number>>;

interface Options extends PortFlags {
  readonly data: string;
  readonly host: string;
  readonly iKnow?: boolean;
  readonly sim: boolean;
  readonly fleet?: string;
  readonly logLevel: "debug" | "info" | "warn" | "error" | "silent";
}

/** What may still run when we are told to stop gets so long to end. */
const stopGraceMs = 20_000;

export function command(): Command {
  return new Command("dev")
    .description(
      "Control, gateway, settlement, console, metrics and simulated pools with their agents, in one process on " +
        "embedded stores. Needs no configuration. The first start makes keys, prices and a policy in the data " +
        "folder, later ones use them. Ctrl-C lets streams end and closes the books; twice ends it at once.",
    )
    .option(
      "--data <folder>",
      "where everything is kept (env TOKENGRID_DATA)",
      fromEnvironment("data") ?? ".tokengrid",
    )
    .option("--no-sim", "without simulated pools: register your own")
    .option("--fleet <file>", "simulate these vendors, pools and prices instead of the preset")
    .optionsGroup("Addresses:")
    .option(
      "--host <address>",
      "address to listen on (env TOKENGRID_HOST)",
      fromEnvironment("host") ?? "127.0.0.1",
    )
    .option("--i-know", "listen on an address that others reach, though nothing here is encrypted")
    .addOption(portOption("gateway"))
    .addOption(portOption("rpc"))
    .addOption(portOption("console"))
    .addOption(portOption("metrics"))
    .addOption(portOption("sim"))
    .optionsGroup("Output:")
    .addOption(
      new Option("--log-level <level>", "log lines on standard error from this level on")
        .choices(["debug", "info", "warn", "error", "silent"])
        .default("warn"),
    )
    .action(exits(run));
}

async function run(options: Options): Promise<ExitCode> {
  refuseStrangers(options);
  const stop = untilSignal();
  const dev = await openDev({
    dataPath: options.data,
    host: options.host,
    ports: portsOf(options),
    fleetPath: options.sim ? (options.fleet ?? presetFleetPath) : undefined,
    logLevel: options.logLevel,
  });
  try {
    await Promise.race([announce(dev, options), dev.died, aborted(stop)]);
    await Promise.race([aborted(stop), dev.died]);
  } finally {
    await closed(dev);
  }
  return 0;
}

function refuseStrangers({ host, iKnow }: Options): void {
  if (isLoopback(host) || iKnow === true) return;
  throw new Failure(
    `--host: expected an address that only this machine reaches, found ${host}; nothing here is encrypted and the ` +
      "keys are for development: add --i-know if that is what you want",
  );
}

function portsOf(options: Options): Ports {
  return {
    gateway: options.gatewayPort,
    rpc: options.rpcPort,
    console: options.consolePort,
    metrics: options.metricsPort,
    sim: options.simPort,
  };
}

async function announce(dev: Dev, { host, sim }: Options): Promise<void> {
  const reporting = await dev.poolsReporting();
  process.stdout.write(
    banner({
      version: version(),
      host,
      ports: dev.ports,
      dataPath: dev.folder.path,
      cwd: process.cwd(),
      isFirstStart: dev.isFirstStart,
      startedInMs: performance.now(),
      pools: sim ? { reporting, all: dev.pools.length } : undefined,
      somePool: drainable(dev.pools),
    }),
  );
}

/** The one that the documents name, or else any. */
function drainable(pools: readonly string[]): string | undefined {
  return pools.find((pool) => pool === "west-ningxia-1") ?? pools[0];
}

async function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  await new Promise<void>((resolve) => {
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

async function closed(dev: Dev): Promise<void> {
  const timer = setTimeout(() => {
    process.stderr.write(
      `tokengrid: expected all parts to end within ${stopGraceMs / 1_000} s, found the ${dev.closing() ?? "process"} still busy; leaving
`,
    );
    process.exit(1);
  }, stopGraceMs);
  await dev.close();
  clearTimeout(timer);
}
