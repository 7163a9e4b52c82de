import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  hash,
  randomUUID,
  sign as signBytes,
  verify as verifyBytes,
  type KeyObject,
} from "node:crypto";
import { constants } from "node:fs";
import { link, open, unlink, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";

/** Hex digest of bytes, or of a text's UTF-8. */
export function sha256(data: string | Uint8Array): string {
  return hash("sha256", data, "hex");
}

/** An Ed25519 key that can sign. */
export interface SigningKey {
  /** 32 bytes of RFC 8032, lower-case hex. */
  readonly publicKey: string;
  /** Over the UTF-8 of a text; 64 bytes. */
  readonly sign: (text: string) => Uint8Array;
}

/** A key file that is not what it should be. */
export class KeyFileError extends Error {
  override name = "KeyFileError";
}

const fileMode = 0o600;
const modeBits = 0o777;
/** A PEM file of an Ed25519 key has 119 bytes. */
const fileBytesMax = 4_096;
const publicKeysMax = 1_000;

/**
 * Reads the key of a PKCS #8 PEM file, or makes both; of several who make it at once, one does. Refuses a file that
 * others may read.
 */
export async function openSigningKey(path: string): Promise<SigningKey> {
  const there = await readSigningKey(path);
  if (there !== undefined) return there;
  await createKeyFile(path);
  const made = await readSigningKey(path);
  if (made === undefined) throw new KeyFileError(`${path}: expected the key that was made`);
  return made;
}

/** Undefined if there is no file. */
export async function readSigningKey(path: string): Promise<SigningKey | undefined> {
  const file = await openIfThere(path);
  if (file === undefined) return undefined;
  try {
    const { mode, size } = await file.stat();
    if ((mode & modeBits & ~fileMode) !== 0) {
      const found = (mode & modeBits).toString(8).padStart(4, "0");
      throw new KeyFileError(`${path}: expected mode 0600 of a private key, found ${found}`);
    }
    if (size > fileBytesMax) throw new KeyFileError(`${path}: expected a key, found ${size} bytes`);
    return fromPem(await file.readFile("utf8"), path);
  } finally {
    await file.close();
  }
}

/** A key that no file has, for tests and for keys that live as long as a process. */
export function newSigningKey(): SigningKey {
  return toSigningKey(generateKeyPairSync("ed25519").privateKey);
}

/** Whether the signature is the key's; false too for what is no key or no signature. */
export function verify(publicKey: string, text: string, signature: Uint8Array): boolean {
  const key = publicKeyOf(publicKey);
  return key !== undefined && verifyBytes(null, Buffer.from(text, "utf8"), key, signature);
}

/** Whole or not at all, and never in the place of another. */
async function createKeyFile(path: string): Promise<void> {
  const { privateKey } = generateKeyPairSync("ed25519");
  const temporary = `${path}.${process.pid}.${randomUUID()}`;
  const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
  const file = await open(temporary, flags, fileMode);
  try {
    await file.writeFile(privateKey.export({ format: "pem", type: "pkcs8" }));
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await link(temporary, path);
  } catch (error) {
    if (!hasCode(error, "EEXIST")) throw error;
  } finally {
    await unlink(temporary);
  }
  await syncFolder(dirname(path));
}

/** A name is durable when its folder is. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function openIfThere(path: string): Promise<FileHandle | undefined> {
  try {
    return await open(path, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    if (hasCode(error, "ENOENT")) return undefined;
    throw error;
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}

function fromPem(pem: string, path: string): SigningKey {
  let key: KeyObject;
  try {
    key = createPrivateKey(pem);
  } catch (cause) {
    throw new KeyFileError(`${path}: expected a private key as PKCS #8 PEM`, { cause });
  }
  if (key.asymmetricKeyType !== "ed25519") {
    throw new KeyFileError(`${path}: expected a key of Ed25519, found ${key.asymmetricKeyType}`);
  }
  return toSigningKey(key);
}

function toSigningKey(key: KeyObject): SigningKey {
  const { x = "" } = createPublicKey(key).export({ format: "jwk" });
  return {
    publicKey: Buffer.from(x, "base64url").toString("hex"),
    sign: (text) => Uint8Array.from(signBytes(null, Buffer.from(text, "utf8"), key)),
  };
}

const keyByHex = new Map<string, KeyObject>();

/** Kept: to read a key takes longer than to hash what it signed. */
function publicKeyOf(hex: string): KeyObject | undefined {
  const known = keyByHex.get(hex);
  if (known !== undefined) return known;
  if (!/^[0-9a-f]{64}$/.test(hex)) return undefined;
  const x = Buffer.from(hex, "hex").toString("base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  if (keyByHex.size >= publicKeysMax) keyByHex.clear();
  keyByHex.set(hex, key);
  return key;
}
