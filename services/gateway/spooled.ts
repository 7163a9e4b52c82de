import { entries } from "../core/table.ts";

/** What stands in the spool, by the first byte of each record. */
const marks = { opened: 1, closed: 2, watermark: 3, acknowledged: 4 } as const;

export type SpooledKind = keyof typeof marks;

export const spooledKinds: ReadonlyMap<number | undefined, SpooledKind> = new Map(
  entries<SpooledKind, number>(marks).map(([kind, mark]) => [mark, kind]),
);

/** How far an attempt had come. Counts are decimal text; undefined is unknown. */
export interface Watermark {
  readonly attempt: string;
  readonly atUs: string;
  readonly firstByteUs?: string | undefined;
  readonly dispatchedUs?: string | undefined;
  readonly input?: string | undefined;
  readonly cacheRead?: string | undefined;
  readonly output?: string | undefined;
  readonly reasoning?: string | undefined;
  readonly deltas: number;
  readonly outBytes: number;
  readonly deliveredBytes: number;
  readonly sentBytes?: number | undefined;
  readonly chunks: number;
}

export function toSpooled(kind: SpooledKind, bytes: Uint8Array): Uint8Array {
  const spooled = new Uint8Array(bytes.length + 1);
  spooled[0] = marks[kind];
  spooled.set(bytes, 1);
  return spooled;
}
