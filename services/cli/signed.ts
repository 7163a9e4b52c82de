import type { Command } from "commander";
import { signDetached } from "../core/settlement/proof/jws.ts";
import { readSigningKey } from "../io/signing.ts";
import { Failure } from "./outcome.ts";

export interface KeyOptions {
  readonly key: string;
  readonly kid: string;
}

export const keyHelp = "private key that signs, PKCS #8 PEM with mode 0600";
export const kidHelp = "name of the key, as it is on file";

/** Commands that sign have these, with the same names. */
export function withKey(command: Command): Command {
  return command.requiredOption("--key <file>", keyHelp).requiredOption("--kid <name>", kidHelp);
}

/** Signs texts with the key of a file, each for what `typ` says. */
export async function openSigner(
  { key: path, kid }: KeyOptions,
  typ: string,
): Promise<(text: string) => string> {
  const key = await readSigningKey(path);
  if (key === undefined) throw new Failure(`${path}: expected a key, found no file`);
  return (text) => signDetached(text, { kid, typ }, (payload) => key.sign(payload));
}
