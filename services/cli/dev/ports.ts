import { InvalidArgumentError, Option } from "commander";
import { fromEnvironment } from "../../io/config.ts";
import { Failure } from "../outcome.ts";

export type PortName = "gateway" | "rpc" | "console" | "metrics" | "sim";

export type Ports = Readonly<Record<PortName, number>>;

interface PortSetting {
  readonly number: number;
  readonly what: string;
}

/** What listens where unless told otherwise. 0 takes any free port. */
export const portSettings: Readonly<Record<PortName, PortSetting>> = {
  gateway: { number: 8080, what: "the OpenAI surface" },
  rpc: { number: 7233, what: "gRPC, gRPC-Web and Connect JSON" },
  console: { number: 8233, what: "the console" },
  metrics: { number: 9464, what: "/metrics for Prometheus" },
  sim: { number: 0, what: "the simulated engines" },
};

/** `--gateway-port`, with TOKENGRID_GATEWAY_PORT behind it. */
export function portOption(name: PortName): Option {
  const { number, what } = portSettings[name];
  const flag = `${name}-port`;
  const text = fromEnvironment(flag);
  return new Option(`--${flag} <port>`, `port of ${what} (env ${environmentName(name)})`)
    .argParser(parsePort)
    .default(text === undefined ? number : fromEnv(name, text));
}

export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : NaN;
  if (port <= 65_535) return port;
  throw new InvalidArgumentError(`expected a port from 0 to 65535, found ${JSON.stringify(text)}`);
}

function fromEnv(name: PortName, text: string): number {
  try {
    return parsePort(text);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new Failure(`${environmentName(name)}: ${why}`, { cause });
  }
}

function environmentName(name: PortName): string {
  return `TOKENGRID_${name.toUpperCase()}_PORT`;
}

/** Opens what listens on a port; a port that is taken is named with the flag that chooses another. */
export async function listening<Opened>(
  name: PortName,
  port: number,
  open: () => Promise<Opened>,
): Promise<Opened> {
  try {
    return await open();
  } catch (cause) {
    const reason = listenFault(cause);
    if (reason === undefined) throw cause;
    throw new Failure(
      `port ${port} of ${portSettings[name].what} ${reason}: choose another with --${name}-port or ${environmentName(name)}`,
      { cause },
    );
  }
}

export function listenFault(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  if (code === "EADDRINUSE") return "is in use";
  if (code === "EACCES") return "may not be used by this user";
  return undefined;
}
