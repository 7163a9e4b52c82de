import { setTimeout as wait } from "node:timers/promises";
import { Code, ConnectError, createClient, type Client, type Transport } from "@connectrpc/connect";
import { hashText, parseCheckpoint, type Checkpoint } from "../core/settlement/proof/checkpoint.ts";
import { Frontier, treeHash, type Hash } from "../core/settlement/proof/merkle.ts";
import { formatNote, parseNote, type Note, type NoteKey } from "../core/settlement/proof/note.ts";
import type { LeafCopy } from "../io/leaf-copy.ts";
import type { Log } from "../io/log.ts";
import { sha256 } from "../io/signing.ts";
import type { Witness } from "../io/witness.ts";
import { LogService } from "../wire/gen/tokengrid/v1/log_pb.js";
import { toHashes } from "../wire/log.ts";

/** How one look at a log ended. */
export type FollowOutcome =
  /** The operator has a signature of so many leaves. */
  | { readonly kind: "signed"; readonly size: bigint }
  /** The operator has signed nothing yet, and neither has the witness. */
  | { readonly kind: "nothing" }
  /** The log says two things, or less than before: it is not signed, and people have to look. */
  | { readonly kind: "misbehaved"; readonly reason: string }
  /** The operator found out that it lost what the witness has seen, and has stopped to sign. */
  | { readonly kind: "stopped"; readonly reason: string };

export interface FollowOptions {
  readonly transport: Transport;
  readonly logId: string;
  /** Keys that sign for the log, all of one origin. */
  readonly logKeys: readonly NoteKey[];
  readonly witness: Witness;
  /** Reads every leaf and makes the root of their hashes, instead of believing in proofs alone. */
  readonly isEveryLeafRead: boolean;
  /** Where the leaves that are read are kept, so that the log can be made again from them. */
  readonly copy?: LeafCopy | undefined;
}

const callTimeoutMs = 30_000;
const pageLeaves = 1_000;
const tree = treeHash(sha256);

/** Looks at the operator's log, and signs it as long as it only grows. All connections go outward. */
export class LogFollower {
  readonly #options: FollowOptions;
  readonly #client: Client<typeof LogService>;
  readonly #origin: string;
  readonly #read = new ReadLeaves();

  constructor(options: FollowOptions) {
    this.#options = options;
    this.#client = createClient(LogService, options.transport);
    const [first, ...more] = new Set(options.logKeys.map(({ name }) => name));
    if (first === undefined || more.length > 0) {
      throw new Error("expected keys of one log, found none or those of several");
    }
    this.#origin = first;
  }

