import { systemDisk, type SegmentDisk, type SegmentFile } from "./segment-disk.ts";
import {
  scanAt,
  segmentName,
  type Damage,
  type Position,
  type StoredRecord,
} from "./segment-records.ts";

const windowBytes = 256 * 1024;

interface Part {
  readonly folder: string;
  readonly disk?: SegmentDisk;
  /** Of the file's first byte. */
  readonly base: Position;
  readonly from: Position;
  readonly until: Position;
  readonly onDamage: (damage: Damage) => void;
}

/** The records of one file between two positions. Holds one window of it, or one record if that is larger. */
export async function* readSegment(part: Part): AsyncGenerator<StoredRecord> {
  const { folder, base, until, onDamage, disk = systemDisk } = part;
  const file = await disk.open(folder, segmentName(base), "read");
  try {
    let from = part.from;
    let wanted = windowBytes;
    while (from < until) {
      const length = Math.min(wanted, until - from);
      const bytes = await load(file, from - base, length);
      const isLast = from + bytes.length >= until || bytes.length < length;
      if (bytes.length === 0) return;
      let offset = 0;
      wanted = windowBytes;
      while (offset < bytes.length) {
        const found = scanAt(bytes, offset, { base: from, isLast });
        if (found.kind === "incomplete") {
          wanted = Math.max(windowBytes, found.bytesWanted);
          break;
        }
        if (found.kind === "record") yield found.record;
        else onDamage(found.damage);
        offset += found.kind === "record" ? found.record.next - from - offset : found.damage.bytes;
      }
      from += offset;
    }
  } finally {
    await file.close();
  }
}

async function load(file: SegmentFile, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.allocUnsafe(length);
  let filled = 0;
  while (filled < length) {
    const { bytesRead } = await file.read(bytes, filled, length - filled, at + filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return bytes.subarray(0, filled);
}
