import { hashText, originOf } from "../../core/settlement/proof/checkpoint.ts";
import { signersOf } from "../../core/settlement/proof/cosignature.ts";
import { noteKey, parseNote } from "../../core/settlement/proof/note.ts";
import type { AttemptId, InstantUs } from "../../core/units.ts";
import type { CopiedLeaf, LeafCopy } from "../../io/leaf-copy.ts";
import type { LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";
import type { SignedHead } from "../../io/signed-heads.ts";
import { sha256, verify } from "../../io/signing.ts";
import { lostLeafDocument, lostLeaves, type LostLeaf } from "./lost-leaves.ts";
import { LogReader, tree, type LogId } from "./log-reader.ts";
import { leafKinds, type LeafKind, type NewLeaf, type Writer } from "../ingest/writer.ts";

/** Where a ledger's log and a copy of it are the same, and what the ledger does not have. */
export interface LogComparison {
  readonly log: LogId;
  readonly ledgerSize: bigint;
  readonly copySize: bigint;
  /** The first leaf that both have and that is not the same. Undefined: there is none. */
  readonly differsFrom: bigint | undefined;
  /** How many leaves the ledger lacks, by kind. */
  readonly missing: ReadonlyMap<string, bigint>;
}

/** A copy that the ledger cannot be made again from. */
export class RebuildError extends Error {
  override name = "RebuildError";
}

/** By what a copy is known to be of the operator's log. */
export interface Trusted {
  /** What the operator keeps as signed last. */
  readonly head: SignedHead | undefined;
  /** Keys with which the operator signs, or has signed. */
  readonly publicKeys: readonly string[];
}

const pageLeaves = 256;

/** Reads both from the first leaf on. */
export async function compareLog(
  store: Pick<LedgerStore, "logs" | "leafHashes">,
  copy: LeafCopy,
): Promise<LogComparison> {
  const log = copy.head.logId as LogId;
  const ledgerSize = (await store.logs()).get(log) ?? 0n;
  const copySize = copy.head.checkpoint?.size ?? 0n;
  let index = 0n;
  let differsFrom: bigint | undefined;
  const missing = new Map<string, bigint>();
  for await (const page of pagesOf(copy.leaves(0n))) {
    const hashes = index < ledgerSize ? await store.leafHashes(log, index, page.length) : [];
    for (const [at, { kind, text }] of page.entries()) {
      const hash = hashes[at];
      if (hash === undefined) missing.set(kind, (missing.get(kind) ?? 0n) + 1n);
      else if (hash !== tree.leaf(text)) differsFrom ??= index + BigInt(at);
    }
    index += BigInt(page.length);
  }
  return { log, ledgerSize, copySize, differsFrom, missing };
}

/** The leaves that the ledger lacks, in order. */
export async function* missingLeaves(
  copy: LeafCopy,
  ledgerSize: bigint,
): AsyncGenerator<CopiedLeaf & { readonly index: bigint }> {
  let index = ledgerSize;
  for await (const leaf of copy.leaves(ledgerSize)) {
    yield { ...leaf, index };
    index += 1n;
  }
}

/**
 * Puts back the leaves that the ledger lacks, byte for byte, so that its log is again what was signed. Money is not made
 * of them: each is noted as lost, until the record comes again from whoever has it. Nothing is written if the copy is not
 * what the operator signed, or the ledger has gone another way since.
 */
export async function rebuildLog(
  {
    store,
    writer,
    atUs,
  }: { readonly store: LedgerStore; readonly writer: Writer; readonly atUs: InstantUs },
  copy: LeafCopy,
  trusted: Trusted,
): Promise<LogComparison> {
  const found = await compareLog(store, copy);
  const { log, ledgerSize, differsFrom } = found;
  if (differsFrom !== undefined) {
    throw new RebuildError(
      `${log}: leaf ${differsFrom} of the ledger is not that of the copy; expected a ledger that was put back and not ` +
        "written since: put the backup back again",
    );
  }
  requireSigned(copy, trusted);
  let page: (CopiedLeaf & { readonly index: bigint })[] = [];
  const write = async (): Promise<void> => {
    const leaves = page.map((leaf) => ({ ...leaf, log, kind: kindOf(leaf.kind) }));
    page = [];
    const documents = leaves.flatMap((leaf) => documentsOf(leaf, atUs));
    const rows = leaves.map(({ kind, ref, text }): NewLeaf => ({ log, kind, ref, text }));
    await writer.write(async () => ({ change: { leaves: rows, documents }, result: undefined }));
  };
  for await (const leaf of missingLeaves(copy, ledgerSize)) {
    page.push(leaf);
    if (page.length === pageLeaves) await write();
  }
  if (page.length > 0) await write();
  const { checkpoint } = copy.head;
  const size = checkpoint?.size ?? 0n;
  const root = size > ledgerSize ? await new LogReader(store).root(log, size) : checkpoint?.root;
  if (root !== checkpoint?.root) throw new RebuildError(`${log}: the leaves give another root`);
  return found;
}

/** Of the leaves that were put back, those of usage whose record has not come again. */
export async function stillLost(
  store: Pick<LedgerStore, "documents" | "recordsOf">,
): Promise<LostLeaf[]> {
  const lost = await lostLeaves(store);
  const missing: LostLeaf[] = [];
  for (let at = 0; at < lost.length; at += pageLeaves) {
    const page = lost.slice(at, at + pageLeaves);
    const attempts = page.filter(({ kind }) => kind === "usage").map(({ ref }) => attemptOf(ref));
    const records = await store.recordsOf([...new Set(attempts)]);
    const here = new Set(records.map(({ attempt, rev }) => `${attempt}:${rev}`));
    missing.push(...page.filter(({ kind, ref }) => kind !== "usage" || !here.has(ref)));
  }
  return missing;
}

/** That the copy's checkpoint is the operator's: what it keeps as its last, or signed with its key. */
function requireSigned(copy: LeafCopy, { head, publicKeys }: Trusted): void {
  const { logId, checkpoint, note } = copy.head;
  if (checkpoint === undefined || note === undefined) {
    throw new RebuildError(`${logId}: expected a copy with a checkpoint, found none`);
  }
  const { origin, size, root } = checkpoint;
  if (head?.size === size && head.root === root) return;
  const keys = publicKeys.map((publicKey) =>
    noteKey({ name: origin, type: "signature", publicKey }, sha256),
  );
  const parsed = parseNote(note);
  const signers = typeof parsed === "string" ? parsed : signersOf(parsed, keys, verify);
  const domain = origin.split("/tokengrid/")[0] ?? "";
  const isOwn = origin === originOf(domain, logId as LogId);
  if (isOwn && typeof signers !== "string" && signers.length > 0) return;
  const found = `${size} leaves with root ${hashText(root)} of ${origin}`;
  throw new RebuildError(
    `${logId}: expected a checkpoint that the operator signed, found ${found}`,
  );
}

/** Keys are documents with the bytes of their leaves; what else there was is only noted. */
function documentsOf(
  leaf: NewLeaf & { readonly index: bigint },
  atUs: InstantUs,
): Omit<LedgerDocument, "seq" | "hash">[] {
  const { log, kind, ref, text, index } = leaf;
  if (kind !== "key") return [lostLeafDocument({ log, index, kind, ref }, atUs)];
  const [, partyKind, keyId] = /^(party-key(?:-withdrawal)?):(.+)$/.exec(ref) ?? [];
  if (partyKind !== undefined && keyId !== undefined) {
    return [{ kind: partyKind, id: keyId, pair: log, atUs, body: text }];
  }
  const isRotation = ref.startsWith("key-rotation#");
  // A rotation's leaf is numbered within its log, its document across all.
  const id = isRotation ? `${log}#${ref.slice("key-rotation#".length)}` : ref;
  return [{ kind: isRotation ? "key-rotation" : "log-key", id, pair: log, atUs, body: text }];
}

function kindOf(text: string): LeafKind {
  const kind = leafKinds.find((each) => each === text);
  if (kind !== undefined) return kind;
  throw new RebuildError(`expected a kind of leaf that is known, found ${text}`);
}

function attemptOf(ref: string): AttemptId {
  return ref.slice(0, ref.lastIndexOf(":")) as AttemptId;
}

async function* pagesOf<Each>(each: AsyncIterable<Each>): AsyncGenerator<Each[]> {
  let page: Each[] = [];
  for await (const one of each) {
    page.push(one);
    if (page.length < pageLeaves) continue;
    yield page;
    page = [];
  }
  if (page.length > 0) yield page;
}
