import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createClient, type Transport } from "@connectrpc/connect";
import { CountQueue, openClaims, openLogWitness } from "../../agent/main.ts";
import type { OwnCount } from "../../core/settlement/claims/own-count.ts";
import type { VendorId } from "../../core/units.ts";
import type { Log } from "../../io/log.ts";
import { rpcTransport } from "../../io/rpc-client.ts";
import { LogService } from "../../wire/gen/tokengrid/v1/log_pb.js";
import { keyFileOf, kidOf, witnessKeyFile, witnessName } from "./party-keys.ts";

/** People look a moment after they have sent a request. */
const claimIntervalMs = 2_000;
const witnessIntervalMs = 10_000;
const folderMode = 0o700;

/** What a simulated vendor does besides serving: it claims what it counted, and witnesses its log at the operator. */
export class VendorSide {
  readonly #queue: CountQueue;
  readonly #options: VendorOptions;
  readonly #stop = new AbortController();
  #running: Promise<readonly { readonly closed: Promise<void> }[]> = Promise.resolve([]);

  constructor(options: VendorOptions) {
    this.#options = options;
    this.#queue = new CountQueue(options.log.child({ vendor: options.vendor }));
  }

  count(count: OwnCount): void {
    this.#queue.push(count);
  }

  /** To be called once, when the operator knows the vendor's keys. */
  async start(): Promise<void> {
    const running = this.#open();
    this.#running = running.catch(() => []);
    await running;
  }

  async #open() {
    const { vendor, rpcUrl, credential, keys, folder, log } = this.#options;
    const { signal } = this.#stop;
    mkdirSync(folder, { recursive: true, mode: folderMode });
    const transport = rpcTransport({ url: rpcUrl, credential });
    const pair = `vendor:${vendor}`;
    const shared = { transport, log, signal };
    const claims = await openClaims({
      ...shared,
      vendor,
      source: this.#queue,
      outboxFile: join(folder, "claims.sqlite"),
      keyFile: keyFileOf(keys, pair),
      kid: kidOf(pair),
      intervalMs: claimIntervalMs,
    });
    const witness = await openLogWitness({
      ...shared,
      name: witnessName(vendor),
      keyFile: witnessKeyFile(keys, vendor),
      stateFile: join(folder, "witness.sqlite"),
      logId: pair,
      logKeys: [await logKeyOf(transport, pair, join(folder, "operator-log.key"))],
      intervalMs: witnessIntervalMs,
      everyLeaf: false,
    });
    return [claims, witness];
  }

  /** Claims what is left. */
  async close(): Promise<void> {
    this.#stop.abort();
    await Promise.all((await this.#running).map(async ({ closed }) => closed));
  }
}

export interface VendorOptions {
  readonly vendor: VendorId;
  readonly rpcUrl: string;
  readonly credential: string;
  /** Folder of the keys of the simulated parties. */
  readonly keys: string;
  /** Of this vendor alone. */
  readonly folder: string;
  readonly log: Log;
}

/** Asked for once and kept: a log with another key later is another log. Real vendors are given it by people. */
async function logKeyOf(transport: Transport, logId: string, path: string): Promise<string> {
  if (existsSync(path)) return readFileSync(path, "utf8").trim();
  const { logKey } = await createClient(LogService, transport).listKeys({ logId });
  writeFileSync(path, `${logKey}\n`, { mode: 0o600 });
  return logKey;
}
