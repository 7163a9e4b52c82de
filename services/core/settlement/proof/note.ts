import { concat, fromBase64, toBase64, toHex, utf8 } from "./bytes.ts";
import type { HashBytes } from "./merkle.ts";

/** 32 bytes of an Ed25519 key, RFC 8032, in lower-case hex. */
export type PublicKey = string;

/** Over the UTF-8 of a text; 64 bytes. The algorithm is the machine's. */
export type Sign = (text: string) => Uint8Array;

/** False too for what is no key or no signature. */
export type Verify = (publicKey: PublicKey, text: string, signature: Uint8Array) => boolean;

/** What a signature says, by the byte that C2SP signed-note gave it. */
export const noteTypes = { signature: 0x01, cosignature: 0x04 } as const;

export type NoteType = keyof typeof noteTypes;

/** Whose signature it is and what it says. */
export interface NoteKey {
  /** Without spaces and plus; of a log its origin. */
  readonly name: string;
  readonly type: NoteType;
  readonly publicKey: PublicKey;
  /** 8 digits of hex; tells keys of one name apart. */
  readonly id: string;
}

export interface NoteSignature {
  readonly name: string;
  readonly id: string;
  readonly signature: Uint8Array;
}

/** C2SP signed-note: a text and who signed it. */
export interface Note {
  /** With its last line feed: what is signed. */
  readonly text: string;
  readonly signatures: readonly NoteSignature[];
}

/** The format asks for 16 at least. */
export const noteSignaturesMax = 64;
export const noteLengthMax = 65_536;

const idBytes = 4;
const publicKeyBytes = 32;
const dash = "\u2014 ";
const namePattern = /^[^\s\u0085+]+$/u;
const lineFeed = 0x0a;
const firstPrintable = 0x20;

export function isKeyName(name: string): boolean {
  return namePattern.test(name);
}

/** The key with its id: SHA-256(name ‖ LF ‖ type ‖ public key), the first 4 bytes. */
export function noteKey(key: Omit<NoteKey, "id">, sha256: HashBytes): NoteKey {
  const { name, type, publicKey } = key;
  const id = sha256(concat(utf8(`${name}\n`), typedKey(type, publicKey)));
  return { name, type, publicKey, id: id.slice(0, 2 * idBytes) };
}

/** `name+id+base64(type ‖ public key)`, as keys are handed on. */
export function formatKey({ name, type, publicKey, id }: NoteKey): string {
  return `${name}+${id}+${toBase64(typedKey(type, publicKey))}`;
}

/** A key, or what is wrong with the text. */
export function parseKey(text: string, sha256: HashBytes): NoteKey | string {
  const [, name = "", id = "", material = ""] = /^([^+]*)\+([^+]*)\+(.*)$/s.exec(text) ?? [];
  if (!isKeyName(name)) return `expected a key as name+id+base64, found ${shown(text)}`;
  const bytes = fromBase64(material);
  const [first, ...rest] = bytes ?? [];
  const type = typeOf(first);
  if (type === undefined || rest.length !== publicKeyBytes) {
    return `key ${name}: expected an Ed25519 key of type 1 or 4, found ${shown(material)}`;
  }
  const key = noteKey({ name, type, publicKey: toHex(Uint8Array.from(rest)) }, sha256);
  return key.id === id ? key : `key ${name}: expected id ${key.id}, found ${shown(id)}`;
}

export function formatNote({ text, signatures }: Note): string {
  return `${text}\n${signatures.map(formatSignature).join("")}`;
}

/** One line, with its line feed. */
export function formatSignature({ name, id, signature }: NoteSignature): string {
  const key = Uint8Array.from(id.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
  return `${dash}${name} ${toBase64(concat(key, signature))}\n`;
}

/** A note, or what is wrong with it. Nothing of it may be believed before a signature was verified. */
export function parseNote(note: string): Note | string {
  if (note.length > noteLengthMax) {
    return `expected a note of at most ${noteLengthMax} characters, found ${note.length}`;
  }
  if (hasControl(note)) return "expected no control characters in a note, found one";
  const end = note.lastIndexOf("\n\n");
  if (end < 0 || !note.endsWith("\n")) {
    return "expected a text, an empty line and signatures, each line with its end";
  }
  const signatures = parseSignatures(note.slice(end + 2));
  return typeof signatures === "string" ? signatures : { text: note.slice(0, end + 1), signatures };
}

/** Lines of signatures, at least one; or what is wrong with them. */
export function parseSignatures(text: string): NoteSignature[] | string {
  const lines = text.split("\n");
  if (lines.pop() !== "" || lines.length === 0) return "expected lines of signatures";
  if (lines.length > noteSignaturesMax) {
    return `expected at most ${noteSignaturesMax} signatures, found ${lines.length}`;
  }
  const signatures: NoteSignature[] = [];
  for (const line of lines) {
    const signature = parseSignature(line);
    if (signature === undefined) return `expected a line of a signature, found ${shown(line)}`;
    signatures.push(signature);
  }
  return signatures;
}

/** Besides the ends of lines. */
function hasControl(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code < firstPrintable && code !== lineFeed) return true;
  }
  return false;
}

function parseSignature(line: string): NoteSignature | undefined {
  if (!line.startsWith(dash)) return undefined;
  const [name = "", encoded = "", ...more] = line.slice(dash.length).split(" ");
  const bytes = fromBase64(encoded);
  if (!isKeyName(name) || more.length > 0 || bytes === undefined) return undefined;
  if (bytes.length <= idBytes) return undefined;
  return { name, id: toHex(bytes.slice(0, idBytes)), signature: bytes.slice(idBytes) };
}

function typeOf(byte: number | undefined): NoteType | undefined {
  if (byte === noteTypes.signature) return "signature";
  return byte === noteTypes.cosignature ? "cosignature" : undefined;
}

function typedKey(type: NoteType, publicKey: PublicKey): Uint8Array {
  const bytes = publicKey.match(/../g) ?? [];
  return Uint8Array.from([noteTypes[type], ...bytes.map((byte) => Number.parseInt(byte, 16))]);
}

const shownLengthMax = 80;

/** A text of somebody else, as far as it belongs into a message. */
export function shown(text: string): string {
  const short = text.length > shownLengthMax ? `${text.slice(0, shownLengthMax)}…` : text;
  return JSON.stringify(short);
}
