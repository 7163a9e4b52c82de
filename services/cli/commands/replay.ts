import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { serviceClasses, type ServiceClass } from "../../core/placement/request.ts";
import { fromEnvironment } from "../../io/config.ts";
import type { Report } from "../../core/report.ts";
import type { TraceOptions } from "../../sim/main.ts";
import { type OutputOptions, type ServerOptions, withOutput, withServer } from "../connect.ts";
import { durationMs } from "../duration.ts";
import { exits, type ExitCode, Failure } from "../outcome.ts";
import { print } from "../print.ts";
import { printable } from "../replay/print.ts";
import { replayReal } from "../replay/real.ts";
import { replayInVirtualTime } from "../replay/virtual.ts";
import { untilSignal } from "../signals.ts";

interface Options extends ServerOptions, OutputOptions {
  readonly trace: string;
  readonly speed: number | "max";
  readonly limit?: number;
  readonly duration?: number;
  readonly seed: number;
  readonly class: ServiceClass;
  readonly model: string;
  readonly gateway: string;
  readonly keyFile: string;
  readonly inFlightMax: number;
  readonly density: number;
  readonly at?: number;
  readonly policy?: string;
  readonly fleet?: string;
}

const defaults = {
  gateway: "http://127.0.0.1:8080",
  data: ".tokengrid",
  keyName: "dev.key",
  inFlightMax: 4_000,
  /** A workday morning, so that runs can be compared whenever they are made. House default. */
  at: "2026-11-20T10:00:00+08:00",
} as const;

/** After the last answer, and after Ctrl-C. */
const patienceMs = 60_000;
const graceMs = 10_000;

export function command(): Command {
  const command = new Command("replay")
    .description(
      "Sends a recorded workload through the gateway, with demand from the preset cities, and reports what " +
        "it took: shares, latency, money from the ledger, energy, carbon, and the statement per vendor. At " +
        "--speed max the same report comes from the simulated fleet in virtual time, and nothing is sent.",
    )
    .optionsGroup("Workload:")
    .requiredOption(
      "--trace <file>",
      "Azure CSV, Mooncake JSONL or ServeGen CSV; told by its content",
    )
    .option("--speed <x>", "so many times as fast as recorded, or max", speed, 1)
    .option("--limit <n>", "at most so many requests", wholeNumber)
    .option("--duration <time>", "only this first part of the recording", durationMs)
    .option(
      "--seed <n>",
      "for the cities, and for what a trace of rates leaves open",
      wholeNumber,
      1,
    )
    .addOption(classOption())
    .option("--model <id>", "model or alias that is asked for", "sim-chat")
    .optionsGroup("Gateway:")
    .option("--gateway <url>", "where requests go", fromEnvironment("gateway") ?? defaults.gateway)
    .option(
      "--key-file <path>",
      "file with the API key; a debug key, so that the city of a request counts",
      join(fromEnvironment("data") ?? defaults.data, defaults.keyName),
    )
    .option(
      "--in-flight-max <n>",
      "open requests at most; what is due beyond is counted as not sent",
      wholeNumber,
      defaults.inFlightMax,
    )
    .optionsGroup("Virtual time (--speed max):")
    .option("--density <x>", "arrivals so many times as dense as recorded", factor, 1)
    .option(
      "--at <time>",
      `when the first request is due: prices depend on the hour (default: ${defaults.at})`,
      instant,
    )
    .option("--policy <file>", "another policy than the shipped one")
    .option("--fleet <file>", "another fleet than the preset");
  return withOutput(withServer(command)).action(exits(replay));
}

function classOption(): Option {
  return new Option("--class <class>", "kind of service that all requests want")
    .choices(serviceClasses)
    .default("llm-interactive");
}

function speed(text: string): number | "max" {
  return text === "max" ? "max" : factor(text);
}

function factor(text: string): number {
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : 0;
  if (value > 0 && value <= 100_000) return value;
  throw new InvalidArgumentError(`expected a number above 0, at most 100000, found ${text}`);
}

function instant(text: string): number {
  const isWhole = /^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?(Z|[+-]\d\d:\d\d)$/.test(text);
  const at = isWhole ? Date.parse(text) : Number.NaN;
  if (!Number.isNaN(at)) return at;
  throw new InvalidArgumentError(
    `expected a time such as ${defaults.at}, found ${JSON.stringify(text)}`,
  );
}

function wholeNumber(text: string): number {
  const value = /^\d+$/.test(text) ? Number(text) : 0;
  if (value >= 1 && value <= Number.MAX_SAFE_INTEGER) return value;
  throw new InvalidArgumentError(
    `expected a whole number from 1 on, found ${JSON.stringify(text)}`,
  );
}

async function replay(options: Options): Promise<ExitCode> {
  const trace: TraceOptions = {
    path: options.trace,
    seed: options.seed,
    class: options.class,
    limit: options.limit ?? Infinity,
    durationMs: options.duration ?? Infinity,
  };
  if (options.speed === "max") return show(options, await virtual(options, trace));
  const { report, missing } = await replayReal({
    trace,
    speed: options.speed,
    inFlightMax: options.inFlightMax,
    target: {
      gatewayUrl: gatewayUrl(options),
      key: readKey(options.keyFile),
      model: options.model,
    },
    server: options,
    patienceMs,
    graceMs,
    stop: interrupted(),
  });
  show(options, report);
  if (missing.length === 0) return 0;
  const some = missing.slice(0, 5).join(", ");
  process.stderr.write(
    `${missing.length} requests were answered in full and are not in the ledger ${patienceMs / 1_000} s ` +
      `later, the first of them: ${some}\n`,
  );
  return 2;
}

function virtual(options: Options, trace: TraceOptions): Promise<Report> {
  const { model, density, inFlightMax, fleet: fleetPath, policy: policyPath } = options;
  return replayInVirtualTime({
    trace,
    model,
    density,
    inFlightMax,
    startAt: options.at ?? instant(defaults.at),
    fleetPath,
    policyPath,
  });
}

function show({ output }: Options, report: Report): 0 {
  print(output, printable(report));
  return 0;
}

/** The first Ctrl-C ends the sending, and the report is still made; the second ends the program. */
function interrupted(): AbortSignal {
  const stop = untilSignal();
  stop.addEventListener("abort", () => {
    process.stderr.write("\nending early; the report follows (Ctrl-C again leaves without it)\n");
  });
  return stop;
}

function gatewayUrl({ gateway }: Options): string {
  const url = URL.canParse(gateway) ? new URL(gateway) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url.origin;
  throw new Failure(
    `--gateway: expected a URL such as ${defaults.gateway}, found ${JSON.stringify(gateway)}`,
  );
}

function readKey(path: string): string {
  const key = readFileSync(path, "utf8").trim();
  if (key === "") throw new Failure(`${path}: expected an API key, found an empty file`);
  return key;
}
