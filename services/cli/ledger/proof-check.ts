import { hashText } from "../../core/settlement/proof/checkpoint.ts";
import { treeHash } from "../../core/settlement/proof/merkle.ts";
import { parsePolicy } from "../../core/settlement/proof/tlog-policy.ts";
import {
  parseTlogProof,
  verifyTlogProof,
  type Proven,
} from "../../core/settlement/proof/tlog-proof.ts";
import { ConfigError } from "../../io/config.ts";
import { sha256, verify } from "../../io/signing.ts";

/** Texts of the files. */
export interface ProofFiles {
  /** The leaf, as its bytes were hashed; the end of the file may have a line feed more. */
  readonly record: string;
  readonly proof: string;
  /** C2SP tlog-policy, or keys alone on their lines. Lines of parties, which `statement verify` reads, are left out. */
  readonly keys: string;
}

/** That a record is in a log, by public keys and nothing else; or why that is not shown. Throws for keys that are none. */
export function checkProof({ record, proof: text, keys }: ProofFiles): Proven | string {
  const policy = parsePolicy(keys.replaceAll(/^\s*party\s.*$/gm, ""), sha256);
  if (typeof policy === "string") throw new ConfigError("--keys", [policy]);
  const proof = parseTlogProof(text);
  if (typeof proof === "string") return proof;
  const means = { tree: treeHash(sha256), verify };
  const exact = verifyTlogProof({ proof, leaf: record, policy }, means);
  if (typeof exact !== "string" || !record.endsWith("\n")) return exact;
  // Editors end a file with a line feed, which canonical text never has.
  const trimmed = verifyTlogProof({ proof, leaf: record.slice(0, -1), policy }, means);
  return typeof trimmed === "string" ? exact : trimmed;
}

/** What a proof showed, as JSON. */
export function provenJson({ index, checkpoint, signers }: Proven) {
  const { origin, size, root } = checkpoint;
  return {
    verdict: "proven",
    origin,
    index: index.toString(),
    size: size.toString(),
    root: hashText(root),
    signers: signers.map(({ key, timeSeconds }) => ({
      name: key.name,
      id: key.id,
      ...(timeSeconds === undefined ? {} : { time_seconds: timeSeconds.toString() }),
    })),
  };
}
