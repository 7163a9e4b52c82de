import type { Value } from "./sql-driver.ts";

const oids = { bigint: 20, string: 25 } as const;
const headerBytes = 20;
const lengthBytes = 4;
const bigintBytes = 8;

/** A column of values as PostgreSQL's binary array: nothing is escaped, and nothing is parsed on the other side. */
export function postgresArray(values: readonly Value[]): Buffer {
  const isText = typeof values[0] === "string";
  let size = headerBytes + values.length * lengthBytes;
  for (const value of values) {
    size += typeof value === "string" ? Buffer.byteLength(value) : bigintBytes;
  }
  const bytes = Buffer.allocUnsafe(size);
  // Dimensions, no nulls, type, length, first index.
  for (const [at, word] of [1, 0, isText ? oids.string : oids.bigint, values.length, 1].entries()) {
    bytes.writeInt32BE(word, at * 4);
  }
  let at = headerBytes;
  for (const value of values) {
    if (typeof value === "string") {
      const length = bytes.write(value, at + lengthBytes);
      bytes.writeInt32BE(length, at);
      at += lengthBytes + length;
    } else {
      bytes.writeInt32BE(bigintBytes, at);
      bytes.writeBigInt64BE(value, at + lengthBytes);
      at += lengthBytes + bigintBytes;
    }
  }
  return bytes;
}
