import type { TraceRow } from "../core/workload.ts";
import { fieldsOf, shown, tokensIn, TraceError } from "./trace.ts";
import type { Line, Place } from "./trace.ts";

export const azureHeader = "TIMESTAMP,ContextTokens,GeneratedTokens";

const fields = azureHeader.split(",");
const timestamp = /^(\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)\.(\d{7})$/;

/** An instant in two parts: all of it in 100 ns would not fit a double. */
interface Wall {
  readonly secondMs: number;
  /** Within the second, in units of 100 ns. */
  readonly ticks: number;
}

/** Azure LLM inference trace 2023: wall time without a zone, prompt tokens, output tokens. */
export async function* azureRows(
  path: string,
  lines: AsyncIterable<Line>,
): AsyncGenerator<TraceRow> {
  let first: Wall | undefined;
  let latestMs = 0;
  for await (const { number, text } of lines) {
    const place = { path, line: number };
    const [when = "", input, output] = fieldsOf(place, text, fields);
    const wall = wallIn(place, when);
    first ??= wall;
    const atMs = wall.secondMs - first.secondMs + (wall.ticks - first.ticks) / 10_000;
    if (atMs < latestMs) {
      throw new TraceError(
        place,
        `TIMESTAMP: expected none before the line above, found "${when}"`,
      );
    }
    latestMs = atMs;
    const inputTokens = tokensIn(place, "ContextTokens", input);
    const outputTokens = tokensIn(place, "GeneratedTokens", output);
    yield { atMs, inputTokens, outputTokens, blocks: [] };
  }
}

function wallIn(place: Place, text: string): Wall {
  const parts = timestamp.exec(text)?.slice(1).map(Number);
  if (parts !== undefined) {
    const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, ticks = 0] = parts;
    const secondMs = Date.UTC(year, month - 1, day, hour, minute, second);
    const isReal = new Date(secondMs).toISOString().startsWith(text.slice(0, 19).replace(" ", "T"));
    if (isReal) return { secondMs, ticks };
  }
  throw new TraceError(
    place,
    `TIMESTAMP: expected YYYY-MM-DD hh:mm:ss.fffffff, found ${shown(text)}`,
  );
}
