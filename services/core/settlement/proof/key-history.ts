import type { InstantUs } from "../../units.ts";
import { fromBase64, toBase64 } from "./bytes.ts";
import { canonicalJson } from "../canonical.ts";
import { shown, type PublicKey, type Sign, type Verify } from "./note.ts";

/** A log's key gives way to another, from the leaf that says so on. */
export interface KeyRotation {
  readonly origin: string;
  /** Dense from 1 within a log. */
  readonly rev: bigint;
  readonly from: PublicKey;
  readonly to: PublicKey;
  /** Whose word it is: the key that goes, or the root key when that one is lost or in wrong hands. */
  readonly by: "old" | "root";
  readonly reason: string;
  readonly atUs: InstantUs;
}

/** Which key signs for a log at which size. */
export interface KeyHistory {
  readonly origin: string;
  /** Never signs a checkpoint, and is never replaced by a leaf. */
  readonly root: PublicKey | undefined;
  /** In order of size; the first from 0 on. */
  readonly spans: readonly KeySpan[];
}

export interface KeySpan {
  /** The smallest size of a checkpoint that it signs. */
  readonly fromSize: bigint;
  readonly key: PublicKey;
}

const prefix = "tokengrid-key-rotation\n";

/** The leaf of a rotation: the new key signs too, so that nobody is given a key that he does not have. */
export function rotationText(
  rotation: KeyRotation,
  signs: { readonly authority: Sign; readonly successor: Sign },
): string {
  const signed = `${prefix}${canonicalJson(membersOf(rotation))}`;
  return canonicalJson({
    ...membersOf(rotation),
    signature: toBase64(signs.authority(signed)),
    to_signature: toBase64(signs.successor(signed)),
  });
}

/** A log's first key, by which its history begins. */
export function firstKey(log: {
  readonly origin: string;
  readonly key: PublicKey;
  readonly root: PublicKey | undefined;
}): KeyHistory {
  const { origin, key, root } = log;
  return { origin, root, spans: [{ fromSize: 0n, key }] };
}

/** The history with one more rotation, which is the leaf at an index; or what is wrong with it. */
export function afterRotation(
  history: KeyHistory,
  leaf: { readonly index: bigint; readonly text: string },
  verify: Verify,
): KeyHistory | string {
  const found = parseRotation(leaf.text);
  if (typeof found === "string") return found;
  const { rotation, signature, toSignature } = found;
  const rev = BigInt(history.spans.length);
  const current = history.spans.at(-1);
  const isNext =
    rotation.origin === history.origin &&
    rotation.rev === rev &&
    rotation.from === current?.key &&
    current.fromSize <= leaf.index;
  if (!isNext) return `expected rotation ${rev} of the key of ${history.origin}, found another`;
  const authority = rotation.by === "old" ? rotation.from : history.root;
  const signed = `${prefix}${canonicalJson(membersOf(rotation))}`;
  if (authority === undefined || !verify(authority, signed, signature)) {
    return `rotation ${rev} of the key of ${history.origin}: not signed by the ${rotation.by} key`;
  }
  if (!verify(rotation.to, signed, toSignature)) {
    return `rotation ${rev} of the key of ${history.origin}: not signed by the new key`;
  }
  const span: KeySpan = { fromSize: leaf.index + 1n, key: rotation.to };
  return { ...history, spans: [...history.spans, span] };
}

/** The key that signs a checkpoint of a size. */
export function keyAt(history: KeyHistory, size: bigint): PublicKey | undefined {
  return history.spans.findLast(({ fromSize }) => fromSize <= size)?.key;
}

function membersOf({ origin, rev, from, to, by, reason, atUs }: KeyRotation) {
  return { type: "key", v: 1n, origin, rev, from, to, by, reason, at_us: atUs };
}

interface SignedRotation {
  readonly rotation: KeyRotation;
  readonly signature: Uint8Array;
  readonly toSignature: Uint8Array;
}

function parseRotation(text: string): SignedRotation | string {
  const members = parsed(text);
  const word = (name: string): string => {
    const value = members[name];
    return typeof value === "string" ? value : "";
  };
  const by = word("by");
  const isRotation = word("type") === "key" && word("v") === "1" && (by === "old" || by === "root");
  const [signature, toSignature] = [
    fromBase64(word("signature")),
    fromBase64(word("to_signature")),
  ];
  const isWhole = /^\d{1,18}$/.test(word("rev")) && /^\d{1,18}$/.test(word("at_us"));
  if (!isRotation || !isWhole || signature === undefined || toSignature === undefined) {
    return `expected a rotation of a key, found ${shown(text)}`;
  }
  const rotation: KeyRotation = {
    origin: word("origin"),
    rev: BigInt(word("rev")),
    from: word("from"),
    to: word("to"),
    by,
    reason: word("reason"),
    atUs: BigInt(word("at_us")),
  };
  return { rotation, signature, toSignature };
}

function parsed(text: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null
      ? Object.fromEntries(Object.entries(value))
      : {};
  } catch {
    return {};
  }
}
