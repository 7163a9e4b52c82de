import type { SegmentDisk, SegmentFile } from "../../services/io/segment-disk.ts";
import { never, type Process, type Run } from "./settlement-time.ts";

/** What stands in a file, and how much of it is on the medium. */
interface Content {
  bytes: Buffer;
  size: number;
  durable: number;
}

/**
 * The disk of a gateway. It outlives the gateway's processes: what was not synced when one dies may be gone, or torn in the
 * middle.
 */
export class VirtualDisk {
  readonly #run: Run;
  readonly #files = new Map<string, Content>();
  isFull = false;
  /** So many syncs fail from now on. */
  syncFailures = 0;

  constructor(run: Run) {
    this.#run = run;
  }

  /** A crash of the machine. */
  crash(): void {
    for (const content of this.#files.values()) {
      content.size = this.#run.between(content.durable, content.size);
      content.durable = content.size;
    }
  }

  get bytes(): number {
    return [...this.#files.values()].reduce((sum, { size }) => sum + size, 0);
  }

  /** As one process sees it: dead, it does nothing any more. */
  of(process: Process): SegmentDisk {
    const alive = async <Result>(work: () => Result): Promise<Result> =>
      process.isAlive ? work() : never<Result>();
    const open = (path: string, mode: "new" | "write" | "read"): SegmentFile => {
      if (mode === "new")
        this.#files.set(path, { bytes: Buffer.alloc(1_024), size: 0, durable: 0 });
      const content = this.#content(path);
      return {
        fd: 0,
        read: (buffer, offset, length, position) =>
          alive(() => {
            const end = Math.min(position + length, content.size);
            const bytesRead = Math.max(0, end - position);
            content.bytes.copy(buffer, offset, position, position + bytesRead);
            return { bytesRead };
          }),
        truncate: (size) =>
          alive(() => {
            content.size = size;
            content.durable = Math.min(content.durable, size);
          }),
        sync: () =>
          alive(() => {
            content.durable = content.size;
          }),
        close: () => alive(() => undefined),
      };
    };
    const contents = new WeakMap<SegmentFile, Content>();
    return {
      folder: () => alive(() => undefined),
      list: (folder) =>
        alive(() =>
          [...this.#files]
            .filter(([path]) => path.startsWith(`${folder}/`))
            .map(([path, { size }]) => ({ name: path.slice(folder.length + 1), size })),
        ),
      open: (folder, name, mode) =>
        alive(() => {
          const file = open(`${folder}/${name}`, mode);
          contents.set(file, this.#content(`${folder}/${name}`));
          return file;
        }),
      keep: (folder, name, bytes) =>
        alive(() => {
          const [copy, size] = [Buffer.from(bytes), bytes.length];
          this.#files.set(`${folder}/${name}`, { bytes: copy, size, durable: size });
        }),
      remove: (folder, name) => alive(() => void this.#files.delete(`${folder}/${name}`)),
      write: async (file, bytes, at) => {
        await process.wait(this.#run.between(0, 1));
        const taken = this.isFull ? bytes.length >> 1 : bytes.length;
        this.#write(contents.get(file), bytes.subarray(0, taken), at);
        if (this.isFull) throw new Error("ENOSPC: no space left on device");
      },
      sync: async (file) => {
        await process.wait(this.#run.between(1, 4));
        if (this.syncFailures > 0) {
          this.syncFailures -= 1;
          throw new Error("EIO: i/o error, fdatasync");
        }
        const content = contents.get(file);
        if (content !== undefined) content.durable = content.size;
      },
      gather: () => process.wait(0),
    };
  }

  #content(path: string): Content {
    const content = this.#files.get(path);
    if (content === undefined) throw new Error(`ENOENT: no such file or directory, open '${path}'`);
    return content;
  }

  #write(content: Content | undefined, bytes: Uint8Array, at: number): void {
    if (content === undefined) throw new Error("EBADF: bad file descriptor");
    const end = at + bytes.length;
    if (end > content.bytes.length) {
      const grown = Buffer.alloc(Math.max(end, 2 * content.bytes.length));
      content.bytes.copy(grown);
      content.bytes = grown;
    }
    content.bytes.set(bytes, at);
    content.size = Math.max(content.size, end);
  }
}
