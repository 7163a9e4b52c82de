import {
  parseCheckpoint,
  signCheckpoint,
  type Checkpoint,
} from "../../core/settlement/proof/checkpoint.ts";
import { signersOf, type Signer } from "../../core/settlement/proof/cosignature.ts";
import type { Frontier, Hash } from "../../core/settlement/proof/merkle.ts";
import {
  formatSignature,
  parseNote,
  type Note,
  type NoteKey,
} from "../../core/settlement/proof/note.ts";
import type { InstantUs } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { verify, type SigningKey } from "../../io/signing.ts";
import { keyName, type KeptCosignature } from "./log-documents.ts";
import type { LogId } from "./log-reader.ts";

/** A checkpoint that the log signed, with what witnesses added. */
export interface SignedCheckpoint {
  readonly size: bigint;
  readonly root: Hash;
  readonly atUs: InstantUs;
  /** The note with the log's signature. */
  readonly note: string;
  /** By name of the key, the line of a witness. */
  readonly lineByWitness: ReadonlyMap<string, string>;
}

/** A checkpoint that a witness signed and that the log had signed before. */
export interface Shown {
  readonly checkpoint: Checkpoint;
  readonly cosignatures: readonly (KeptCosignature & { readonly key: NoteKey })[];
}

/** Checkpoints of a log that are kept for witnesses that are slow; beyond that they sign a newer one. */
const checkpointsKept = 128;
const pageHashes = 4_096;

/** What is signed of one log and what its witnesses say. The sealer reads and writes for it. */
export class SealedLog {
  readonly log: LogId;
  readonly key: NoteKey;
  /** Keys that signed for the log before. */
  readonly #earlierKeys: readonly NoteKey[];
  readonly #signing: SigningKey;
  readonly #frontier: Frontier;
  /** When this process first looked. Whoever has seen more then has seen what is lost. */
  readonly sizeAtStart: bigint;
  /** In order of size; the last is the one that counts. */
  readonly #signed: SignedCheckpoint[] = [];
  readonly #witnessed = new Map<string, bigint>();
  /** Checkpoints that were ever kept. */
  checkpoints: number;
  /** A known witness has to be heard before anything is signed that was not signed before. */
  mustHear = false;
  /** Why nothing is signed any more. */
  refusal: string | undefined;
  /** It was found to be other than what was signed of it before anything was added. */
  isRolledBack = false;
  /** When the first checkpoint was signed that no witness has signed yet. */
  unwitnessedSinceUs: InstantUs | undefined;

  constructor(state: {
    readonly log: LogId;
    readonly key: NoteKey;
    readonly earlierKeys: readonly NoteKey[];
    readonly signing: SigningKey;
    readonly frontier: Frontier;
    readonly sizeAtStart: bigint;
    readonly checkpoints: number;
  }) {
    this.log = state.log;
    this.key = state.key;
    this.#earlierKeys = state.earlierKeys;
    this.#signing = state.signing;
    this.#frontier = state.frontier;
    this.sizeAtStart = state.sizeAtStart;
    this.checkpoints = state.checkpoints;
  }

  get latest(): SignedCheckpoint | undefined {
    return this.#signed.at(-1);
  }

  /** The last checkpoint with the lines of its witnesses. */
  get note(): string | undefined {
    const { latest } = this;
    return latest && latest.note + [...latest.lineByWitness.values()].join("");
  }

  /** Leaves that some witness has signed. */
  get witnessedSize(): bigint {
    return [...this.#witnessed.values()].reduce((most, size) => (size > most ? size : most), 0n);
  }

  /** Leaves that this witness has signed. */
  witnessedBy(witness: NoteKey): bigint {
    return this.#witnessed.get(keyName(witness)) ?? 0n;
  }

  /** Takes in the leaves up to a size. What it says is to be kept before it is signed. */
  async advance(store: Pick<LedgerStore, "leafHashes">, size: bigint): Promise<Checkpoint> {
    while (this.#frontier.size < size) {
      const left = size - this.#frontier.size;
      const limit = left < BigInt(pageHashes) ? Number(left) : pageHashes;
      const page = await store.leafHashes(this.log, this.#frontier.size, limit);
      if (page.length === 0) throw new Error(`log ${this.log}: expected ${size} leaves`);
      for (const hash of page) this.#frontier.append(hash);
    }
    return this.#checkpoint(this.#frontier.size, this.#frontier.root());
  }

  /** Only what is on disk may be signed. The same checkpoint again has the same bytes. */
  sign({ size, root }: Pick<Checkpoint, "size" | "root">, atUs: InstantUs): void {
    const note = this.#signedNote(this.#checkpoint(size, root));
    this.#signed.push({ size, root, atUs, note, lineByWitness: new Map() });
    if (this.#signed.length > checkpointsKept) this.#signed.shift();
  }

  /** The log without leaves: may always be signed, to ask a witness how far it is. */
  emptyNote(root: Hash): string {
    return this.#signedNote(this.#checkpoint(0n, root));
  }

  /** What a witness shows, or what is wrong with it. It is believed only if the log has signed it too. */
  read(text: string, witnesses: readonly NoteKey[]): Shown | string {
    const note = parseNote(text);
    if (typeof note === "string") return note;
    const checkpoint = parseCheckpoint(note.text);
    if (typeof checkpoint === "string") return checkpoint;
    const logKeys = [this.key, ...this.#earlierKeys];
    const signers = signersOf(note, [...logKeys, ...witnesses], verify);
    if (typeof signers === "string") return signers;
    const cosigners = signers.filter(({ key }) => witnesses.includes(key));
    if (checkpoint.origin !== this.key.name || cosigners.length === signers.length) {
      return `expected a checkpoint that ${this.key.name} signed, found another`;
    }
    if (cosigners.length === 0)
      return `expected a signature of a witness of ${this.log}, found none`;
    const { size, root } = checkpoint;
    const cosignatures = cosigners.map(({ key, timeSeconds = 0n }: Signer) => ({
      key,
      size,
      root,
      timeSeconds,
      line: lineOf(note, key),
    }));
    return { checkpoint, cosignatures };
  }

  /** A signature that was compared with the log. */
  hear(witness: NoteKey, { size, root, line }: KeptCosignature): void {
    this.mustHear = false;
    const name = keyName(witness);
    if (size >= this.witnessedBy(witness)) this.#witnessed.set(name, size);
    const at = this.#signed.findIndex((each) => each.size === size && each.root === root);
    const signed = this.#signed[at];
    if (signed !== undefined) {
      const lineByWitness = new Map([...signed.lineByWitness, [name, line] as const]);
      this.#signed[at] = { ...signed, lineByWitness };
    }
    const { witnessedSize } = this;
    this.unwitnessedSinceUs = this.#signed.find((each) => each.size > witnessedSize)?.atUs;
  }

  /** Begins to wait if there is something to wait for. */
  startWaiting(nowUs: InstantUs): void {
    const isWaiting = this.latest !== undefined && this.latest.size > this.witnessedSize;
    if (isWaiting) this.unwitnessedSinceUs ??= nowUs;
  }

  #checkpoint(size: bigint, root: Hash): Checkpoint {
    return { origin: this.key.name, size, root, extensions: [] };
  }

  #signedNote(checkpoint: Checkpoint): string {
    return signCheckpoint(checkpoint, this.key, this.#signing.sign);
  }
}

function lineOf(note: Note, { name, id }: NoteKey): string {
  const signature = note.signatures.find((each) => each.name === name && each.id === id);
  return signature === undefined ? "" : formatSignature(signature);
}
