import type { Checkpoint } from "../../core/settlement/proof/checkpoint.ts";
import { hashText } from "../../core/settlement/proof/checkpoint.ts";
import type { NoteKey } from "../../core/settlement/proof/note.ts";
import type { InstantUs } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import type { Log } from "../../io/log.ts";
import type { SignedHeads } from "../../io/signed-heads.ts";
import { chainId, endOfChain } from "./document-chain.ts";
import {
  checkpointBody,
  checkpointKind,
  cosignatureBody,
  cosignatureKind,
  cosignaturesOf,
} from "./log-documents.ts";
import type { LogKeys, TrustedKey } from "./log-keys.ts";
import { LogReader, tree, type LogId } from "./log-reader.ts";
import { openSealedLog, type OperatorKeys } from "./open-sealed-log.ts";
import type { SealedLog, Shown } from "./sealed-log.ts";
import type { SealerMetrics } from "./sealer-metrics.ts";
import { askWitness, type WitnessAnswer } from "./witness-client.ts";
import type { Change, Writer } from "../ingest/writer.ts";

/** A witness that is asked over HTTP; whoever follows by RPC comes by itself. */
export interface HttpWitness {
  readonly url: string;
  readonly key: NoteKey;
  /** Logs that it witnesses; undefined: all of them. */
  readonly logs?: ReadonlySet<LogId> | undefined;
}

export interface SealerOptions {
  readonly store: LedgerStore;
  readonly writer: Writer;
  /** Of the operator: logs are named after it. */
  readonly domain: string;
  readonly keys: OperatorKeys;
  readonly logKeys: LogKeys;
  /** What was signed, apart from the ledger. Undefined: the ledger's word is all there is. */
  readonly heads?: SignedHeads | undefined;
  readonly httpWitnesses?: readonly HttpWitness[];
  readonly metrics: SealerMetrics;
  readonly log: Log;
  readonly nowUs: () => InstantUs;
}

/** How often checkpoints are made, and after how many leaves at the latest. */
const sealEveryMs = 1_000;
const sealEveryLeaves = 1_000;

/**
 * Signs the logs: what is on disk, in growing sizes, one root for each. It signs nothing for a log of which a witness
 * has seen more, or another root, or it has itself signed more: such a log was rolled back, and whoever signs it again
 * says two things.
 */
export class Sealer {
  readonly #options: SealerOptions;
  readonly #reader: LogReader;
  readonly #logs = new Map<LogId, SealedLog>();
  readonly #opening = new Map<LogId, Promise<SealedLog>>();
  #running: Promise<void> | undefined;
  #asking: Promise<void> = Promise.resolve();
  #leavesSince = 0;
  readonly #stop = new AbortController();

  constructor(options: SealerOptions) {
    this.#options = options;
    this.#reader = new LogReader(options.store);
  }

