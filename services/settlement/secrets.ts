import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { SaltOf } from "../core/settlement/leaf.ts";
import { openSigningKey, type SigningKey } from "../io/signing.ts";
import { openSalt } from "./salt.ts";

/** What only the operator may know. Who has it can sign as the operator; keep it apart from the ledger's backups. */
export interface Secrets {
  readonly key: SigningKey;
  readonly saltOf: SaltOf;
  /** Where the operator keeps what it has witnessed of others' logs. */
  readonly witnessPath: string;
}

const folderMode = 0o700;

/** Reads `operator.pem` and `leaves.salt` of a folder, or makes them. */
export async function openSecrets(folder: string): Promise<Secrets> {
  await mkdir(folder, { recursive: true, mode: folderMode });
  return {
    key: await openSigningKey(join(folder, "operator.pem")),
    saltOf: await openSalt(join(folder, "leaves.salt")),
    witnessPath: join(folder, "witnessed.sqlite"),
  };
}
