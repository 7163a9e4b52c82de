import { open, readFile, rename, type FileHandle } from "node:fs/promises";
import { dirname } from "node:path";
import { z } from "zod";
import { sha256, syncFolder } from "./signing.ts";

/** How much of a log was signed, and its root. */
export interface SignedHead {
  readonly log: string;
  readonly size: bigint;
  readonly root: string;
}

/**
 * What the operator signed, kept apart from the ledger: whoever puts an old ledger back is told by it, also where no
 * witness is.
 */
export interface SignedHeads {
  head(log: string): SignedHead | undefined;
  logs(): readonly string[];
  /** On disk when it resolves: only then may they be signed. After a failure nothing is kept any more. */
  keep(heads: readonly SignedHead[]): Promise<void>;
  /**
   * From now on this is what was signed last, though more was: for a log of which no copy is left. Whoever has a later
   * checkpoint can show that there was more.
   */
  giveUp(head: SignedHead): Promise<void>;
  close(): Promise<void>;
}

/** A file of heads that says what it cannot have said. */
export class SignedHeadsError extends Error {
  override name = "SignedHeadsError";
}

const fileMode = 0o600;
/** A file longer than that is written anew, with the last head of each log alone. */
const fileBytesMax = 1_048_576;
const checkDigits = 16;

const headsSchema = z.array(
  z.tuple([z.string(), z.string().regex(/^\d+$/), z.string().regex(/^[0-9a-f]{64}$/)]),
);

/** One line for what was signed together, with its digest before it. The newest line of a log counts. */
export async function openSignedHeads(
  path: string,
  bytesMax: number = fileBytesMax,
): Promise<SignedHeads> {
  const byLog = new Map<string, SignedHead>();
  for (const head of read(await textOf(path), path)) byLog.set(head.log, head);
  const heads = new HeadFile(path, byLog, bytesMax);
  await heads.renew();
  return heads;
}

class HeadFile implements SignedHeads {
  readonly #path: string;
  readonly #byLog: Map<string, SignedHead>;
  readonly #bytesMax: number;
  #file: FileHandle | undefined;
  #bytes = 0;
  #last: Promise<void> = Promise.resolve();

  constructor(path: string, byLog: Map<string, SignedHead>, bytesMax: number) {
    this.#path = path;
    this.#byLog = byLog;
    this.#bytesMax = bytesMax;
  }

  head(log: string): SignedHead | undefined {
    return this.#byLog.get(log);
  }

  logs(): readonly string[] {
    return [...this.#byLog.keys()];
  }

  /** A write that failed is not repaired by the next: whoever comes after it fails too. */
  async keep(heads: readonly SignedHead[]): Promise<void> {
    this.#last = this.#last.then(() => this.#append(heads));
    return this.#last;
  }

  async giveUp(head: SignedHead): Promise<void> {
    this.#last = this.#last.then(() => {
      this.#byLog.set(head.log, head);
      return this.renew();
    });
    return this.#last;
  }

  async close(): Promise<void> {
    await this.#last.catch(() => undefined);
    await this.#file?.close();
    this.#file = undefined;
  }

  /** The whole file in the place of the old one, or the old one. */
  async renew(): Promise<void> {
    const temporary = `${this.#path}.new`;
    const file = await open(temporary, "w", fileMode);
    const text = lineOf([...this.#byLog.values()]);
    await file.writeFile(text);
    await file.sync();
    await rename(temporary, this.#path);
    await syncFolder(dirname(this.#path));
    await this.#file?.close();
    this.#file = file;
    this.#bytes = Buffer.byteLength(text);
  }

  async #append(heads: readonly SignedHead[]): Promise<void> {
    const fresh = heads.filter((head) => this.#isNew(head));
    if (fresh.length === 0) return;
    for (const head of fresh) this.#byLog.set(head.log, head);
    if (this.#file === undefined) throw new SignedHeadsError(`${this.#path}: it is closed`);
    if (this.#bytes >= this.#bytesMax) return this.renew();
    const text = lineOf(fresh);
    await this.#file.writeFile(text);
    await this.#file.datasync();
    this.#bytes += Buffer.byteLength(text);
  }

  /** Less than before, or another root, must never come this far. */
  #isNew({ log, size, root }: SignedHead): boolean {
    const before = this.#byLog.get(log);
    if (before === undefined || before.size < size) return true;
    if (before.size === size && before.root === root) return false;
    throw new SignedHeadsError(
      `${log}: ${before.size} leaves with root ${before.root} are signed, found ${size} with root ${root}`,
    );
  }
}

function lineOf(heads: readonly SignedHead[]): string {
  const json = JSON.stringify(heads.map(({ log, size, root }) => [log, String(size), root]));
  return `${checkOf(json)} ${json}\n`;
}

/** What was being written when the machine stopped was not signed: the last line may be torn, and no other. */
function read(text: string, path: string): SignedHead[] {
  const lines = text.split("\n");
  // Behind the last end of a line there is nothing, or what was torn.
  const whole = lines.slice(0, -1);
  return whole.flatMap((line, at) => {
    const heads = headsOf(line);
    if (heads !== undefined) return heads;
    if (at === whole.length - 1) return [];
    throw new SignedHeadsError(
      `${path}, line ${at + 1}: expected signed heads with their digest, found something else`,
    );
  });
}

function headsOf(line: string): SignedHead[] | undefined {
  const json = line.slice(checkDigits + 1);
  if (line.slice(0, checkDigits) !== checkOf(json)) return undefined;
  return headsSchema
    .parse(JSON.parse(json))
    .map(([log, size, root]) => ({ log, size: BigInt(size), root }));
}

function checkOf(json: string): string {
  return sha256(json).slice(0, checkDigits);
}

async function textOf(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw error;
  }
}
