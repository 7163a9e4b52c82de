import { createHmac, randomBytes } from "node:crypto";
import { link, open, readFile, rm } from "node:fs/promises";
import { dirname } from "node:path";
import type { SaltOf } from "../core/settlement/leaf.ts";
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
  const secret = Buffer.from(found.trim(), "hex");
  return (record) => createHmac("sha256", secret).update(record).digest("hex");
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
