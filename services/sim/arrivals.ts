import type { ServiceClass } from "../core/placement/request.ts";
import type { Arrival, TraceRow } from "../core/workload.ts";
import { cityOf } from "./demand.ts";
import { azureHeader, azureRows } from "./trace-azure.ts";
import { mooncakeRows } from "./trace-mooncake.ts";
import {
  servegenPaths,
  servegenRateHeader,
  servegenRows,
  servegenWindowsHeader,
} from "./trace-servegen.ts";
import { linesOf, shown, TraceError, type Line } from "./trace.ts";

export interface TraceOptions {
  readonly path: string;
  /** For the cities, and for what a trace of rates leaves to be drawn. */
  readonly seed: number;
  readonly class: ServiceClass;
  /** At most so many requests. */
  readonly limit: number;
  /** Requests of this first part of the trace, its end excluded. */
  readonly durationMs: number;
}

export type TraceFormat = "azure" | "mooncake" | "servegen";

/** Told by its first line; nobody has to name it. */
export function formatOf(firstLine: string): TraceFormat | undefined {
  if (firstLine === azureHeader) return "azure";
  if (firstLine.startsWith("{")) return "mooncake";
  if (firstLine === servegenWindowsHeader || firstLine === servegenRateHeader) return "servegen";
  return undefined;
}

/**
 * The requests of a trace in order of time, one at a time, whatever its format. The same options give the
 * same requests. Throws a `TraceError` at the first line that is wrong, also when it has no request at all.
 */
export async function* arrivalsOf(options: TraceOptions): AsyncGenerator<Arrival> {
  const { path, seed, limit, durationMs } = options;
  let index = 0;
  for await (const row of rowsOf(path, seed)) {
    if (index >= limit || row.atMs >= durationMs) return;
    yield { ...row, index, origin: cityOf(seed, index), class: options.class };
    index += 1;
  }
  if (index === 0) throw new TraceError({ path, line: 2 }, "expected a request, found the end");
}

async function* rowsOf(path: string, seed: number): AsyncGenerator<TraceRow> {
  const lines = linesOf(path);
  try {
    const { value: first } = await lines.next();
    yield* rowsAfter(first, { path, lines, seed });
  } finally {
    await lines.return(undefined);
  }
}

function rowsAfter(
  first: Line | undefined,
  options: { readonly path: string; readonly lines: AsyncIterable<Line>; readonly seed: number },
): AsyncGenerator<TraceRow> {
  const { path, lines, seed } = options;
  switch (formatOf(first?.text ?? "")) {
    case "azure":
      return azureRows(path, lines);
    case "mooncake":
      return mooncakeRows(path, startingWith(first, lines));
    case "servegen":
      return servegenRows({ ...servegenPaths(path), seed });
    case undefined:
      throw new TraceError({ path, line: 1 }, `expected ${expected}, found ${found(first)}`);
  }
}

const expected = `the header ${azureHeader}, a JSON object per line, or a header of ServeGen's windows or rates`;

function found(line: Line | undefined): string {
  return line === undefined ? "an empty file" : shown(line.text);
}

async function* startingWith(
  first: Line | undefined,
  rest: AsyncIterable<Line>,
): AsyncGenerator<Line> {
  if (first !== undefined) yield first;
  yield* rest;
}
