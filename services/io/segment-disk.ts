import { fdatasync, write } from "node:fs";
import type { FileHandle } from "node:fs/promises";

/** What a disk does for segments. Two exist: this one, and the failing one of the tests. */
export interface SegmentDisk {
  /** Writes all bytes at the place, or throws. */
  write(file: FileHandle, bytes: Uint8Array, at: number): Promise<void>;
  /** Resolves when all that was written is on the medium. A failure cannot be repaired by trying again. */
  sync(file: FileHandle): Promise<void>;
}

/** By callbacks: the same calls of a file handle cost twice as much, and these are made for every request. */
export const systemDisk: SegmentDisk = {
  write: async (file, bytes, at) => {
    let written = 0;
    while (written < bytes.length) {
      written += await writeSome(file.fd, bytes.subarray(written), at + written);
    }
  },
  sync: (file) =>
    new Promise((resolve, reject) => {
      fdatasync(file.fd, (error) => (error === null ? resolve() : reject(error)));
    }),
};

function writeSome(fd: number, bytes: Uint8Array, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, at, (error, count) =>
      error === null ? resolve(count) : reject(error),
    );
  });
}
