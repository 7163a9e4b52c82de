import { setImmediate as nextTurn } from "node:timers/promises";
import type { Decision } from "../core/placement/decide.ts";
import type { Instant } from "../core/units.ts";
import { readBatches, readJournal } from "./journal-reader.ts";
import { replay } from "./journal-replay.ts";
import type { Position } from "./segment-records.ts";

/** Events that are stepped before others get their turn. */
const stepsPerTurn = 64;

const imageHead = Buffer.from('{"kind":"image",');
const atMark = Buffer.from('"at":');

/** Where reading must begin so that the state is known at the instant: at the last image before it, or at the oldest. */
export async function imageBefore(folder: string, since: Instant): Promise<Position> {
  let found: Position | undefined;
  let begun: Position | undefined;
  for await (const batch of readBatches(folder)) {
    if (batch.kind === "lost") continue;
    if (startsWith(batch.bytes, imageHead)) begun = batch.position;
    const at = firstAt(batch.bytes);
    if (at === undefined) continue;
    if (at > since && found !== undefined) break;
    if (begun !== undefined) found = begun;
    begun = undefined;
  }
  return found ?? 0;
}

/**
 * The decisions made for a request or an attempt, oldest first: the journal is searched for the id as bytes, and what is
 * between the image before it and the last place that has it is made again.
 */
export async function decisionsIn(
  folder: string,
  id: string,
  decisionsMax: number,
): Promise<readonly Decision[]> {
  const span = await spanOf(folder, id);
  if (span === undefined) return [];
  const found: Decision[] = [];
  let steps = 0;
  for await (const each of replay(readJournal(folder, span.from, span.until))) {
    if (each.kind !== "step") continue;
    steps += 1;
    if (steps % stepsPerTurn === 0) await nextTurn();
    const { event, effects } = each;
    if (event.kind !== "placement-requested") continue;
    if (event.request.request !== id && event.request.attempt !== id) continue;
    for (const effect of effects) {
      if (effect.kind === "answer" && found.length < decisionsMax) found.push(effect.decision);
    }
  }
  return found;
}

interface Span {
  readonly from: Position;
  /** The last record that is wanted begins here. */
  readonly until: Position;
}

async function spanOf(folder: string, id: string): Promise<Span | undefined> {
  const wanted = ["request", "attempt"].map((key) => Buffer.from(`"${key}":${JSON.stringify(id)}`));
  let image: Position = 0;
  let span: Span | undefined;
  for await (const batch of readBatches(folder)) {
    if (batch.kind === "lost") continue;
    const { position, bytes } = batch;
    if (startsWith(bytes, imageHead)) image = position;
    if (!wanted.some((each) => bytes.includes(each)) || firstAt(bytes) === undefined) continue;
    span = { from: span?.from ?? image, until: position };
  }
  return span;
}

function startsWith(bytes: Buffer, start: Buffer): boolean {
  return bytes.subarray(0, start.length).equals(start);
}

const eventHead = Buffer.from('{"kind":"event",');

/** Of the first event of a batch of events. */
function firstAt(bytes: Buffer): Instant | undefined {
  if (!startsWith(bytes, eventHead)) return undefined;
  const start = bytes.indexOf(atMark) + atMark.length;
  const [digits] = /^-?[\d.e+]+/.exec(bytes.toString("latin1", start, start + 32)) ?? [];
  return digits === undefined ? undefined : Number(digits);
}
