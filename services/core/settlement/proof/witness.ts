import { hashText, parseCheckpoint, parseHash, parseSize, type Checkpoint } from "./checkpoint.ts";
import { signersOf } from "./cosignature.ts";
import { verifyConsistency, type Hash, type TreeHash } from "./merkle.ts";
import { parseNote, shown, type Note, type NoteKey, type Verify } from "./note.ts";

/** The last checkpoint of a log that a witness signed. */
export interface WitnessedHead {
  readonly size: bigint;
  readonly root: Hash;
}

/** What a witness knows of a log. */
export interface WitnessedLog {
  /** Any of them may sign for the log. */
  readonly keys: readonly NoteKey[];
  /** Undefined before the first. */
  readonly head: WitnessedHead | undefined;
}

/** A request of C2SP tlog-witness. */
export interface AddCheckpoint {
  readonly oldSize: bigint;
  /** From the old size to the checkpoint's. */
  readonly path: readonly Hash[];
  readonly note: Note;
  readonly checkpoint: Checkpoint;
}

/** By the status of its HTTP answer. Only after 200, and once `head` is on disk, may the witness sign. */
export type WitnessOutcome =
  | { readonly status: 200; readonly head: WitnessedHead }
  | { readonly status: 400 | 403 | 404 | 422; readonly reason: string }
  | { readonly status: 409; readonly size: bigint };

/** The protocol's bound. */
export const consistencyHashesMax = 63;

/** What the algorithms of the machine are needed for. */
export interface Means {
  readonly tree: TreeHash;
  readonly verify: Verify;
}

/**
 * Whether a witness may sign. To compare with `head` and to keep the new one must be one step: between them nothing
 * else of this log may be decided.
 */
export function witnessed(
  request: AddCheckpoint,
  log: WitnessedLog | undefined,
  { tree, verify }: Means,
): WitnessOutcome {
  const { oldSize, path, note, checkpoint } = request;
  const { origin, size, root } = checkpoint;
  if (log === undefined) return { status: 404, reason: `nobody knows the log ${shown(origin)}` };
  const signers = signersOf(note, log.keys, verify);
  if (typeof signers === "string") return { status: 403, reason: signers };
  if (signers.length === 0) {
    return { status: 403, reason: `expected a signature of the log ${shown(origin)}, found none` };
  }
  if (oldSize > size) {
    return { status: 400, reason: `expected an old size of at most ${size}, found ${oldSize}` };
  }
  const { head = { size: 0n, root: tree.empty } } = log;
  if (oldSize !== head.size) return { status: 409, size: head.size };
  const isConsistent = verifyConsistency({ oldSize, oldRoot: head.root, size, root, path }, tree);
  if (isConsistent) return { status: 200, head: { size, root } };
  const reason = `size ${size} does not follow on size ${head.size} with root ${hashText(head.root)}`;
  return { status: 422, reason };
}

export function formatAddCheckpoint(request: {
  readonly oldSize: bigint;
  readonly path: readonly Hash[];
  /** The signed note. */
  readonly checkpoint: string;
}): string {
  const { oldSize, path, checkpoint } = request;
  return `old ${oldSize}\n${path.map((hash) => `${hashText(hash)}\n`).join("")}\n${checkpoint}`;
}

/** A request, or what is wrong with it. */
export function parseAddCheckpoint(body: string): AddCheckpoint | string {
  const end = body.indexOf("\n\n");
  const [first = "", ...lines] = body.slice(0, Math.max(end, 0)).split("\n");
  const oldSize = first.startsWith("old ") ? parseSize(first.slice("old ".length)) : undefined;
  if (oldSize === undefined) return `expected a line of an old size, found ${shown(first)}`;
  const path = parsePath(lines);
  if (typeof path === "string") return path;
  const note = parseNote(body.slice(end + 2));
  if (typeof note === "string") return note;
  const checkpoint = parseCheckpoint(note.text);
  return typeof checkpoint === "string" ? checkpoint : { oldSize, path, note, checkpoint };
}

/** Hashes, one on a line; or what is wrong with them. */
export function parsePath(lines: readonly string[]): Hash[] | string {
  if (lines.length > consistencyHashesMax) {
    return `expected at most ${consistencyHashesMax} hashes, found ${lines.length}`;
  }
  const path: Hash[] = [];
  for (const line of lines) {
    const hash = parseHash(line);
    if (hash === undefined) return `expected a hash as base64 of 32 bytes, found ${shown(line)}`;
    path.push(hash);
  }
  return path;
}
