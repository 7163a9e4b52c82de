import { crc32 } from "node:zlib";

/** Bytes since the first record ever written to the folder. Only grows, also over a restart. */
export type Position = number;

/** Of the file whose first byte has the position. */
export function segmentName(base: Position): string {
  return `${String(base).padStart(16, "0")}.seg`;
}

/** A part of a segment that holds no record any more. */
export interface Damage {
  readonly position: Position;
  readonly bytes: number;
  /** `torn-tail`: the last write was cut. `flipped`: a check sum does not fit. */
  readonly reason: "torn-tail" | "flipped";
}

export interface StoredRecord {
  readonly position: Position;
  readonly bytes: Buffer;
  /** Where the next one begins. */
  readonly next: Position;
}

export type Scanned =
  | { readonly kind: "record"; readonly record: StoredRecord }
  | { readonly kind: "damage"; readonly damage: Damage }
  /** A header that fits, and fewer bytes than it promises. */
  | { readonly kind: "incomplete"; readonly position: Position; readonly bytesWanted: number };

/** Before each record: mark, length, check sum of the record, check sum of these twelve bytes. */
export const headerBytes = 16;
export const recordBytesMax = 16 * 1024 * 1024;

const mark = 0x74677231;

/**
 * The header's check sum is seeded with the position, so that a record which somebody else's record carries
 * inside is never taken for one when the reader looks for its way after damage.
 */
export function headerOf(record: Uint8Array, position: Position): Buffer {
  const header = Buffer.allocUnsafe(headerBytes);
  header.writeUInt32BE(mark, 0);
  header.writeUInt32BE(record.length, 4);
  header.writeUInt32BE(crc32(record), 8);
  header.writeUInt32BE(crc32(header.subarray(0, 12), seedOf(position)), 12);
  return header;
}

/** What stands at `offset` of bytes that begin at `base`. `isLast` says that no byte follows them. */
export function scanAt(
  bytes: Buffer,
  offset: number,
  options: { readonly base: Position; readonly isLast: boolean },
): Scanned {
  const { base, isLast } = options;
  const position = base + offset;
  if (bytes.length - offset < headerBytes) {
    return isLast
      ? { kind: "damage", damage: { position, bytes: bytes.length - offset, reason: "torn-tail" } }
      : { kind: "incomplete", position, bytesWanted: headerBytes };
  }
  if (!hasHeader(bytes, offset, position)) return lost(bytes, offset, options);
  const start = offset + headerBytes;
  const end = start + bytes.readUInt32BE(offset + 4);
  if (end > bytes.length) {
    return isLast
      ? { kind: "damage", damage: { position, bytes: bytes.length - offset, reason: "torn-tail" } }
      : { kind: "incomplete", position, bytesWanted: end - offset };
  }
  const record = bytes.subarray(start, end);
  if (crc32(record) !== bytes.readUInt32BE(offset + 8)) {
    return { kind: "damage", damage: { position, bytes: end - offset, reason: "flipped" } };
  }
  return { kind: "record", record: { position, bytes: record, next: base + end } };
}

/** From here to the next header that fits its place, or to the end. */
function lost(
  bytes: Buffer,
  offset: number,
  { base, isLast }: { readonly base: Position; readonly isLast: boolean },
): Scanned {
  let next = offset + 1;
  while (next + headerBytes <= bytes.length && !hasHeader(bytes, next, base + next)) next += 1;
  const isFound = next + headerBytes <= bytes.length;
  const end = isFound || !isLast ? next : bytes.length;
  return {
    kind: "damage",
    damage: { position: base + offset, bytes: end - offset, reason: "flipped" },
  };
}

function hasHeader(bytes: Buffer, offset: number, position: Position): boolean {
  return (
    bytes.readUInt32BE(offset) === mark &&
    bytes.readUInt32BE(offset + 4) <= recordBytesMax &&
    crc32(bytes.subarray(offset, offset + 12), seedOf(position)) === bytes.readUInt32BE(offset + 12)
  );
}

function seedOf(position: Position): number {
  return position % 2 ** 32;
}
