import type { ConnectRouter } from "@connectrpc/connect";
import { noteKey } from "../../core/settlement/proof/note.ts";
import type { Registry as Metrics } from "../../io/metrics.ts";
import { openSignedHeads } from "../../io/signed-heads.ts";
import { sha256 } from "../../io/signing.ts";
import { serveWitness } from "../../io/witness-http.ts";
import { openWitnessState } from "../../io/witness-state.ts";
import { Witness } from "../../io/witness.ts";
import { LogKeys } from "./log-keys.ts";
import { serveLogs } from "./log-rpc.ts";
import type { SettlementParts } from "../parts.ts";
import { SealerMetrics } from "./sealer-metrics.ts";
import { Sealer, type HttpWitness } from "./sealer.ts";
import type { Secrets } from "../secrets.ts";

/** Where the operator witnesses logs that come by themselves. */
export interface WitnessListen {
  readonly host: string;
  /** 0 takes any that is free. */
  readonly port: number;
  /** What the path begins with. */
  readonly prefix: string;
}

/** The operator's logs: who signs them, who is shown them, and what the operator signs of others. */
export interface OpenLogs {
  readonly sealer: Sealer;
  /** Where others' logs are witnessed over HTTP. Undefined: nowhere. */
  readonly witnessPort: number | undefined;
  routes(router: ConnectRouter): void;
  /** Resolves when nothing is signed any more. To be called before the ledger is closed. */
  close(): Promise<void>;
}

/** Compares every log with what was signed of it, before anything is added, and signs from then on. */
export async function openLogs(
  parts: Pick<SettlementParts, "store" | "writer" | "log" | "nowUs">,
  options: {
    readonly domain: string;
    readonly secrets: Secrets;
    readonly metrics: Metrics;
    readonly witnesses: readonly HttpWitness[];
    readonly witnessListen: WitnessListen | undefined;
    readonly signal: AbortSignal;
  },
): Promise<OpenLogs> {
  const { store, writer, log, nowUs } = parts;
  const { domain, secrets, witnesses: httpWitnesses, witnessListen, signal } = options;
  const { publicKey, sign } = secrets.keys.current;
  const logKeys = new LogKeys();
  await logKeys.load(store);
  const heads = await openSignedHeads(secrets.signedPath);
  const sealer = new Sealer({
    ...{ store, writer, domain, logKeys, heads, httpWitnesses, log, nowUs },
    keys: secrets.keys,
    metrics: new SealerMetrics(options.metrics),
  });
  await sealer.openAll();
  if (sealer.rolledBack.length > 0) {
    // Whatever came now would stand where the log has something else. Gateways keep what is not confirmed.
    const logs = sealer.rolledBack.join(", ");
    writer.halt(`${logs}: not what was signed; see tokengrid ledger rebuild`);
    log.error(
      { logs, signed: secrets.signedPath },
      "an old ledger was put back: nothing is written",
    );
  } else {
    writer.onCommitted(({ leaves }) => sealer.noteLeaves(leaves.length));
    sealer.start();
  }
  const witnessed = openWitnessState(secrets.witnessPath);
  const witness = new Witness({
    key: noteKey({ name: `${domain}/witness`, type: "cosignature", publicKey }, sha256),
    sign,
    heads: witnessed,
    keysOf: (origin) => logKeys.ownLog(origin)?.keys,
    nowSeconds: () => nowUs() / 1_000_000n,
  });
  const witnessPort =
    witnessListen && (await serveWitness({ ...witnessListen, witness, log, signal }));
  if (witnessPort !== undefined) log.info({ port: witnessPort }, "the witness listens");
  return {
    sealer,
    witnessPort,
    routes: (router) =>
      serveLogs(router, { store, writer, sealer, logKeys, witness, publicKey, domain, nowUs }),
    close: async () => {
      await sealer.close();
      await heads.close();
      witnessed.close();
    },
  };
}
