import { hash, randomBytes } from "node:crypto";
import { link, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { SaltOf } from "../core/settlement/ledger/leaf.ts";
import { syncFolder } from "../io/signing.ts";

const secretBytes = 32;
const secretForm = /^[0-9a-f]{64}\n$/;
const fileMode = 0o600;

/** A file that holds no secret. */
export class SaltFileError extends Error {
  override name = "SaltFileError";
}

/**
 * Salts of leaves, one for each record, from a secret in a file that is made if there is none. Who has lost the file cannot
 * open in a dispute what its leaves commit to; who has read it can guess whom they are of.
 */
export async function openSalt(path: string): Promise<SaltOf> {
  const found = (await secretIn(path)) ?? (await createSecret(path));
  return hmacBy(Buffer.from(found.trim(), "hex"));
}

const blockBytes = 64;

/** HMAC-SHA-256, RFC 2104, in two hashes at once each: a key object would cost more than both. */
export function hmacBy(key: Uint8Array): SaltOf {
  const padded = Buffer.alloc(blockBytes);
  padded.set(key);
  const inner = padded.map((each) => each ^ 0x36);
  const outer = padded.map((each) => each ^ 0x5c);
  return (record) => {
    const digest = hash("sha256", Buffer.concat([inner, Buffer.from(record)]), "buffer");
    return hash("sha256", Buffer.concat([outer, digest]), "hex");
  };
}

async function secretIn(path: string): Promise<string | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  if (secretForm.test(text)) return text;
  throw new SaltFileError(`${path}: expected ${secretBytes} bytes as lower-case hex`);
}

/** Whole or not at all, and durable before the first leaf is made with it. */
async function createSecret(path: string): Promise<string> {
  const draft = `${path}.${randomBytes(8).toString("hex")}`;
  const file = await open(draft, "wx", fileMode);
  await file.writeFile(`${randomBytes(secretBytes).toString("hex")}\n`);
  await file.sync();
  await file.close();
  try {
    // Unlike a rename it leaves a secret alone that somebody else has made meanwhile.
    await link(draft, path).catch((error: unknown) => {
      if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
    });
  } finally {
    await rm(draft);
  }
  await syncFolder(dirname(path));
  const made = await secretIn(path);
  if (made === undefined) throw new SaltFileError(`${path}: was made and is gone`);
  return made;
}
