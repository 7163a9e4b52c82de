import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { promisify } from "node:util";

const entry = "services/cli/main.ts";

export interface DevProcess {
  readonly child: ChildProcess;
  readonly banner: string;
  /** By the name in the banner: gateway, RPC, console, metrics. */
  readonly urls: Readonly<Record<string, string>>;
  stop(): Promise<number | null>;
}

/** A real `tokengrid dev` on free ports; resolves when it has printed its banner. */
export async function startDev(data: string, ...flags: string[]): Promise<DevProcess> {
  const ports = ["gateway", "rpc", "console", "metrics"].flatMap((name) => [`--${name}-port`, "0"]);
  const child = spawn(process.execPath, [entry, "dev", "--data", data, ...ports, ...flags]);
  let [out, complaints] = ["", ""];
  child.stderr.on("data", (chunk: Buffer) => (complaints += chunk.toString()));
  const printed = new Promise<void>((resolve) => {
    child.stdout.on("data", (chunk: Buffer) => {
      out += chunk.toString();
      if (out.includes("Ctrl-C stops it.")) resolve();
    });
  });
  const ended = once(child, "exit").then(([code]) => {
    throw new Error(`expected a banner, found exit ${code}: ${complaints}`);
  });
  await Promise.race([printed, ended]);
  ended.catch(() => undefined);
  const urls = Object.fromEntries(
    [...out.matchAll(/^ {2}(gateway|RPC|console|metrics) +(http:\S+)/gm)].map(([, name, url]) => [
      name ?? "",
      url ?? "",
    ]),
  );
  return {
    child,
    banner: out,
    urls,
    stop: async () => {
      child.kill("SIGTERM");
      const [code] = child.exitCode === null ? await once(child, "exit") : [child.exitCode];
      return code;
    },
  };
}

export interface Ended {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

const run = promisify(execFile);

/** One command of the CLI, to its end. */
export async function tokengrid(...words: string[]): Promise<Ended> {
  return run(process.execPath, [entry, ...words]).then(
    ({ stdout, stderr }) => ({ code: 0, stdout, stderr }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  );
}
