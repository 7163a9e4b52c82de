import { fromBase64, toBase64 } from "./bytes.ts";
import { hashText, parseCheckpoint, parseSize, type Checkpoint } from "./checkpoint.ts";
import { signersOf, type Signer } from "./cosignature.ts";
import { verifyInclusion, type Hash } from "./merkle.ts";
import { parseNote, shown } from "./note.ts";
import { hasQuorum, type TlogPolicy } from "./tlog-policy.ts";
import { parsePath, type Means } from "./witness.ts";

/** C2SP tlog-proof: all that shows offline that a leaf is in a log. */
export interface TlogProof {
  readonly index: bigint;
  /** From the leaf's sibling to the root's child. */
  readonly path: readonly Hash[];
  /** The signed note, as the log wrote it. */
  readonly checkpoint: string;
  /** Of the application, and proven by nothing; ours have none. */
  readonly extra?: Uint8Array;
}

/** What a proof showed. */
export interface Proven {
  readonly index: bigint;
  readonly checkpoint: Checkpoint;
  /** The log, and each witness of the policy that signed. */
  readonly signers: readonly Signer[];
}

const header = "c2sp.org/tlog-proof@v1";

export function formatTlogProof({ index, path, checkpoint, extra }: TlogProof): string {
  const lines = [
    header,
    ...(extra === undefined ? [] : [`extra ${toBase64(extra)}`]),
    `index ${index}`,
    ...path.map(hashText),
  ];
  return `${lines.join("\n")}\n\n${checkpoint}`;
}

/** A proof, or what is wrong with the text. */
export function parseTlogProof(text: string): TlogProof | string {
  const end = text.indexOf("\n\n");
  const [first, ...lines] = text.slice(0, Math.max(end, 0)).split("\n");
  if (first !== header) return `expected ${header} in the first line, found ${shown(first ?? "")}`;
  const extraLine = lines[0]?.startsWith("extra ") === true ? lines.shift() : undefined;
  const extra = extraLine === undefined ? undefined : fromBase64(extraLine.slice("extra ".length));
  if (extraLine !== undefined && extra === undefined) return "expected base64 behind extra";
  const indexLine = lines.shift() ?? "";
  const index = indexLine.startsWith("index ")
    ? parseSize(indexLine.slice("index ".length))
    : undefined;
  if (index === undefined) return `expected a line of an index, found ${shown(indexLine)}`;
  const path = parsePath(lines);
  if (typeof path === "string") return path;
  return {
    index,
    path,
    checkpoint: text.slice(end + 2),
    ...(extra === undefined ? {} : { extra }),
  };
}

/** That the log has the leaf, by the keys of a policy and nothing else; or why that is not shown. */
export function verifyTlogProof(
  claim: { readonly proof: TlogProof; readonly leaf: string; readonly policy: TlogPolicy },
  { tree, verify }: Means,
): Proven | string {
  const { proof, leaf, policy } = claim;
  const note = parseNote(proof.checkpoint);
  if (typeof note === "string") return note;
  const checkpoint = parseCheckpoint(note.text);
  if (typeof checkpoint === "string") return checkpoint;
  const { origin, size, root } = checkpoint;
  const logs = policy.logs.filter((key) => key.name === origin);
  if (logs.length === 0) return `no key is given for the log ${shown(origin)}`;
  const signers = signersOf(note, [...logs, ...policy.witnesses], verify);
  if (typeof signers === "string") return signers;
  const keys = new Set(signers.map(({ key }) => key));
  if (!logs.some((key) => keys.has(key))) {
    return `expected a signature of the log ${shown(origin)}, found none`;
  }
  if (!hasQuorum(policy, keys)) {
    return `expected signatures of the witnesses that are asked for, found too few`;
  }
  const { index, path } = proof;
  const isIncluded = verifyInclusion({ index, size, leaf: tree.leaf(leaf), root, path }, tree);
  if (!isIncluded) return `the leaf is not at index ${index} of the log ${shown(origin)}`;
  return { index, checkpoint, signers };
}
