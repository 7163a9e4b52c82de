import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { SaltOf } from "../core/settlement/ledger/leaf.ts";
import { KeyFileError, openSigningKey, readSigningKey, type SigningKey } from "../io/signing.ts";
import type { OperatorKeys } from "./logs/open-sealed-log.ts";
import { openSalt } from "./salt.ts";

/** What only the operator may know. Who has it can sign as the operator; keep it apart from the ledger's backups. */
export interface Secrets {
  readonly keys: OperatorKeys;
  readonly saltOf: SaltOf;
  /** Where the operator keeps what it has witnessed of others' logs. */
  readonly witnessPath: string;
  /** Where it keeps what it has signed of its own. */
  readonly signedPath: string;
}

/** Keys of the operator that are needed when `operator.pem` is another than before. */
export interface EarlierKeyPaths {
  /** The key before, which says that the new one follows. */
  readonly previousKeyPath?: string | undefined;
  /** The key that speaks for the logs when theirs is lost. */
  readonly rootKeyPath?: string | undefined;
}

/** Names within the folder. */
export const secretFiles = {
  key: "operator.pem",
  salt: "leaves.salt",
  witnessed: "witnessed.sqlite",
  signed: "signed-heads",
} as const;

const folderMode = 0o700;

/** Reads `operator.pem` and `leaves.salt` of a folder, or makes them. */
export async function openSecrets(folder: string, paths: EarlierKeyPaths = {}): Promise<Secrets> {
  await mkdir(folder, { recursive: true, mode: folderMode });
  const { previousKeyPath, rootKeyPath } = paths;
  const previous = previousKeyPath === undefined ? undefined : await keyOf(previousKeyPath);
  const root = rootKeyPath === undefined ? undefined : await keyOf(rootKeyPath);
  const current = await openSigningKey(join(folder, secretFiles.key));
  return {
    keys: { current, ...(previous && { previous }), ...(root && { root }) },
    saltOf: await openSalt(join(folder, secretFiles.salt)),
    witnessPath: join(folder, secretFiles.witnessed),
    signedPath: join(folder, secretFiles.signed),
  };
}

/** A key that must be there: what is made now has signed nothing before. */
async function keyOf(path: string): Promise<SigningKey> {
  const key = await readSigningKey(path);
  if (key === undefined) throw new KeyFileError(`${path}: expected a key, found no file`);
  return key;
}
