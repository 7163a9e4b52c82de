import { noteKey, type NoteKey } from "../../services/core/settlement/proof/note.ts";
import type { InstantUs, PairId } from "../../services/core/units.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import type { LedgerStore } from "../../services/io/ledger-store.ts";
import { openLog } from "../../services/io/log.ts";
import { Registry } from "../../services/io/metrics.ts";
import { newSigningKey, sha256, type SigningKey } from "../../services/io/signing.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { LogKeys } from "../../services/settlement/logs/log-keys.ts";
import { SealerMetrics } from "../../services/settlement/logs/sealer-metrics.ts";
import { Sealer, type SealerOptions } from "../../services/settlement/logs/sealer.ts";
import type { NewLeaf, Writer } from "../../services/settlement/ingest/writer.ts";

export const domain = "grid.example";
export const north = "vendor:northgrid" as PairId;
export const south = "vendor:southgrid" as PairId;
export const origin = "grid.example/tokengrid/vendor/northgrid";
export const log = openLog({ role: "test", level: "silent" });
export const startUs = 1_750_000_000_000_000n;

/** One process over a ledger: opened again it is the next one. */
export interface Process {
  readonly store: LedgerStore;
  readonly writer: LedgerWriter;
  readonly logKeys: LogKeys;
  readonly sealer: Sealer;
  readonly metrics: Registry;
  /** Changes what `nowUs` says. */
  pass(us: bigint): void;
  nowUs(): InstantUs;
  post(leaves: readonly NewLeaf[]): Promise<void>;
}

export async function openProcess(
  path: string,
  signing: SigningKey,
  changes: Partial<SealerOptions> = {},
  /** What stands between the sealer and the ledger. */
  between: (writer: Writer) => Writer = (writer) => writer,
): Promise<Process> {
  const store = await openSqliteLedger(path);
  const writer = new LedgerWriter({ store, log });
  const logKeys = new LogKeys();
  await logKeys.load(store);
  const metrics = new Registry();
  let now = startUs;
  const nowUs = (): InstantUs => now;
  const sealer = new Sealer({
    store,
    writer: between(writer),
    domain,
    keys: { current: signing },
    logKeys,
    metrics: new SealerMetrics(metrics),
    log,
    nowUs,
    ...changes,
  });
  return {
    store,
    writer,
    logKeys,
    sealer,
    metrics,
    nowUs,
    pass: (us) => {
      now += us;
    },
    post: (leaves) => writer.write(async () => ({ change: { leaves }, result: undefined })),
  };
}

export function usage(pair: PairId | "internal", from: number, count = 1): NewLeaf[] {
  return Array.from({ length: count }, (_each, at) => ({
    log: pair,
    kind: "usage",
    ref: `a${from + at}:0`,
    text: `{"record_id":"a${from + at}:0"}`,
  }));
}

export function witnessKey(name: string, signing: SigningKey = newSigningKey()) {
  const key: NoteKey = noteKey({ name, type: "cosignature", publicKey: signing.publicKey }, sha256);
  return { key, signing };
}
