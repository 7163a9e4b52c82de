import { execFileSync, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("../fixtures/llama-server", import.meta.url));
const writer = fileURLToPath(new URL("../fixtures/tiny-gguf.mjs", import.meta.url));

/** Exit code of the probe when no server can be had on this machine. */
const NONE_TO_BE_HAD = 69;

/** Undefined when a real server can be run here, else why not. The first call may fetch one. */
export function whyNoLlama(): string | undefined {
  const probe = spawnSync(script, ["--version"], { encoding: "utf8" });
  return probe.status === NONE_TO_BE_HAD ? probe.stderr.trim() : undefined;
}

export interface LlamaEngine {
  readonly baseUrl: string;
  readonly slots: number;
  close(): Promise<void>;
}

/** A real llama-server with a tiny random model, ready to serve. */
export async function openLlama(folder: string): Promise<LlamaEngine> {
  const model = join(folder, "tiny.gguf");
  execFileSync(process.execPath, [writer, model]);
  const [port, slots] = [await freePort(), 4];
  const options = `--host 127.0.0.1 --port ${port} -t 1 -tb 1 -np ${slots} -c 8192 --metrics --slots --alias tiny`;
  const server = spawn(script, ["-m", model, ...options.split(" ")], { stdio: "ignore" });
  const exited = once(server, "exit");
  const baseUrl = `http://127.0.0.1:${port}`;
  await ready(baseUrl);
  return {
    baseUrl,
    slots,
    close: async () => {
      server.kill("SIGKILL");
      await exited;
    },
  };
}

/** Refused at first, then 503 while the model loads, then 200. */
async function ready(baseUrl: string): Promise<void> {
  for (;;) {
    const status = await fetch(`${baseUrl}/health`).then(
      (response) => response.status,
      () => 0,
    );
    if (status === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" && address !== null ? address.port : 0;
}
