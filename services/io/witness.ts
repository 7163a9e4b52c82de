import { cosign } from "../core/settlement/proof/cosignature.ts";
import { treeHash } from "../core/settlement/proof/merkle.ts";
import { formatNote, type NoteKey, type Sign } from "../core/settlement/proof/note.ts";
import {
  parseAddCheckpoint,
  witnessed,
  type AddCheckpoint,
  type WitnessedHead,
  type WitnessOutcome,
} from "../core/settlement/proof/witness.ts";
import { sha256, verify } from "./signing.ts";

/** The last checkpoint of a log that a witness signed, as the log signed it. */
export interface KeptHead extends WitnessedHead {
  readonly note: string;
}

/** Where a witness keeps what it has signed: a file of its own, or the operator's ledger. */
export interface WitnessHeads {
  head(origin: string): Promise<KeptHead | undefined>;
  /**
   * Lets decide by the head of a log, and keeps the new one before it resolves if the outcome is 200. Nothing else of
   * the log is decided in between.
   */
  update(
    origin: string,
    note: string,
    decide: (head: WitnessedHead | undefined) => WitnessOutcome,
  ): Promise<WitnessOutcome>;
}

/** An outcome with the signature that it allows. */
export type WitnessReply =
  | { readonly status: 200; readonly cosignatures: string }
  | Exclude<WitnessOutcome, { readonly status: 200 }>;

const means = { tree: treeHash(sha256), verify };

/** Signs what logs say of themselves, as long as each says one thing and only grows. */
export class Witness {
  readonly key: NoteKey;
  readonly heads: WitnessHeads;
  readonly #sign: Sign;
  readonly #keysOf: (origin: string) => readonly NoteKey[] | undefined;
  readonly #nowSeconds: () => bigint;

  constructor(options: {
    readonly key: NoteKey;
    readonly sign: Sign;
    readonly heads: WitnessHeads;
    /** Keys that sign for a log; undefined for one that nobody knows. */
    readonly keysOf: (origin: string) => readonly NoteKey[] | undefined;
    readonly nowSeconds: () => bigint;
  }) {
    this.key = options.key;
    this.heads = options.heads;
    this.#sign = options.sign;
    this.#keysOf = options.keysOf;
    this.#nowSeconds = options.nowSeconds;
  }

  /** The body of a request of C2SP tlog-witness. */
  async add(body: string): Promise<WitnessReply> {
    const request = parseAddCheckpoint(body);
    return typeof request === "string" ? { status: 400, reason: request } : this.witness(request);
  }

  /** Only what is kept is signed, and only then. */
  async witness(request: AddCheckpoint): Promise<WitnessReply> {
    const { note, checkpoint } = request;
    const { origin } = checkpoint;
    const keys = this.#keysOf(origin);
    if (keys === undefined) return { status: 404, reason: `nobody knows the log ${origin}` };
    const outcome = await this.heads.update(origin, formatNote(note), (head) =>
      witnessed(request, { keys, head }, means),
    );
    return outcome.status === 200 ? { status: 200, cosignatures: this.line(note.text) } : outcome;
  }

  /** The line of a signature of the last checkpoint, also again: it is still the last. */
  line(text: string): string {
    return cosign(text, { key: this.key, sign: this.#sign, timeSeconds: this.#nowSeconds() });
  }
}
