import { open, readdir, stat, type FileHandle } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import type { OwnCount } from "../core/settlement/claims/own-count.ts";
import type { AttemptId, InstantUs, ModelId, PoolId } from "../core/units.ts";
import type { Log } from "../io/log.ts";
import type { Counted, CountSource } from "./claims.ts";

/** Bytes that are read at once; no line is longer. */
const pieceBytes = 1_048_576;
/** Lines that cannot be read and are spoken of. */
const complaintsMax = 20;
const newline = 0x0a;
/** What is packed before it was read is not claimed. */
const compressed = /\.(gz|zst|bz2|xz)$/;

const tokens = z.int().min(0).max(100_000_000);
const instant = z.iso.datetime({ offset: true });

/**
 * A line of the log: one attempt, as the vendor counted it. Token classes are disjoint. What else is in it is not read, so that
 * the access log of a proxy will do.
 */
const lineSchema = z.object({
  /** The header `x-attempt-id`. A line without one is no attempt of the operator's and is passed over. */
  attempt_id: z.string().max(128).nullish(),
  rev: z.int().min(0).max(999_999_999).default(0),
  /** Absent: the pool of the agent. */
  pool_id: z.string().min(1).max(128).optional(),
  /** As it is registered, or the engine's own name for it. */
  model_id: z.string().min(1).max(128),
  in_uncached: tokens,
  in_cache_read: tokens.default(0),
  in_cache_write: tokens.default(0),
  out_response: tokens,
  out_reasoning: tokens.default(0),
  /** RFC 3339 with a zone, to the microsecond. */
  opened_at: instant,
  first_byte_at: instant.optional(),
  closed_at: instant,
});

interface Place {
  /** Of the file: it keeps it when it is renamed. */
  readonly inode: bigint;
  readonly offset: number;
}

/**
 * Follows a log of JSON lines that a vendor's proxy writes. A file that is renamed, to a name
 * that begins with its own, is read to its end before the new one; one
 * that was emptied is read from its start. What is read twice is claimed once: claims have names.
 */
export class CountLog implements CountSource {
  readonly name: string;
  readonly #pool: PoolId;
  /** The engine's own names of models. */
  readonly #modelByEngineName: ReadonlyMap<string, ModelId>;
  readonly #log: Log;
  #complaints = 0;

  constructor(options: {
    readonly path: string;
    readonly pool: PoolId;
    readonly modelByEngineName: ReadonlyMap<string, ModelId>;
    readonly log: Log;
  }) {
    this.name = options.path;
    this.#pool = options.pool;
    this.#modelByEngineName = options.modelByEngineName;
    this.#log = options.log.child({ file: options.path });
  }

  async read(placeText: string | undefined, max: number): Promise<Counted> {
    const nothing: Counted = { counts: [], place: placeText ?? "" };
    const place = parsePlace(placeText);
    const now = await fileAt(this.name);
    if (place === undefined || place.inode === now?.inode) {
      return now === undefined
        ? nothing
        : this.#readFile(now.path, place ?? { inode: now.inode, offset: 0 }, max);
    }
    const files = await this.#files();
    const old = files.find(({ inode }) => inode === place.inode);
    const rest = old === undefined ? undefined : await this.#readFile(old.path, place, max);
    if (rest !== undefined && rest.place !== placeText) return rest;
    // It may have been renamed more than once since.
    const later = old === undefined ? [] : files.filter((each) => each.changedNs > old.changedNs);
    const next = later[0] ?? now;
    // Who writes goes on in the old one until the new one has something.
    if (next === undefined || next.size === 0n) return nothing;
    if (old === undefined) this.#complain({ place: placeText }, "the log was replaced");
    return this.#readFile(next.path, { inode: next.inode, offset: 0 }, max);
  }

