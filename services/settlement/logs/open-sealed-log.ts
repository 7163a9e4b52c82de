import { hashText, originOf } from "../../core/settlement/proof/checkpoint.ts";
import {
  afterRotation,
  firstKey,
  rotationText,
  type KeyHistory,
} from "../../core/settlement/proof/key-history.ts";
import { Frontier } from "../../core/settlement/proof/merkle.ts";
import { noteKey, type NoteKey, type PublicKey } from "../../core/settlement/proof/note.ts";
import type { InstantUs } from "../../core/units.ts";
import type { LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";
import type { SignedHead, SignedHeads } from "../../io/signed-heads.ts";
import { sha256, verify, type SigningKey } from "../../io/signing.ts";
import { chainId, endOfChain, firstInChain } from "./document-chain.ts";
import {
  checkpointsOf,
  cosignaturesOf,
  rotationKind,
  rotationsOf,
  toKeptCheckpoint,
  toKeptCosignature,
  type KeptCheckpoint,
} from "./log-documents.ts";
import type { TrustedKey } from "./log-keys.ts";
import { LogReader, tree, type LogId } from "./log-reader.ts";
import { SealedLog } from "./sealed-log.ts";
import type { Writer } from "../ingest/writer.ts";

/** Keys of the operator. */
export interface OperatorKeys {
  /** Signs checkpoints from now on. */
  readonly current: SigningKey;
  /** Signed them before: where it is the log's key, the log is told that `current` follows. */
  readonly previous?: SigningKey;
  /** Speaks for the log when its key is lost. */
  readonly root?: SigningKey;
}

export interface OpenedBy {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly reader: LogReader;
  readonly domain: string;
  readonly keys: OperatorKeys;
  readonly heads?: SignedHeads | undefined;
}

/** Finds out where a log stands: its key, its last checkpoint, and who has seen what of it. */
export async function openSealedLog(
  by: OpenedBy,
  asked: {
    readonly log: LogId;
    readonly size: bigint;
    readonly witnesses: readonly TrustedKey[];
    readonly nowUs: InstantUs;
  },
): Promise<SealedLog> {
  const { store, domain, keys, heads } = by;
  const { log, size, witnesses, nowUs } = asked;
  const origin = originOf(domain, log);
  const { length, last } = await endOfChain(store, checkpointsOf(log));
  const kept = last && toKeptCheckpoint(last.body);
  const rolledBack =
    (await mistakeOfHead(by, asked, heads?.head(log))) ??
    (await mistakeOfCheckpoint(by, asked, kept));
  const history = await keyHistory(by, {
    log,
    origin,
    kept,
    nowUs,
    mayRotate: rolledBack === undefined,
  });
  const keyOf = (publicKey: PublicKey): NoteKey =>
    noteKey({ name: origin, type: "signature", publicKey }, sha256);
  const frontier = await frontierOf(by, asked, rolledBack === undefined ? kept : undefined);
  const sealed = new SealedLog({
    log,
    key: keyOf(keys.current.publicKey),
    earlierKeys: history.spans
      .filter(({ key }) => key !== keys.current.publicKey)
      .map(({ key }) => keyOf(key)),
    signing: keys.current,
    frontier,
    sizeAtStart: size,
    checkpoints: length,
  });
  sealed.refusal = rolledBack ?? mistakeOfKey(history, keys.current);
  sealed.isRolledBack = rolledBack !== undefined;
  if (kept !== undefined && last !== undefined && sealed.refusal === undefined) {
    await heads?.keep(headsAfter(heads.head(log), { log, ...kept }));
    // Kept and perhaps not signed, or signed and not heard of: the bytes are the same either way.
    sealed.sign(kept, last.atUs);
  }
  await hearKept(store, sealed, witnesses);
  await resumeWaiting(store, sealed, { witnesses, nowUs });
  return sealed;
}

async function frontierOf(
  { reader }: OpenedBy,
  { log }: { readonly log: LogId },
  kept: KeptCheckpoint | undefined,
): Promise<Frontier> {
  return kept === undefined ? new Frontier(tree) : reader.frontier(log, kept.size);
}

/** The head of the file, unless the ledger has one that is older: then the file was there before it. */
function headsAfter(before: SignedHead | undefined, kept: SignedHead): SignedHead[] {
  return before !== undefined && before.size > kept.size ? [] : [kept];
}

function mistakeOfKey(
  { spans, origin }: KeyHistory,
  { publicKey }: SigningKey,
): string | undefined {
  const key = spans.at(-1)?.key ?? "";
  if (key === publicKey) return undefined;
  return (
    `expected the key ${key} that signs for ${origin}, found ${publicKey}: to replace it, say where the file of ` +
    "the old key is (previousKeyPath), or of the root key (rootKeyPath)"
  );
}

/** Whether the operator signed more than the log has, or another root. */
async function mistakeOfHead(
  { reader }: OpenedBy,
  { log, size }: { readonly log: LogId; readonly size: bigint },
  head: SignedHead | undefined,
): Promise<string | undefined> {
  if (head === undefined) return undefined;
  if (head.size > size) return `${head.size} leaves were signed, the log has ${size}`;
  const root = await reader.root(log, head.size);
  if (root === head.root) return undefined;
  const [signed, found] = [hashText(head.root), hashText(root)];
  return `root ${signed} of ${head.size} leaves was signed, the log has ${found}`;
}

async function mistakeOfCheckpoint(
  { reader }: OpenedBy,
  { log, size }: { readonly log: LogId; readonly size: bigint },
  kept: KeptCheckpoint | undefined,
): Promise<string | undefined> {
  if (kept === undefined) return undefined;
  if (kept.size > size) return `its checkpoint has ${kept.size} leaves, the log has ${size}`;
  return kept.root === (await reader.root(log, kept.size))
    ? undefined
    : `its checkpoint of ${kept.size} leaves has another root than the log`;
}

/** What witnesses signed, as it was kept. Whoever signed once is known, and has to be heard again. */
async function hearKept(
  store: LedgerStore,
  sealed: SealedLog,
  witnesses: readonly TrustedKey[],
): Promise<void> {
  let isKnown = false;
  for (const { key } of witnesses) {
    const { last } = await endOfChain(store, cosignaturesOf(sealed.log, key));
    if (last === undefined) continue;
    isKnown = true;
    sealed.hear(key, toKeptCosignature(last.body));
  }
  sealed.mustHear = isKnown;
}

/** Since when there is something that no witness has signed, also over a restart. */
async function resumeWaiting(
  store: LedgerStore,
  sealed: SealedLog,
  { witnesses, nowUs }: { readonly witnesses: readonly TrustedKey[]; readonly nowUs: InstantUs },
): Promise<void> {
  if (witnesses.length === 0 || sealed.sizeAtStart <= sealed.witnessedSize) return;
  const { witnessedSize } = sealed;
  const chain = { ...checkpointsOf(sealed.log), length: sealed.checkpoints };
  const first = await firstInChain(
    store,
    chain,
    ({ body }: LedgerDocument) => toKeptCheckpoint(body).size > witnessedSize,
  );
  const trustedUs = witnesses
    .map(({ sinceUs }) => sinceUs)
    .reduce((one, other) => (one < other ? one : other));
  const signedUs = first?.atUs ?? nowUs;
  sealed.unwitnessedSinceUs = signedUs > trustedUs ? signedUs : trustedUs;
}

/** The log's keys by its rotations, and the next rotation if the operator came with a new key. */
async function keyHistory(
  by: OpenedBy,
  asked: {
    readonly log: LogId;
    readonly origin: string;
    readonly kept: KeptCheckpoint | undefined;
    readonly nowUs: InstantUs;
    readonly mayRotate: boolean;
  },
): Promise<KeyHistory> {
  const { store, keys } = by;
  const { log, origin, kept, mayRotate } = asked;
  const rotations = await rotationsOfLog(store, log);
  const [first] = rotations;
  const current = keys.current.publicKey;
  const key = first === undefined ? (kept?.key ?? current) : fromOf(first.text);
  let history = firstKey({ origin, key, root: keys.root?.publicKey });
  for (const leaf of rotations) {
    const next = afterRotation(history, leaf, verify);
    // A rotation that the root key signed can be checked with the root key alone.
    history = typeof next === "string" ? believed(history, leaf) : next;
  }
  const isDue = mayRotate && history.spans.at(-1)?.key !== current;
  const authority = isDue ? authorityOver(history, keys) : undefined;
  return authority === undefined ? history : rotate(by, { ...asked, history, authority });
}

interface RotationLeaf {
  readonly index: bigint;
  readonly text: string;
}

async function rotationsOfLog(store: LedgerStore, log: LogId): Promise<RotationLeaf[]> {
  const { length } = await endOfChain(store, rotationsOf(log));
  const found: RotationLeaf[] = [];
  for (let place = 1; place <= length; place += 1) {
    const leaf = await store.leafOf(log, "key", chainId(rotationKind, place));
    if (leaf !== undefined) found.push({ index: leaf.index, text: leaf.text });
  }
  return found;
}

/** Our own ledger's word, where the root key is not at hand to check it. */
function believed(history: KeyHistory, { index, text }: RotationLeaf): KeyHistory {
  const span = { fromSize: index + 1n, key: memberOf(text, "to") };
  return { ...history, spans: [...history.spans, span] };
}

function fromOf(text: string): PublicKey {
  return memberOf(text, "from");
}

function memberOf(text: string, name: string): string {
  const value: unknown = JSON.parse(text);
  const members = typeof value === "object" && value !== null ? Object.entries(value) : [];
  const found: unknown = members.find(([each]) => each === name)?.[1];
  return typeof found === "string" ? found : "";
}

function authorityOver(
  history: KeyHistory,
  { previous, root }: OperatorKeys,
): { readonly key: SigningKey; readonly by: "old" | "root" } | undefined {
  if (previous !== undefined && previous.publicKey === history.spans.at(-1)?.key) {
    return { key: previous, by: "old" };
  }
  return root === undefined ? undefined : { key: root, by: "root" };
}

/** The log's next leaf says that another key follows. */
async function rotate(
  { store, writer, keys }: OpenedBy,
  asked: {
    readonly log: LogId;
    readonly origin: string;
    readonly history: KeyHistory;
    readonly authority: { readonly key: SigningKey; readonly by: "old" | "root" };
    readonly nowUs: InstantUs;
  },
): Promise<KeyHistory> {
  const { log, origin, history, authority, nowUs } = asked;
  const place = history.spans.length;
  const text = rotationText(
    {
      origin,
      rev: BigInt(place),
      from: history.spans.at(-1)?.key ?? "",
      to: keys.current.publicKey,
      by: authority.by,
      reason: authority.by === "old" ? "rotation" : "key lost",
      atUs: nowUs,
    },
    { authority: authority.key.sign, successor: keys.current.sign },
  );
  const id = chainId(log, place);
  await writer.write(async () => ({
    change: {
      documents: [{ kind: rotationKind, id, pair: log, atUs: nowUs, body: text }],
      leaves: [{ log, kind: "key", ref: chainId(rotationKind, place), text }],
    },
    result: undefined,
  }));
  const leaf = await store.leafOf(log, "key", chainId(rotationKind, place));
  if (leaf === undefined) throw new Error(`log ${log}: expected the rotation that was kept`);
  const next = afterRotation(history, leaf, verify);
  if (typeof next === "string") throw new Error(next);
  return next;
}
