import { join } from "node:path";
import { canonicalJson } from "../../core/settlement/canonical.ts";
import type { InstantUs } from "../../core/units.ts";
import type { LeafCopy } from "../../io/leaf-copy.ts";
import { openLedger } from "../../io/ledger-open.ts";
import type { Log } from "../../io/log.ts";
import { openSignedHeads, type SignedHeads } from "../../io/signed-heads.ts";
import { readSigningKey } from "../../io/signing.ts";
import { openWitnessState } from "../../io/witness-state.ts";
import { LedgerWriter } from "../ingest/ledger-writer.ts";
import type { LostLeaf } from "./lost-leaves.ts";
import { LogReader, type LogId } from "./log-reader.ts";
import { rebuildLog, RebuildError, stillLost, type LogComparison } from "./rebuild.ts";
import { secretFiles } from "../secrets.ts";

export interface Rebuilt {
  /** As they were before. */
  readonly logs: readonly LogComparison[];
  readonly lost: readonly LostLeaf[];
}

/** Makes logs again from copies, while settlement does not run. */
export async function rebuildLedger(options: {
  readonly ledger: string;
  readonly secretsPath: string;
  readonly copies: readonly LeafCopy[];
  /** Logs of which there is no better copy: what is there is from now on what was signed. */
  readonly giveUp: readonly string[];
  readonly log: Log;
  readonly nowUs: InstantUs;
}): Promise<Rebuilt> {
  const { secretsPath, copies, giveUp, log, nowUs: atUs } = options;
  const key = await readSigningKey(join(secretsPath, secretFiles.key));
  if (key === undefined) {
    throw new RebuildError(`${secretsPath}: expected ${secretFiles.key}, found none`);
  }
  // Settlement holds it as long as it runs.
  const guard = openWitnessState(join(secretsPath, secretFiles.witnessed));
  const heads = await openSignedHeads(join(secretsPath, secretFiles.signed));
  const store = await openLedger(options.ledger);
  try {
    const writer = new LedgerWriter({ store, log });
    const logs: LogComparison[] = [];
    for (const copy of copies) {
      const trusted = { head: heads.head(copy.head.logId), publicKeys: [key.publicKey] };
      logs.push(await rebuildLog({ store, writer, atUs }, copy, trusted));
    }
    for (const each of giveUp) await giveUpLog({ writer, heads, atUs }, each as LogId);
    return { logs, lost: await stillLost(store) };
  } finally {
    await store.close();
    await heads.close();
    guard.close();
  }
}

/** The ledger says so too, for ever. */
async function giveUpLog(
  {
    writer,
    heads,
    atUs,
  }: { readonly writer: LedgerWriter; readonly heads: SignedHeads; readonly atUs: InstantUs },
  log: LogId,
): Promise<void> {
  const signed = heads.head(log);
  if (signed === undefined)
    throw new RebuildError(`${log}: nothing was signed, found nothing to give up`);
  const size = (await writer.store.logs()).get(log) ?? 0n;
  const root = await new LogReader(writer.store).root(log, size);
  const body = canonicalJson({
    ...{ type: "lost_tail", v: 1n, log, size, root },
    ...{ signed_size: signed.size, signed_root: signed.root },
  });
  const id = `${log}#${signed.size}`;
  const documents = [{ kind: "lost-tail", id, pair: log, atUs, body }];
  await writer.write(async () => ({ change: { documents }, result: undefined }));
  await heads.giveUp({ log, size, root });
}