  /** The log and what it was renamed to, whose names begin with its own; the oldest first. */
  async #files(): Promise<FoundFile[]> {
    const folder = dirname(this.name);
    const names = (await readdir(folder)).filter((name) => name.startsWith(basename(this.name)));
    const found = await Promise.all(names.map(async (name) => fileAt(join(folder, name))));
    return found
      .filter((each) => each !== undefined)
      .filter(({ path, size }) => size > 0n && !compressed.test(path))
      .toSorted((a, b) => (a.changedNs < b.changedNs ? -1 : 1));
  }

  async #readFile(path: string, place: Place, max: number): Promise<Counted> {
    const file = await open(path, "r");
    try {
      const offset = (await isThisFile(file, place.offset)) ? place.offset : 0;
      if (offset !== place.offset) this.#complain({ offset: place.offset }, "the log was emptied");
      const piece = Buffer.alloc(pieceBytes);
      const { bytesRead } = await file.read(piece, 0, pieceBytes, offset);
      const { counts, bytes } = this.#counts(piece.subarray(0, bytesRead), max, offset);
      const isTooLong = bytes === 0 && bytesRead === pieceBytes;
      const next = isTooLong ? await this.#afterLine(file, offset) : offset + bytes;
      return { counts, place: `${place.inode}:${next}` };
    } finally {
      await file.close();
    }
  }

  /** Of whole lines; the last may still be written. */
  #counts(
    piece: Buffer,
    max: number,
    offset: number,
  ): { readonly counts: OwnCount[]; readonly bytes: number } {
    const counts: OwnCount[] = [];
    let from = 0;
    while (counts.length < max) {
      const end = piece.indexOf(newline, from);
      if (end < 0) break;
      const count = this.#countOf(piece.toString("utf8", from, end), offset + from);
      if (count !== undefined) counts.push(count);
      from = end + 1;
    }
    return { counts, bytes: from };
  }

  /** After a line that is longer than a piece; where it is, as long as its end is not written. */
  async #afterLine(file: FileHandle, offset: number): Promise<number> {
    const piece = Buffer.alloc(pieceBytes);
    for (let from = offset; ; from += pieceBytes) {
      const { bytesRead } = await file.read(piece, 0, pieceBytes, from);
      const end = piece.subarray(0, bytesRead).indexOf(newline);
      if (end < 0 && bytesRead < pieceBytes) return offset;
      if (end < 0) continue;
      this.#complain(
        { offset },
        `expected a line of at most ${pieceBytes} bytes: it is not claimed`,
      );
      return from + end + 1;
    }
  }

  #countOf(line: string, offset: number): OwnCount | undefined {
    if (line.trim() === "") return undefined;
    const read = lineSchema.safeParse(jsonOf(line));
    if (!read.success) {
      const wrong = read.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`);
      this.#complain({ offset, wrong }, "a line cannot be read and is not claimed");
      return undefined;
    }
    const { attempt_id: attempt, model_id: model, pool_id: pool, rev, ...rest } = read.data;
    if (attempt === undefined || attempt === null || attempt === "") return undefined;
    return {
      attempt: attempt as AttemptId,
      rev: BigInt(rev),
      pool: (pool ?? this.#pool) as PoolId,
      model: this.#modelByEngineName.get(model) ?? (model as ModelId),
      tokens: {
        uncachedInput: BigInt(rest.in_uncached),
        cacheRead: BigInt(rest.in_cache_read),
        cacheWrite: BigInt(rest.in_cache_write),
        response: BigInt(rest.out_response),
        reasoning: BigInt(rest.out_reasoning),
      },
      openedUs: toUs(rest.opened_at),
      firstByteUs: rest.first_byte_at === undefined ? undefined : toUs(rest.first_byte_at),
      closedUs: toUs(rest.closed_at),
    };
  }

  #complain(found: object, words: string): void {
    this.#complaints += 1;
    if (this.#complaints <= complaintsMax) this.#log.warn(found, words);
    if (this.#complaints === complaintsMax) this.#log.warn({}, "further ones are not said");
  }
}

/** A new file may have the number of an old one: then what is before the place is no end of a line. */
async function isThisFile(file: FileHandle, offset: number): Promise<boolean> {
  if (offset === 0) return true;
  const before = Buffer.alloc(1);
  const { bytesRead } = await file.read(before, 0, 1, offset - 1);
  return bytesRead === 1 && before[0] === newline;
}

function parsePlace(text: string | undefined): Place | undefined {
  const [, inode, offset] = /^(\d+):(\d+)$/.exec(text ?? "") ?? [];
  if (inode === undefined || offset === undefined) return undefined;
  return { inode: BigInt(inode), offset: Number(offset) };
}

interface FoundFile {
  readonly path: string;
  readonly inode: bigint;
  readonly size: bigint;
  readonly changedNs: bigint;
}

async function fileAt(path: string): Promise<FoundFile | undefined> {
  try {
    const { ino: inode, size, mtimeNs: changedNs } = await stat(path, { bigint: true });
    return { path, inode, size, changedNs };
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** Undefined when it is no JSON: the schema then says what was expected. */
function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The schema has seen that it is an instant. */
function toUs(text: string): InstantUs {
  const [, fraction = ""] = /\.(\d{1,6})/.exec(text) ?? [];
  const ms = Date.parse(text.replace(/\.\d+/, ""));
  return BigInt(ms) * 1_000n + BigInt(fraction.padEnd(6, "0"));
}
