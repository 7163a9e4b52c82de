import type { FileHandle } from "node:fs/promises";

/** What a disk does for segments. Two exist: this one, and the failing one of the tests. */
export interface SegmentDisk {
  /** Writes all bytes at the place, or throws. */
  write(file: FileHandle, bytes: Uint8Array, at: number): Promise<void>;
  /** Resolves when all that was written is on the medium. A failure cannot be repaired by trying again. */
  sync(file: FileHandle): Promise<void>;
}

export const systemDisk: SegmentDisk = {
  write: async (file, bytes, at) => {
    let written = 0;
    while (written < bytes.length) {
      const { bytesWritten } = await file.write(
        bytes,
        written,
        bytes.length - written,
        at + written,
      );
      written += bytesWritten;
    }
  },
  sync: (file) => file.datasync(),
};
