import { existsSync } from "node:fs";
import type { Instant } from "../../core/units.ts";
import { readBatches, recordBatchesOf, type JournalBatch } from "../../io/journal-reader.ts";
import { imageBefore } from "../../io/journal-search.ts";
import type { JournalRecord, Lost } from "../../io/journal.ts";
import { listSegments } from "../../io/segments.ts";
import {
  PlacementService,
  type ReadJournalResponse,
} from "../../wire/gen/tokengrid/v1/placement_pb.js";
import { client, type ServerOptions } from "../connect.ts";
import { Failure } from "../outcome.ts";

/** A journal, wherever it is. */
export interface JournalSource {
  readonly name: string;
  /** From the last image before the instant on; `onBytes` is told how far it is. */
  records(
    since: Instant,
    onBytes: (done: number, total: number) => void,
  ): AsyncIterable<readonly JournalRecord[]>;
}

/** The folder of a control replica, which may be running. */
export function folderSource(folder: string): JournalSource {
  if (!existsSync(folder)) throw new Failure(`--journal: expected a folder, found no ${folder}`);
  return {
    name: folder,
    records: (since, onBytes) => recordBatchesOf(ofFolder(folder, since, onBytes)),
  };
}

export function serverSource(options: ServerOptions): JournalSource {
  return {
    name: options.addr,
    records: (since, onBytes) => recordBatchesOf(ofServer(options, since, onBytes)),
  };
}

async function* ofFolder(
  folder: string,
  since: Instant,
  onBytes: (done: number, total: number) => void,
): AsyncGenerator<JournalBatch> {
  const files = await listSegments(folder);
  if (files.length === 0)
    throw new Failure(`--journal: expected *.seg files in ${folder}, found none`);
  const end = files.reduce((most, { base, size }) => Math.max(most, base + size), 0);
  const from = since === -Infinity ? (files[0]?.base ?? 0) : await imageBefore(folder, since);
  for await (const batch of readBatches(folder, from)) {
    onBytes(batch.position - from, end - from);
    yield batch;
  }
}

async function* ofServer(
  options: ServerOptions,
  since: Instant,
  onBytes: (done: number, total: number) => void,
): AsyncGenerator<JournalBatch> {
  const sinceUs = since === -Infinity ? 0n : BigInt(Math.floor(since)) * 1_000n;
  // Who has read enough goes, and the stream is cut. `for await` would end it first, which waits for all of the rest.
  const over = new AbortController();
  const { signal } = over;
  let from: number | undefined;
  try {
    const placement = client(PlacementService, options);
    const messages = placement.readJournal({ sinceUs }, { signal })[Symbol.asyncIterator]();
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      const message = next.value;
      const position = Number(message.position);
      from ??= position;
      onBytes(position - from, Number(message.endPosition) - from);
      const batch = toBatch(message, position);
      if (batch !== undefined) yield batch;
    }
  } finally {
    over.abort();
  }
}

function toBatch({ part }: ReadJournalResponse, position: number): JournalBatch | undefined {
  switch (part.case) {
    case "lines":
      return { kind: "lines", position, bytes: Buffer.from(part.value) };
    case "loss":
      return {
        kind: "lost",
        position,
        bytes: Number(part.value.bytes),
        reason: reasonOf(part.value.reason),
      };
    case undefined:
      return undefined;
  }
}

const reasons: readonly Lost["reason"][] = [
  "torn-tail",
  "flipped",
  "missing-segment",
  "torn-image",
  "unreadable",
];

/** What a newer server says is lost all the same. */
function reasonOf(word: string): Lost["reason"] {
  return reasons.find((reason) => reason === word) ?? "unreadable";
}
