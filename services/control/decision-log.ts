import type { Decision } from "../core/placement/decide.ts";
import type { Instant } from "../core/units.ts";
import type { JournalFile } from "../io/journal-file.ts";
import { readBatches, type JournalBatch } from "../io/journal-reader.ts";
import { decisionsIn, imageBefore } from "../io/journal-search.ts";
import type { Position } from "../io/segment-records.ts";
import { listSegments } from "../io/segments.ts";
import { toConnectError } from "../wire/errors.ts";

/** Of one request; attempts are few, and an id that is used for all is a mistake. */
const decisionsMax = 64;
/** A search reads all of the journal, so they do not come together. */
const searchesMax = 1;
const readersMax = 2;

/** Decisions that are in memory no more: they are made again from the journal. */
export class DecisionLog {
  readonly #journal: Pick<JournalFile, "folder" | "flush">;
  #searches = 0;
  #readers = 0;

  constructor(journal: Pick<JournalFile, "folder" | "flush">) {
    this.#journal = journal;
  }

  /** Those of a request or an attempt, oldest first. Throws RESOURCE_EXHAUSTED while another search runs. */
  async find(id: string): Promise<readonly Decision[]> {
    if (this.#searches >= searchesMax) throw busy("search");
    this.#searches += 1;
    try {
      await this.#journal.flush();
      return await decisionsIn(this.#journal.folder, id, decisionsMax);
    } finally {
      this.#searches -= 1;
    }
  }

  /** Where the journal ends by now, in bytes since its first record ever. */
  async end(): Promise<Position> {
    await this.#journal.flush();
    const last = (await listSegments(this.#journal.folder)).at(-1);
    return last === undefined ? 0 : last.base + last.size;
  }

  /** The journal as it is now, from the last image before the instant on. Throws RESOURCE_EXHAUSTED. */
  async *read(since: Instant): AsyncGenerator<JournalBatch> {
    if (this.#readers >= readersMax) throw busy("reader");
    this.#readers += 1;
    try {
      await this.#journal.flush();
      const { folder } = this.#journal;
      yield* readBatches(folder, since === 0 ? 0 : await imageBefore(folder, since));
    } finally {
      this.#readers -= 1;
    }
  }
}

function busy(who: string): Error {
  return toConnectError("RATE_LIMITED", `another ${who} goes through the journal: try again soon`);
}
