import { concat } from "./bytes.ts";
import { formatSignature, type Note, type NoteKey, type Sign, type Verify } from "./note.ts";

/** A key whose signature of a note was verified. */
export interface Signer {
  readonly key: NoteKey;
  /** When a witness signed, in seconds since the Unix epoch; undefined for a signature without a time. */
  readonly timeSeconds: bigint | undefined;
}

const timeBytes = 8;
const signatureBytes = 64;
const timeMax = (1n << 63n) - 1n;

/** C2SP tlog-cosignature: the line of a witness's signature of a checkpoint's text. */
export function cosign(
  text: string,
  witness: { readonly key: NoteKey; readonly sign: Sign; readonly timeSeconds: bigint },
): string {
  const { key, sign, timeSeconds } = witness;
  const time = new Uint8Array(timeBytes);
  for (let at = 0; at < timeBytes; at += 1) {
    time[at] = Number((timeSeconds >> BigInt(8 * (timeBytes - 1 - at))) & 0xffn);
  }
  const signature = concat(time, sign(cosignedText(text, timeSeconds)));
  return formatSignature({ name: key.name, id: key.id, signature });
}

/**
 * Which of the keys signed the note. Signatures of others are passed over; a wrong one under the name and id of a
 * known key makes the whole note wrong: then it says what it found.
 */
export function signersOf(note: Note, keys: readonly NoteKey[], verify: Verify): Signer[] | string {
  const signers: Signer[] = [];
  for (const { name, id, signature } of note.signatures) {
    const key = keys.find((each) => each.name === name && each.id === id);
    if (key === undefined || signers.some((each) => each.key === key)) continue;
    const signer = verified(key, note.text, signature, verify);
    if (signer === undefined)
      return `expected a signature of ${name}+${id}, found one that is wrong`;
    signers.push(signer);
  }
  return signers;
}

function verified(
  key: NoteKey,
  text: string,
  bytes: Uint8Array,
  verify: Verify,
): Signer | undefined {
  if (key.type === "signature") {
    const isGood = bytes.length === signatureBytes && verify(key.publicKey, text, bytes);
    return isGood ? { key, timeSeconds: undefined } : undefined;
  }
  if (bytes.length !== timeBytes + signatureBytes) return undefined;
  const timeSeconds = bytes
    .slice(0, timeBytes)
    .reduce((time, byte) => (time << 8n) | BigInt(byte), 0n);
  if (timeSeconds > timeMax) return undefined;
  const signed = cosignedText(text, timeSeconds);
  return verify(key.publicKey, signed, bytes.slice(timeBytes)) ? { key, timeSeconds } : undefined;
}

function cosignedText(text: string, timeSeconds: bigint): string {
  return `cosignature/v1\ntime ${timeSeconds}\n${text}`;
}