  /** Looks at every log, so that one that was rolled back is known before anybody asks for anything. */
  async openAll(): Promise<void> {
    const sizes = await this.#options.store.logs();
    const signed = (this.#options.heads?.logs() ?? []) as readonly LogId[];
    for (const log of new Set([...sizes.keys(), ...signed])) {
      if (!this.#logs.has(log)) await this.#open(log, sizes.get(log) ?? 0n);
    }
    this.#measure();
  }

  /** Seals from now on until `close`. */
  start(): void {
    const timer = setInterval(() => this.#soon(), sealEveryMs);
    this.#stop.signal.addEventListener("abort", () => clearInterval(timer), { once: true });
  }

  /** Leaves that were committed: many of them do not wait for the second to end. */
  noteLeaves(count: number): void {
    this.#leavesSince += count;
    if (this.#leavesSince >= sealEveryLeaves) this.#soon();
  }

  /** Resolves when nothing is on its way any more. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
    await this.#asking;
  }

  /** The logs that are looked after, by id. */
  get logs(): ReadonlyMap<LogId, SealedLog> {
    return this.#logs;
  }

  /** Logs for which nothing is signed, and why. Empty: all is well. */
  get refusals(): ReadonlyMap<LogId, string> {
    const refused = [...this.#logs].flatMap(([log, { refusal }]) =>
      refusal === undefined ? [] : [[log, refusal] as const],
    );
    return new Map(refused);
  }

  /** Logs that were other than what was signed when they were first looked at. */
  get rolledBack(): readonly LogId[] {
    return [...this.#logs].flatMap(([log, { isRolledBack }]) => (isRolledBack ? [log] : []));
  }

  /** Since when leaves of a log wait for a witness. Undefined: none waits, or the log has no witness. */
  unwitnessedSinceUs(log: LogId): InstantUs | undefined {
    const sealed = this.#logs.get(log);
    if (sealed?.refusal !== undefined) return 0n;
    return this.#witnesses(log).length === 0 ? undefined : sealed?.unwitnessedSinceUs;
  }

  /** Signs what has come, in one transaction for all logs, and asks for witnesses without waiting for them. */
  async round(): Promise<void> {
    if (this.#running !== undefined) return this.#running;
    this.#running = this.#round().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  /** Resolves when the witnesses that were asked have answered. */
  async asked(): Promise<void> {
    await this.#asking;
  }

  /** What a witness shows of a log. Undefined: it was taken in; else what is wrong with it. */
  async hear(log: LogId, text: string): Promise<string | undefined> {
    const sealed = this.#logs.get(log) ?? (await this.#open(log));
    const shown = sealed.read(
      text,
      this.#witnesses(log).map(({ key }) => key),
    );
    if (typeof shown === "string") return shown;
    await this.#compare(sealed, shown);
    if (sealed.refusal !== undefined) return undefined;
    await this.#keep(sealed, shown);
    this.#measure();
    return undefined;
  }

  #soon(): void {
    this.round().catch((error: unknown) => {
      this.#options.log.error({ error }, "checkpoints were not signed");
    });
  }

  async #round(): Promise<void> {
    const { store, writer, nowUs } = this.#options;
    this.#leavesSince = 0;
    const sizes = await store.logs();
    for (const log of sizes.keys()) {
      if (!this.#logs.has(log)) await this.#open(log, sizes.get(log));
    }
    const due: { sealed: SealedLog; checkpoint: Checkpoint }[] = [];
    for (const [log, size] of sizes) {
      const sealed = this.#logs.get(log);
      if (sealed === undefined || !isDue(sealed, size)) continue;
      due.push({ sealed, checkpoint: await sealed.advance(store, size) });
    }
    const atUs = nowUs();
    if (due.length > 0) {
      await this.#options.heads?.keep(
        due.map(({ sealed: { log }, checkpoint: { size, root } }) => ({ log, size, root })),
      );
      const documents = due.map((each) => checkpointDocument(each, atUs));
      await writer.write(async () => ({ change: { documents }, result: undefined }));
    }
    // Only now: what is signed is on disk.
    for (const { sealed, checkpoint } of due) {
      sealed.checkpoints += 1;
      sealed.sign(checkpoint, atUs);
      this.#options.metrics.onCheckpoint();
    }
    for (const [log, sealed] of this.#logs) {
      if (this.#witnesses(log).length > 0) sealed.startWaiting(atUs);
    }
    this.#measure();
    this.#asking = this.#askAll(this.#asking);
  }

  /** Once, whoever asks for it meanwhile. */
  async #open(log: LogId, known?: bigint): Promise<SealedLog> {
    const opening = this.#opening.get(log) ?? this.#opened(log, known);
    this.#opening.set(log, opening);
    return opening.finally(() => this.#opening.delete(log));
  }

  async #opened(log: LogId, known: bigint | undefined): Promise<SealedLog> {
    const { store, writer, domain, keys, heads, nowUs } = this.#options;
    const size = known ?? (await store.logs()).get(log) ?? 0n;
    const by = { store, writer, reader: this.#reader, domain, keys, heads };
    const witnesses = this.#witnesses(log);
    const sealed = await openSealedLog(by, { log, size, witnesses, nowUs: nowUs() });
    this.#logs.set(log, sealed);
    if (sealed.refusal !== undefined) this.#refuse(sealed, sealed.refusal);
    return sealed;
  }

  /** Refuses to sign if the witness has seen what the log does not have. */
  async #compare(sealed: SealedLog, { checkpoint }: Shown): Promise<void> {
    const { log } = sealed;
    const size = (await this.#options.store.logs()).get(log) ?? 0n;
    if (checkpoint.size > size) {
      this.#refuse(sealed, `a witness has seen ${checkpoint.size} leaves, the log has ${size}`);
      return;
    }
    const root = await this.#reader.root(log, checkpoint.size);
    if (root === checkpoint.root) return;
    const [theirs, ours] = [hashText(checkpoint.root), hashText(root)];
    this.#refuse(
      sealed,
      `a witness has seen root ${theirs} of ${checkpoint.size} leaves, the log has ${ours}`,
    );
  }

  #refuse(sealed: SealedLog, reason: string): void {
    sealed.refusal = reason;
    this.#options.log.error({ logId: sealed.log, reason }, "nothing is signed for this log");
    this.#measure();
  }

  async #keep(sealed: SealedLog, { cosignatures }: Shown): Promise<void> {
    const { writer, nowUs } = this.#options;
    for (const { key, ...kept } of cosignatures) {
      const isNew = kept.size > sealed.witnessedBy(key);
      if (isNew) {
        await writer.write(async (store) => {
          const chain = cosignaturesOf(sealed.log, key);
          const { length } = await endOfChain(store, chain);
          const document = {
            kind: cosignatureKind,
            id: chainId(chain.name, length + 1),
            pair: sealed.log,
            atUs: nowUs(),
            body: cosignatureBody(kept),
          };
          return { change: { documents: [document] } satisfies Change, result: undefined };
        });
      }
      sealed.hear(key, kept);
    }
  }

  /** After those that are still asked, so that no witness is asked twice at once. */
  async #askAll(before: Promise<void>): Promise<void> {
    await before;
    for (const witness of this.#options.httpWitnesses ?? []) {
      for (const [log, sealed] of this.#logs) {
        const isMeant = witness.logs?.has(log) ?? true;
        if (isMeant && sealed.refusal === undefined) await this.#ask(witness, sealed);
      }
    }
  }

  async #ask(witness: HttpWitness, sealed: SealedLog): Promise<void> {
    const { log } = this.#options;
    try {
      const reason = await this.#askUntilSigned(witness, sealed);
      this.#options.metrics.onAsked(reason === undefined ? "signed" : "refused");
      if (reason !== undefined)
        log.warn({ url: witness.url, logId: sealed.log, reason }, "not witnessed");
    } catch (error) {
      this.#options.metrics.onAsked("unreachable");
      if (!this.#stop.signal.aborted) {
        log.warn({ url: witness.url, logId: sealed.log, error }, "the witness cannot be reached");
      }
    }
  }

  /** Undefined when it has signed all there is, or says how far it is. */
  async #askUntilSigned(witness: HttpWitness, sealed: SealedLog): Promise<string | undefined> {
    const { latest } = sealed;
    // Before anything new is signed, the empty log is enough to learn how far the witness is.
    if (sealed.mustHear || latest === undefined) return this.#askHowFar(witness, sealed);
    let oldSize = sealed.witnessedBy(witness.key);
    for (let tries = 0; tries < 2; tries += 1) {
      const { size, note: checkpoint } = latest;
      if (size === oldSize) return undefined;
      const path = oldSize < size ? await this.#reader.consistency(sealed.log, oldSize, size) : [];
      const request = { oldSize, path, checkpoint };
      const answer = await askWitness(witness.url, request, this.#stop.signal);
      if (answer.kind === "signed") return this.hear(sealed.log, checkpoint + answer.lines);
      if (answer.kind !== "elsewhere") return this.#take(sealed, answer);
      const reason = this.#take(sealed, answer);
      if (reason !== undefined) return reason;
      oldSize = answer.size;
    }
    return undefined;
  }

  async #askHowFar(witness: HttpWitness, sealed: SealedLog): Promise<string | undefined> {
    const request = { oldSize: 0n, path: [], checkpoint: sealed.emptyNote(tree.empty) };
    const answer = await askWitness(witness.url, request, this.#stop.signal);
    const reason = answer.kind === "signed" ? undefined : this.#take(sealed, answer);
    if (reason === undefined) sealed.mustHear = false;
    return reason;
  }

  /** What follows from an answer that is no signature: why there is none, unless it only says how far the witness is. */
  #take(
    sealed: SealedLog,
    answer: Exclude<WitnessAnswer, { readonly kind: "signed" }>,
  ): string | undefined {
    if (answer.kind === "unwilling") return answer.reason;
    if (answer.kind === "inconsistent") {
      this.#refuse(sealed, `a witness has seen another log: it ${answer.reason}`);
      return answer.reason;
    }
    const known = sealed.latest?.size ?? 0n;
    const has = known > sealed.sizeAtStart ? known : sealed.sizeAtStart;
    if (answer.size <= has) return undefined;
    const reason = `a witness has seen ${answer.size} leaves, the log has ${has}`;
    this.#refuse(sealed, reason);
    return reason;
  }

