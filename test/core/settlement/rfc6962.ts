import { createHash } from "node:crypto";

/**
 * The tree as RFC 6962 § 2.1 defines it: recursive, on bytes, of whole lists. It shares nothing with the product, so
 * that both agree only if both are right.
 */
export function mth(entries: readonly Buffer[]): Buffer {
  const [first] = entries;
  if (first === undefined) return sha(Buffer.alloc(0));
  if (entries.length === 1) return sha(Buffer.from([0]), first);
  const k = split(entries.length);
  return sha(Buffer.from([1]), mth(entries.slice(0, k)), mth(entries.slice(k)));
}

/** PATH(m, D[n]) of § 2.1.1. */
export function path(m: number, entries: readonly Buffer[]): Buffer[] {
  if (entries.length <= 1) return [];
  const k = split(entries.length);
  return m < k
    ? [...path(m, entries.slice(0, k)), mth(entries.slice(k))]
    : [...path(m - k, entries.slice(k)), mth(entries.slice(0, k))];
}

/** PROOF(m, D[n]) of § 2.1.2. */
export function proof(m: number, entries: readonly Buffer[]): Buffer[] {
  return subproof(m, entries, true);
}

function subproof(m: number, entries: readonly Buffer[], isWhole: boolean): Buffer[] {
  const n = entries.length;
  if (m === n) return isWhole ? [] : [mth(entries)];
  const k = split(n);
  return m <= k
    ? [...subproof(m, entries.slice(0, k), isWhole), mth(entries.slice(k))]
    : [...subproof(m - k, entries.slice(k), false), mth(entries.slice(0, k))];
}

/** The root that a path leads to: down the tree by its size, taking hashes from the path's end. */
export function rootByPath(
  leaf: Buffer,
  place: { readonly index: number; readonly size: number },
  hashes: readonly Buffer[],
): Buffer | undefined {
  const { index, size } = place;
  if (index < 0 || index >= size) return undefined;
  if (size === 1) return hashes.length === 0 ? leaf : undefined;
  const sibling = hashes.at(-1);
  if (sibling === undefined) return undefined;
  const k = split(size);
  const rest = hashes.slice(0, -1);
  const isLeft = index < k;
  const own = isLeft
    ? rootByPath(leaf, { index, size: k }, rest)
    : rootByPath(leaf, { index: index - k, size: size - k }, rest);
  if (own === undefined) return undefined;
  return isLeft ? sha(Buffer.from([1]), own, sibling) : sha(Buffer.from([1]), sibling, own);
}

/** The roots of both sizes that a proof leads to, by the structure of § 2.1.2. */
export function rootsByProof(
  sizes: { readonly old: number; readonly size: number },
  oldRoot: Buffer,
  hashes: readonly Buffer[],
): { readonly old: Buffer; readonly whole: Buffer } | undefined {
  const walk = (
    m: number,
    n: number,
    left: readonly Buffer[],
    isWhole: boolean,
  ): { readonly old: Buffer; readonly whole: Buffer } | undefined => {
    if (m === n) {
      const known = isWhole ? oldRoot : left[0];
      const isExact = left.length === (isWhole ? 0 : 1);
      return known === undefined || !isExact ? undefined : { old: known, whole: known };
    }
    const sibling = left.at(-1);
    if (sibling === undefined) return undefined;
    const k = split(n);
    const rest = left.slice(0, -1);
    if (m <= k) {
      const below = walk(m, k, rest, isWhole);
      return below && { old: below.old, whole: sha(Buffer.from([1]), below.whole, sibling) };
    }
    const below = walk(m - k, n - k, rest, false);
    return (
      below && {
        old: sha(Buffer.from([1]), sibling, below.old),
        whole: sha(Buffer.from([1]), sibling, below.whole),
      }
    );
  };
  return walk(sizes.old, sizes.size, hashes, true);
}

export function leafHash(entry: Buffer): Buffer {
  return sha(Buffer.from([0]), entry);
}

function split(n: number): number {
  return 2 ** Math.ceil(Math.log2(n) - 1);
}

function sha(...parts: readonly Buffer[]): Buffer {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest();
}
