import type { JournalRecord } from "./journal.ts";

/**
 * JSON that keeps what JSON has no word for: bigints, maps, sets and the numbers that are not finite. They become an
 * object with one key that begins with `$`; a key of our own never does.
 */
export function toText(record: JournalRecord): string {
  return JSON.stringify(plain(record));
}

/** Throws `SyntaxError` for text that is no journal record. */
export function fromText(line: string): JournalRecord {
  const record: unknown = JSON.parse(line, revive);
  if (isRecord(record)) return record;
  throw new SyntaxError(`expected a journal record, found ${line.slice(0, 60)}`);
}

const kinds: ReadonlySet<unknown> = new Set<JournalRecord["kind"]>(["image", "event", "gap"]);

function isRecord(value: unknown): value is JournalRecord {
  return typeof value === "object" && value !== null && "kind" in value && kinds.has(value.kind);
}

function plain(value: unknown): unknown {
  if (typeof value === "bigint") return { $bigint: value.toString() };
  if (typeof value === "number" && !Number.isFinite(value)) return { $number: String(value) };
  return typeof value === "object" && value !== null ? plainObject(value) : value;
}

function plainObject(value: object): unknown {
  if (Array.isArray(value)) return value.map(plain);
  if (value instanceof Set) return { $set: [...value].map(plain) };
  if (value instanceof Map)
    return { $map: [...value].map(([key, each]) => [plain(key), plain(each)]) };
  const object: Record<string, unknown> = {};
  for (const [key, each] of Object.entries(value)) {
    if (each !== undefined) object[key] = plain(each);
  }
  return object;
}

const revivers: Readonly<Record<string, (value: never) => unknown>> = {
  $bigint: (text: string) => BigInt(text),
  $number: (text: string) => Number(text),
  $set: (values: unknown[]) => new Set(values),
  $map: (pairs: [unknown, unknown][]) => new Map(pairs),
};

/** What is inside has been revived already when this is called. */
function revive(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const [only, ...others] = Object.keys(value);
  if (only === undefined || others.length > 0) return value;
  const reviver = revivers[only];
  return reviver === undefined ? value : reviver(Object.values(value)[0] as never);
}
