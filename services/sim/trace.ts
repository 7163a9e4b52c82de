import { createReadStream } from "node:fs";

export interface Line {
  /** From 1. */
  readonly number: number;
  readonly text: string;
}

/** A prompt or an answer of more tokens than this is a mistake in the file. */
const tokensMax = 10_000_000;

/** Longest line that is read: a prompt of ten million tokens has 20,000 block ids. */
const lineCharactersMax = 1_048_576;

/** A trace that cannot be used: where, what was expected, what was found. */
export class TraceError extends Error {
  override name = "TraceError";

  constructor(place: { readonly path: string; readonly line: number }, message: string) {
    super(`${place.path}:${place.line}: ${message}`);
  }
}

/** The lines of a file without their ends, CR LF or LF. The last needs none. */
export async function* linesOf(path: string): AsyncGenerator<Line> {
  let number = 0;
  let rest = "";
  for await (const chunk of createReadStream(path, { encoding: "utf8" })) {
    const parts = (rest + String(chunk)).split("\n");
    rest = parts.pop() ?? "";
    if (rest.length > lineCharactersMax) throw tooLong(path, number + parts.length + 1);
    for (const part of parts) {
      number += 1;
      yield { number, text: withoutCarriageReturn(part) };
    }
  }
  if (rest !== "") yield { number: number + 1, text: withoutCarriageReturn(rest) };
}

function tooLong(path: string, line: number): TraceError {
  return new TraceError(
    { path, line },
    `expected a line of at most ${lineCharactersMax} characters`,
  );
}

function withoutCarriageReturn(text: string): string {
  return text.endsWith("\r") ? text.slice(0, -1) : text;
}

/** Knows its place in the file, so that every complaint names it. */
export interface Place {
  readonly path: string;
  readonly line: number;
}

/** The fields of a comma-separated line; none of the traces quotes. */
export function fieldsOf(place: Place, text: string, header: readonly string[]): string[] {
  const fields = text.split(",");
  if (fields.length === header.length) return fields;
  throw new TraceError(
    place,
    `expected ${header.length} fields (${header.join(",")}), found ${fields.length}`,
  );
}

export function tokensIn(place: Place, field: string, value: unknown): number {
  const count = typeof value === "string" && /^\d{1,15}$/.test(value) ? Number(value) : value;
  if (typeof count === "number" && Number.isInteger(count) && count >= 1 && count <= tokensMax) {
    return count;
  }
  throw new TraceError(
    place,
    `${field}: expected a whole number from 1 to ${tokensMax}, found ${shown(value)}`,
  );
}

/** A number of a comma-separated file: at least 0, or at least `least`. */
export function numberIn(place: Place, field: string, text: string, least = 0): number {
  const value = /^\d+(\.\d+)?(e[-+]?\d+)?$/i.test(text) ? Number(text) : Number.NaN;
  if (value >= least && Number.isFinite(value)) return value;
  throw new TraceError(place, `${field}: expected a number of at least ${least}, found "${text}"`);
}

/** Text as JSON, cut, so that an error message stays one line. */
export function shown(value: unknown): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > 60 ? `${text.slice(0, 60)}…` : text;
}