  /** Throws if the operator cannot be reached. */
  async look(signal: AbortSignal): Promise<FollowOutcome> {
    const text = await this.#checkpoint(signal);
    if (text === undefined) return (await this.#showLast(signal)) ?? { kind: "nothing" };
    const [note, checkpoint] = read(text);
    if (typeof checkpoint === "string") return { kind: "misbehaved", reason: checkpoint };
    const reason = await this.#witness(note, checkpoint, signal);
    if (reason === undefined) return this.#upload(note, checkpoint.size, signal);
    // Who has forgotten what it signed is shown it.
    await this.#showLast(signal);
    return { kind: "misbehaved", reason };
  }

  /** Keeps the checkpoint, after which it may be signed; or says why it may not. */
  async #witness(
    note: Note,
    checkpoint: Checkpoint,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const { witness, copy } = this.#options;
    const oldSize = (await witness.heads.head(this.#origin))?.size ?? 0n;
    const { origin, size } = checkpoint;
    if (origin !== this.#origin) return `expected a checkpoint of ${this.#origin}, found ${origin}`;
    if (size < oldSize) return `the log has ${size} leaves, it had ${oldSize}`;
    const mistake = await this.#readLeaves(checkpoint, signal);
    if (mistake !== undefined) return mistake;
    const path = await this.#path(oldSize, size, signal);
    const reply = await witness.witness({ oldSize, path, note, checkpoint });
    if (reply.status === 200) {
      // On disk before anybody has the signature: whatever was witnessed can be shown.
      await copy?.keep(formatNote(this.#signedByLog(note)));
      return undefined;
    }
    return reply.status === 409 ? `expected ${reply.size} leaves before` : reply.reason;
  }

  /** What the witness signed last, if anything. */
  async #showLast(signal: AbortSignal): Promise<FollowOutcome | undefined> {
    const head = await this.#options.witness.heads.head(this.#origin);
    if (head === undefined) return undefined;
    const note = parseNote(head.note);
    if (typeof note === "string") throw new Error(`what was kept of ${this.#origin}: ${note}`);
    return this.#upload(note, head.size, signal);
  }

  async #upload(note: Note, size: bigint, signal: AbortSignal): Promise<FollowOutcome> {
    const { logId, witness } = this.#options;
    const checkpoint = formatNote(this.#signedByLog(note)) + witness.line(note.text);
    const asked = { signal, timeoutMs: callTimeoutMs };
    const { refusal } = await this.#client.addCosignature({ logId, checkpoint }, asked);
    return refusal === "" ? { kind: "signed", size } : { kind: "stopped", reason: refusal };
  }

  async #checkpoint(signal: AbortSignal): Promise<string | undefined> {
    const { logId } = this.#options;
    try {
      const asked = { signal, timeoutMs: callTimeoutMs };
      return (await this.#client.getCheckpoint({ logId }, asked)).checkpoint;
    } catch (error) {
      if (error instanceof ConnectError && error.code === Code.NotFound) return undefined;
      throw error;
    }
  }

  async #path(oldSize: bigint, size: bigint, signal: AbortSignal): Promise<Hash[]> {
    if (oldSize === 0n || oldSize === size) return [];
    const { logId } = this.#options;
    const { hashes } = await this.#client.getConsistencyProof(
      { logId, oldSize, size },
      { signal, timeoutMs: callTimeoutMs },
    );
    return toHashes("hashes", hashes);
  }

  /** That the leaves are those of the checkpoint; what is wrong if they are not. */
  async #readLeaves({ size, root }: Checkpoint, signal: AbortSignal): Promise<string | undefined> {
    const { isEveryLeafRead, copy } = this.#options;
    if (!isEveryLeafRead && copy === undefined) return undefined;
    const read = copy ?? this.#read;
    while (read.size < size) {
      const leaves = await this.#page(read.size, size, signal);
      if (leaves.length === 0) return `expected ${size} leaves, found ${read.size}`;
      await read.append(leaves);
    }
    if (read.size > size) return `expected ${read.size} leaves, found ${size}`;
    const made = read.root();
    if (made !== root) {
      return `expected root ${hashText(made)} of the ${size} leaves, found ${hashText(root)}`;
    }
    return undefined;
  }

  async #page(fromIndex: bigint, size: bigint, signal: AbortSignal) {
    const { logId } = this.#options;
    const left = size - fromIndex;
    const limit = left < BigInt(pageLeaves) ? Number(left) : pageLeaves;
    const asked = { signal, timeoutMs: callTimeoutMs };
    return (await this.#client.listLeaves({ logId, fromIndex, limit }, asked)).leaves;
  }

  /** Without what others signed. */
  #signedByLog(note: Note): Note {
    const { logKeys } = this.#options;
    const signatures = note.signatures.filter(({ name, id }) =>
      logKeys.some((key) => key.name === name && key.id === id),
    );
    return { ...note, signatures };
  }
}

/** Leaves that are read and not kept. */
class ReadLeaves {
  readonly #frontier = new Frontier(tree);

  get size(): bigint {
    return this.#frontier.size;
  }

  root(): Hash {
    return this.#frontier.root();
  }

  async append(leaves: readonly { readonly text: string }[]): Promise<void> {
    for (const { text } of leaves) this.#frontier.append(tree.leaf(text));
  }
}

/** How long the agent waits after a look that failed, at most. */
const backoffMsMax = 60_000;

/** Follows a log until the signal says stop. What goes wrong is said when it changes, and tried again. */
export async function followLog(options: {
  readonly follower: LogFollower;
  readonly intervalMs: number;
  readonly onOutcome: (outcome: FollowOutcome) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { follower, intervalMs, onOutcome, log, signal } = options;
  const isOver = (): boolean => signal.aborted;
  let [pauseMs, said] = [intervalMs, ""];
  while (!isOver()) {
    try {
      const outcome = await follower.look(signal);
      onOutcome(outcome);
      pauseMs = intervalMs;
      const isBad = outcome.kind === "misbehaved" || outcome.kind === "stopped";
      const words = isBad ? `${outcome.kind}: ${outcome.reason}` : "";
      if (words !== said && isBad) log.error(outcome, "the log is not witnessed");
      said = words;
    } catch (error) {
      if (isOver()) return;
      const words = String(error);
      if (words !== said) log.warn({ error }, "the log cannot be read");
      said = words;
      pauseMs = Math.min(backoffMsMax, pauseMs * 2);
    }
    await pause(pauseMs, signal);
  }
}

function read(text: string): [Note, Checkpoint | string] {
  const note = parseNote(text);
  if (typeof note === "string") return [{ text: "", signatures: [] }, note];
  return [note, parseCheckpoint(note.text)];
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await wait(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
