import { fdatasync, write } from "node:fs";
import { mkdir, open, readdir, stat, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** A file of a folder of segments. */
export interface SegmentFile {
  readonly fd: number;
  read(
    buffer: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
  truncate(size: number): Promise<void>;
  sync(): Promise<void>;
  close(): Promise<void>;
}

/** What a disk does for segments: this one, the failing one of tests, and the virtual one of the simulation. */
export interface SegmentDisk {
  /** Makes the folder if there is none. */
  folder(path: string): Promise<void>;
  /** The files of a folder, in any order. */
  list(folder: string): Promise<readonly { readonly name: string; readonly size: number }[]>;
  /** `new` is empty, and its name is durable. */
  open(folder: string, name: string, mode: "new" | "write" | "read"): Promise<SegmentFile>;
  /** A whole file, durable when it resolves. */
  keep(folder: string, name: string, bytes: Uint8Array): Promise<void>;
  remove(folder: string, name: string): Promise<void>;
  /** Writes all bytes at the place, or throws. */
  write(file: SegmentFile, bytes: Uint8Array, at: number): Promise<void>;
  /** Resolves when all that was written is on the medium. A failure cannot be repaired by trying again. */
  sync(file: SegmentFile): Promise<void>;
  /** Resolves when everybody who has something to write by now has said so. */
  gather(): Promise<void>;
}

const modes = { new: "w+", write: "r+", read: "r" } as const;

/** By callbacks: the same calls of a file handle cost twice as much, and these are made for every request. */
export const systemDisk: SegmentDisk = {
  folder: async (path) => {
    await mkdir(path, { recursive: true });
  },
  list: async (folder) => {
    const names = await readdir(folder);
    return Promise.all(
      names.map(async (name) => ({ name, size: (await stat(join(folder, name))).size })),
    );
  },
  open: async (folder, name, mode) => {
    const file = await open(join(folder, name), modes[mode]);
    if (mode !== "new") return file;
    const directory = await open(folder, "r");
    await directory.sync();
    await directory.close();
    return file;
  },
  keep: (folder, name, bytes) => writeFile(join(folder, name), bytes, { flush: true }),
  remove: (folder, name) => unlink(join(folder, name)),
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
  // A turn of the loop.
  gather: () => new Promise((resolve) => void setImmediate(resolve)),
};

function writeSome(fd: number, bytes: Uint8Array, at: number): Promise<number> {
  return new Promise((resolve, reject) => {
    write(fd, bytes, 0, bytes.length, at, (error, count) =>
      error === null ? resolve(count) : reject(error),
    );
  });
}
