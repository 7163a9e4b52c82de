import type { PairId } from "../../units.ts";
import { fromBase64, fromHex, toBase64, toHex } from "./bytes.ts";
import type { Hash } from "./merkle.ts";
import { formatNote, shown, type NoteKey, type Sign } from "./note.ts";

/** C2SP tlog-checkpoint: what a log says of itself at a size. */
export interface Checkpoint {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Hash;
  /** Lines of other systems behind it; ours have none. */
  readonly extensions: readonly string[];
}

/** Sizes have 63 bits, as all that stores keep. */
const sizeMax = (1n << 63n) - 1n;
const hashBytes = 32;

/** `grid.example/tokengrid/vendor/northgrid` of the pair `vendor:northgrid`. */
export function originOf(domain: string, log: PairId | "internal"): string {
  return `${domain}/tokengrid/${log.replace(":", "/")}`;
}

/** The text that is signed. */
export function checkpointText(checkpoint: Checkpoint): string {
  const { origin, size, root, extensions } = checkpoint;
  const lines = [origin, size.toString(), hashText(root), ...extensions];
  return lines.map((line) => `${line}\n`).join("");
}

/** A checkpoint, or what is wrong with the text of a note. */
export function parseCheckpoint(text: string): Checkpoint | string {
  const lines = text.split("\n");
  const [origin = "", sizeText = "", rootText = "", ...extensions] = lines.slice(0, -1);
  if (lines.at(-1) !== "" || origin === "") {
    return `expected lines of origin, size and root, found ${shown(text)}`;
  }
  const size = parseSize(sizeText);
  if (size === undefined) return `expected a size as a decimal, found ${shown(sizeText)}`;
  const root = parseHash(rootText);
  if (root === undefined) return `expected a root as base64 of 32 bytes, found ${shown(rootText)}`;
  if (extensions.includes("")) return "expected no empty line in a checkpoint, found one";
  return { origin, size, root, extensions };
}

/** The note with the log's own signature. */
export function signCheckpoint(checkpoint: Checkpoint, key: NoteKey, sign: Sign): string {
  const text = checkpointText(checkpoint);
  const { name, id } = key;
  return formatNote({ text, signatures: [{ name, id, signature: sign(text) }] });
}

/** Decimal without leading zeros, of at most 63 bits. */
export function parseSize(text: string): bigint | undefined {
  if (!/^(?:0|[1-9]\d{0,18})$/.test(text)) return undefined;
  const size = BigInt(text);
  return size <= sizeMax ? size : undefined;
}

/** A hash as C2SP writes it. */
export function hashText(hash: Hash): string {
  return toBase64(fromHex(hash) ?? new Uint8Array());
}

export function parseHash(text: string): Hash | undefined {
  const bytes = fromBase64(text);
  return bytes?.length === hashBytes ? toHex(bytes) : undefined;
}
