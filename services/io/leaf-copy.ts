import { mkdir, open, readFile, rename, truncate, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import { parseCheckpoint, type Checkpoint } from "../core/settlement/proof/checkpoint.ts";
import { Frontier, treeHash, type Hash } from "../core/settlement/proof/merkle.ts";
import { parseNote } from "../core/settlement/proof/note.ts";
import {
  perfectRoot,
  TileEdge,
  tileHashes,
  tileHeight,
  type Tile,
} from "../core/settlement/proof/tiles.ts";
import { sha256, syncFolder } from "./signing.ts";

/** A leaf as a copy has it. */
export interface CopiedLeaf {
  readonly kind: string;
  readonly ref: string;
  /** The bytes that are hashed. */
  readonly text: string;
}

/** What a copy is of, and what was signed of that. */
export interface CopyHead {
  readonly logId: string;
  /** Undefined: nothing is kept yet. */
  readonly checkpoint: Checkpoint | undefined;
  /** The checkpoint with the log's signature, as it came. */
  readonly note: string | undefined;
}

/** A folder that is no copy of a log, or whose leaves are not those of its checkpoint. */
export class LeafCopyError extends Error {
  override name = "LeafCopyError";
}

const tree = treeHash(sha256);
const files = { about: "copy.json", checkpoint: "checkpoint" } as const;
const groupDigits = 3;
const group = 1_000n;

const aboutSchema = z.strictObject({ log_id: z.string().min(1) });
const leafSchema = z.strictObject({ kind: z.string(), ref: z.string(), text: z.string() });

/**
 * A copy of a log in a folder, for whoever does not want to depend on the log's owner: its tiles by C2SP tlog-tiles, its
 * last checkpoint, and the texts of its leaves, 256 in a file. What is behind the checkpoint does not count.
 */
export class LeafCopy {
  readonly #folder: string;
  readonly #edge = new TileEdge(new Frontier(tree));
  readonly #full: Tile[] = [];
  /** Of each level, the tile that is not full. */
  readonly #rows: Hash[][] = [];
  #file: FileHandle | undefined;
  #head: CopyHead;

  constructor(folder: string, head: CopyHead) {
    this.#folder = folder;
    this.#head = head;
  }

  get size(): bigint {
    return this.#edge.size;
  }

  root(): Hash {
    return this.#edge.root();
  }

  get head(): CopyHead {
    return this.#head;
  }

  /** They count from `keep` on. */
  async append(leaves: readonly CopiedLeaf[]): Promise<void> {
    for (let next = 0; next < leaves.length;) {
      const at = Number(this.size % BigInt(tileHashes));
      const page = leaves.slice(next, next + tileHashes - at);
      this.#file ??= await this.#openBundle(at);
      await this.#file.writeFile(page.map(lineOf).join(""));
      for (const { text } of page) this.#add(tree.leaf(text));
      if (at + page.length === tileHashes) await this.#closeBundle();
      next += page.length;
    }
  }

  /** Leaves and tiles are on disk before the checkpoint that they belong to. */
  async keep(note: string): Promise<void> {
    const checkpoint = read(note);
    if (checkpoint.size !== this.size || checkpoint.root !== this.root()) {
      throw new LeafCopyError(`expected a checkpoint of the ${this.size} leaves, found another`);
    }
    if (checkpoint.size === this.#head.checkpoint?.size) return;
    await this.#file?.sync();
    for (const tile of this.#full.splice(0)) await this.#writeTile(tile, tile.hashes);
    for (const [level, row] of this.#rows.entries()) {
      const index = this.size >> BigInt((level + 1) * tileHeight);
      if (row.length > 0) await this.#writeTile({ level, index }, row, `.p/${row.length}`);
    }
    await replace(join(this.#folder, files.checkpoint), note);
    this.#head = { ...this.#head, checkpoint, note };
  }

  async close(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
  }

  /** Reads what is there, and forgets what is behind the checkpoint. */
  async load(): Promise<void> {
    const { checkpoint } = this.#head;
    if (checkpoint === undefined) return;
    for await (const { text } of this.leaves(0n)) this.#add(tree.leaf(text));
    this.#full.length = 0;
    if (this.root() === checkpoint.root) return;
    throw new LeafCopyError(`${this.#folder}: its leaves are not those of its checkpoint`);
  }

  /** What the checkpoint covers, from an index on. */
  async *leaves(fromIndex: bigint): AsyncGenerator<CopiedLeaf> {
    const size = this.#head.checkpoint?.size ?? 0n;
    const width = BigInt(tileHashes);
    for (let bundle = fromIndex / width; bundle * width < size; bundle += 1n) {
      const first = bundle * width;
      const end = size - first < width ? size - first : width;
      const from = fromIndex > first ? fromIndex - first : 0n;
      const lines = await linesOf(this.#bundlePath(bundle), Number(end));
      for (const line of lines.slice(Number(from))) yield leafSchema.parse(JSON.parse(line));
    }
  }

  #add(hash: Hash): void {
    (this.#rows[0] ??= []).push(hash);
    for (const tile of this.#edge.append(hash)) {
      this.#full.push(tile);
      this.#rows[tile.level] = [];
      (this.#rows[tile.level + 1] ??= []).push(perfectRoot(tile.hashes, tree));
    }
  }

  /** The file of the next leaf, cut to those before it. */
  async #openBundle(at: number): Promise<FileHandle> {
    const path = this.#bundlePath(this.size / BigInt(tileHashes));
    await mkdir(dirname(path), { recursive: true });
    if (at > 0) {
      const kept = (await linesOf(path, at)).map((line) => `${line}\n`).join("");
      await truncate(path, Buffer.byteLength(kept));
    }
    const file = await open(path, at > 0 ? "a" : "w");
    await syncFolder(dirname(path));
    return file;
  }

  async #closeBundle(): Promise<void> {
    await this.#file?.sync();
    await this.close();
  }

  #bundlePath(bundle: bigint): string {
    return join(this.#folder, "leaves", `${tilePath(bundle)}.jsonl`);
  }

  async #writeTile(
    { level, index }: Pick<Tile, "level" | "index">,
    hashes: readonly Hash[],
    part = "",
  ): Promise<void> {
    const path = join(this.#folder, "tile", String(level), `${tilePath(index)}${part}`);
    await mkdir(dirname(path), { recursive: true });
    await replace(path, Buffer.from(hashes.join(""), "hex"));
  }
}

function lineOf({ kind, ref, text }: CopiedLeaf): string {
  return `${JSON.stringify({ kind, ref, text })}\n`;
}

/** Opens a copy, or begins one if the folder has none. Checks every leaf of it. */
export async function openLeafCopy(folder: string, logId: string): Promise<LeafCopy> {
  await mkdir(folder, { recursive: true });
  const found = await headOf(folder);
  if (found === undefined) {
    await replace(join(folder, files.about), `${JSON.stringify({ log_id: logId })}\n`);
  } else if (found.logId !== logId) {
    throw new LeafCopyError(`${folder}: expected a copy of ${logId}, found one of ${found.logId}`);
  }
  return loaded(folder, found ?? { logId, checkpoint: undefined, note: undefined });
}

/** Opens a copy that is there. */
export async function readLeafCopy(folder: string): Promise<LeafCopy> {
  const found = await headOf(folder);
  if (found === undefined)
    throw new LeafCopyError(`${folder}: expected a copy of a log, found none`);
  return loaded(folder, found);
}

async function loaded(folder: string, head: CopyHead): Promise<LeafCopy> {
  const copy = new LeafCopy(folder, head);
  await copy.load();
  return copy;
}

async function headOf(folder: string): Promise<CopyHead | undefined> {
  const about = await textOf(join(folder, files.about));
  if (about === undefined) return undefined;
  const { log_id: logId } = aboutSchema.parse(JSON.parse(about));
  const note = await textOf(join(folder, files.checkpoint));
  return { logId, note, checkpoint: note === undefined ? undefined : read(note) };
}

function read(text: string): Checkpoint {
  const note = parseNote(text);
  const checkpoint = typeof note === "string" ? note : parseCheckpoint(note.text);
  if (typeof checkpoint === "string") throw new LeafCopyError(checkpoint);
  return checkpoint;
}

/** The first lines of a bundle. Throws if there are fewer. */
async function linesOf(path: string, count: number): Promise<string[]> {
  const lines = ((await textOf(path)) ?? "").split("\n").slice(0, -1);
  if (lines.length >= count) return lines.slice(0, count);
  throw new LeafCopyError(`${path}: expected ${count} leaves, found ${lines.length}`);
}

/** `x001/x234/067` of tile 1,234,067. */
function tilePath(index: bigint): string {
  const last = digits(index % group);
  const rest = index / group;
  return rest === 0n ? last : `${prefixOf(rest)}/${last}`;
}

function prefixOf(index: bigint): string {
  const own = `x${digits(index % group)}`;
  return index < group ? own : `${prefixOf(index / group)}/${own}`;
}

function digits(value: bigint): string {
  return String(value).padStart(groupDigits, "0");
}

/** The new file or the old one, never a part. */
async function replace(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, "w");
  try {
    await file.writeFile(content);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  await syncFolder(dirname(path));
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}
