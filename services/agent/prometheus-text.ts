/** One line of Prometheus text. */
export interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
  /** Epoch, where the exporter says when it was true. */
  readonly atMs: number | undefined;
}

/** Bounds of what an exporter may make us keep: names and labels are input from a vendor. */
export const prometheusLimits = {
  samplesMax: 20_000,
  labelsMax: 32,
  lineCharactersMax: 8_192,
} as const;

/** A scrape that cannot be used, and why. */
export class ScrapeError extends Error {
  override name = "ScrapeError";
}

const linePattern = /^([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(?:\{(.*)\})?\s*(\S+)(?:\s+(-?\d+))?\s*$/;
const labelPattern = /\s*([a-zA-Z_]\w*)\s*=\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)/y;

/**
 * Samples of the wanted names. Lines of other names cost nothing; a wanted line that is malformed is a
 * `ScrapeError`, and so is more than we keep. A value that is not a number (NaN) is unknown and left out.
 */
export function parsePrometheus(text: string, isWanted: (name: string) => boolean): Sample[] {
  const samples: Sample[] = [];
  for (const line of linesOf(text)) {
    const end = line.search(/[\s{]/);
    const name = end === -1 ? line : line.slice(0, end);
    if (name.startsWith("#") || !isWanted(name)) continue;
    const sample = parseLine(line);
    if (Number.isNaN(sample.value)) continue;
    if (samples.length === prometheusLimits.samplesMax) {
      throw new ScrapeError(`expected at most ${prometheusLimits.samplesMax} samples, found more`);
    }
    samples.push(sample);
  }
  return samples;
}

function* linesOf(text: string): Generator<string> {
  for (let from = 0; from < text.length;) {
    const end = text.indexOf("\n", from);
    const to = end === -1 ? text.length : end;
    if (to - from > prometheusLimits.lineCharactersMax) {
      throw new ScrapeError(
        `expected lines of at most ${prometheusLimits.lineCharactersMax} characters, found ${to - from}`,
      );
    }
    if (to > from) yield text.slice(from, to);
    from = to + 1;
  }
}

function parseLine(line: string): Sample {
  // OpenMetrics puts an exemplar behind the value.
  const exemplar = line.lastIndexOf(" # {");
  const match = linePattern.exec(exemplar === -1 ? line : line.slice(0, exemplar));
  if (match === null) throw malformed(line);
  const [, name = "", labels = "", value = "", at] = match;
  return {
    name,
    labels: parseLabels(labels, line),
    value: toNumber(value, line),
    atMs: at === undefined ? undefined : Number(at),
  };
}

function parseLabels(text: string, line: string): ReadonlyMap<string, string> {
  const labels = new Map<string, string>();
  labelPattern.lastIndex = 0;
  while (labelPattern.lastIndex < text.length) {
    const match = labelPattern.exec(text);
    if (match === null) throw malformed(line);
    labels.set(match[1] ?? "", unescaped(match[2] ?? ""));
    if (labels.size > prometheusLimits.labelsMax) {
      throw new ScrapeError(`expected at most ${prometheusLimits.labelsMax} labels, found more`);
    }
  }
  return labels;
}

const escapes: Readonly<Record<string, string>> = { "\\n": "\n", '\\"': '"', "\\\\": "\\" };

function unescaped(text: string): string {
  return text.includes("\\") ? text.replaceAll(/\\./g, (each) => escapes[each] ?? each) : text;
}

function toNumber(text: string, line: string): number {
  if (text === "+Inf" || text === "Inf") return Infinity;
  if (text === "-Inf") return -Infinity;
  if (text === "NaN") return NaN;
  const value = Number(text);
  if (Number.isNaN(value)) throw malformed(line);
  return value;
}

function malformed(line: string): ScrapeError {
  return new ScrapeError(`expected name{label="value"} number, found ${line.slice(0, 120)}`);
}