  /** Those who follow by RPC, and those who are asked. */
  #witnesses(log: LogId): TrustedKey[] {
    const asked = (this.#options.httpWitnesses ?? [])
      .filter(({ logs }) => logs?.has(log) ?? true)
      .map(({ key }) => ({ role: "witness" as const, key, sinceUs: 0n }));
    return [...this.#options.logKeys.of(log, "witness"), ...asked];
  }

  #measure(): void {
    const nowUs = this.#options.nowUs();
    const waits = [...this.#logs.keys()].flatMap((log) => {
      const since = this.#logs.get(log)?.unwitnessedSinceUs;
      return since === undefined || this.#witnesses(log).length === 0 ? [] : [nowUs - since];
    });
    this.#options.metrics.onState({ waitsUs: waits, refused: this.refusals.size });
  }
}

function isDue(sealed: SealedLog, size: bigint): boolean {
  if (sealed.refusal !== undefined || sealed.mustHear) return false;
  return size > (sealed.latest?.size ?? 0n);
}

function checkpointDocument(
  { sealed, checkpoint }: { readonly sealed: SealedLog; readonly checkpoint: Checkpoint },
  atUs: InstantUs,
) {
  return {
    kind: checkpointKind,
    id: chainId(sealed.log, sealed.checkpoints + 1),
    pair: sealed.log,
    atUs,
    body: checkpointBody(checkpoint, sealed.key.publicKey),
  };
}
