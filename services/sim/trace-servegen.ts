import { existsSync } from "node:fs";
import { randomFromSeed, seedFromText, type Random } from "../core/random.ts";
import type { TraceRow } from "../core/workload.ts";
import { drawGamma, drawQuantile, type Quantiles } from "./draw.ts";
import { fieldsOf, linesOf, numberIn, TraceError } from "./trace.ts";
import type { Line, Place } from "./trace.ts";

const quantileNames = ["p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99"] as const;
const quantileAt = [0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99];

const windowFields = [
  ...["client", "t_s", "rate_rps", "cv", "pattern"],
  ...quantileNames.map((name) => `in_${name}`),
  "in_mean",
  ...quantileNames.map((name) => `out_${name}`),
  "out_mean",
];

export const servegenWindowsHeader = windowFields.join(",");
export const servegenRateHeader = "t_s,rate_rps";

/** The rate file has a step per ten minutes. */
const stepMs = 600_000;

/** The total rate from `fromMs` until the next step. */
interface Step {
  readonly fromMs: number;
  readonly perMs: number;
}

/** What one client does from `fromMs` until the next window. */
interface Window {
  readonly client: number;
  readonly fromMs: number;
  readonly rate: number;
  readonly cv: number;
  readonly input: Quantiles;
  readonly output: Quantiles;
}

/** A client's own sequence: where it is, and what is left of its gap in operational time. */
interface Client {
  readonly id: number;
  readonly random: Random;
  nextMs: number;
  window: Window | undefined;
}

/**
 * ServeGen: rates and distributions, of which requests are drawn. A client's gaps are drawn with mean 1 and
 * stretched by its rate, which is its part of the total; so a step of the rate in the middle of a gap counts
 * from that step on, and the number of requests follows the total rate.
 */
export async function* servegenRows(options: {
  readonly ratePath: string;
  readonly windowsPath: string;
  readonly seed: number;
}): AsyncGenerator<TraceRow> {
  const { ratePath, windowsPath, seed } = options;
  const steps = await readSteps(ratePath);
  const windows = await readWindows(windowsPath);
  const rates = new Rates(steps, windows);
  const clients = [...new Set(windows.map(({ client }) => client))].map((id) => ({
    id,
    random: randomFromSeed(seedFromText(`${seed}/client/${id}`)),
    nextMs: 0,
    window: undefined,
  }));
  for (const client of clients) advance(client, rates);
  let firstMs: number | undefined;
  for (;;) {
    const client = earliest(clients);
    if (client === undefined || client.nextMs >= rates.endMs) return;
    firstMs ??= client.nextMs;
    yield drawn(client, client.nextMs - firstMs);
    advance(client, rates);
  }
}

/** The names of both files, whichever was given; they lie beside each other. */
export function servegenPaths(path: string): { ratePath: string; windowsPath: string } {
  const stem = path.replace(/_(windows|total_rate)\.csv$/, "");
  const paths = { ratePath: `${stem}_total_rate.csv`, windowsPath: `${stem}_windows.csv` };
  for (const each of Object.values(paths)) {
    if (existsSync(each)) continue;
    throw new TraceError({ path, line: 1 }, `expected ${each} beside it, found no such file`);
  }
  return paths;
}

/** Requests per ms of each client: its part of the latest windows times the total rate. */
class Rates {
  readonly endMs: number;
  readonly #steps: readonly Step[];
  readonly #moments: readonly number[];
  readonly #windowByKey: ReadonlyMap<string, Window>;
  readonly #totalByMoment: ReadonlyMap<number, number>;

  constructor(steps: readonly Step[], windows: readonly Window[]) {
    this.#steps = steps;
    this.endMs = (steps.at(-1)?.fromMs ?? 0) + stepMs;
    this.#moments = [...new Set(windows.map(({ fromMs }) => fromMs))].sort((a, b) => a - b);
    this.#windowByKey = new Map(windows.map((each) => [`${each.client}@${each.fromMs}`, each]));
    const total = new Map<number, number>();
    for (const { fromMs, rate } of windows) total.set(fromMs, (total.get(fromMs) ?? 0) + rate);
    this.#totalByMoment = total;
  }

  windowOf(client: number, atMs: number): Window | undefined {
    const moment = this.#moments.findLast((from) => from <= atMs);
    const window = this.#windowByKey.get(`${client}@${moment}`);
    return window !== undefined && window.rate > 0 ? window : undefined;
  }

  perMs(window: Window | undefined, atMs: number): number {
    if (window === undefined) return 0;
    const total = this.#totalByMoment.get(window.fromMs) ?? 0;
    const step = this.#steps[Math.floor(atMs / stepMs)];
    return ((step?.perMs ?? 0) * window.rate) / total;
  }
}

/** Moves a client to its next request: draws a gap of mean 1 and spends it at the rate of each step. */
function advance(client: Client, rates: Rates): void {
  let atMs = client.nextMs;
  let window = rates.windowOf(client.id, atMs);
  let left: number | undefined;
  while (atMs < rates.endMs) {
    window = rates.windowOf(client.id, atMs);
    const perMs = rates.perMs(window, atMs);
    if (window !== undefined) left ??= drawGamma(client.random, window.cv);
    const stepEndMs = (Math.floor(atMs / stepMs) + 1) * stepMs;
    const spendable = perMs * (stepEndMs - atMs);
    if (left !== undefined && left <= spendable) {
      client.nextMs = atMs + left / perMs;
      client.window = window;
      return;
    }
    if (left !== undefined) left -= spendable;
    atMs = stepEndMs;
  }
  client.nextMs = Infinity;
}

function earliest(clients: readonly Client[]): Client | undefined {
  let first = clients[0];
  for (const client of clients) {
    if (first === undefined || client.nextMs < first.nextMs) first = client;
  }
  return first;
}

function drawn({ random, window }: Client, atMs: number): TraceRow {
  const draw = (quantiles: Quantiles | undefined): number =>
    quantiles === undefined ? 1 : Math.max(1, Math.round(drawQuantile(random, quantiles)));
  return {
    atMs,
    inputTokens: draw(window?.input),
    outputTokens: draw(window?.output),
    blocks: [],
  };
}

async function readSteps(path: string): Promise<Step[]> {
  const steps: Step[] = [];
  for await (const { place, text } of rowsBelow(path, servegenRateHeader)) {
    const [second = "", rate = ""] = fieldsOf(place, text, servegenRateHeader.split(","));
    const fromMs = numberIn(place, "t_s", second) * 1_000;
    if (fromMs !== steps.length * stepMs) {
      throw new TraceError(
        place,
        `t_s: expected ${(steps.length * stepMs) / 1_000}, found "${second}"`,
      );
    }
    steps.push({ fromMs, perMs: numberIn(place, "rate_rps", rate) / 1_000 });
  }
  return steps;
}

async function readWindows(path: string): Promise<Window[]> {
  const windows: Window[] = [];
  for await (const { place, text } of rowsBelow(path, servegenWindowsHeader)) {
    const values = fieldsOf(place, text, windowFields);
    const valueByField = new Map(windowFields.map((field, index) => [field, values[index] ?? ""]));
    windows.push(windowIn(place, valueByField));
  }
  return windows;
}

function windowIn(place: Place, valueByField: ReadonlyMap<string, string>): Window {
  const number = (field: string, least = 0): number =>
    numberIn(place, field, valueByField.get(field) ?? "", least);
  const rate = number("rate_rps");
  return {
    client: number("client"),
    fromMs: number("t_s") * 1_000,
    rate,
    cv: number("cv", rate > 0 ? 0.001 : 0),
    input: quantilesIn(place, "in", number),
    output: quantilesIn(place, "out", number),
  };
}

function quantilesIn(place: Place, side: string, number: (field: string) => number): Quantiles {
  const values = quantileNames.map((name) => number(`${side}_${name}`));
  const wrong = values.findIndex((value, index) => value < (values[index - 1] ?? 0));
  if (wrong < 0) return { at: quantileAt, values };
  throw new TraceError(
    place,
    `${side}_${quantileNames[wrong]}: expected at least ${values[wrong - 1]}, found ${values[wrong]}`,
  );
}

async function* rowsBelow(
  path: string,
  header: string,
): AsyncGenerator<{ readonly place: Place; readonly text: string }> {
  let last = 0;
  for await (const { number, text } of linesOf(path)) {
    last = number;
    const place = { path, line: number };
    if (number > 1) yield { place, text };
    else if (text !== header) throw wrongHeader(place, header, { number, text });
  }
  if (last < 2) throw new TraceError({ path, line: last + 1 }, "expected a row, found the end");
}

function wrongHeader(place: Place, header: string, { text }: Line): TraceError {
  return new TraceError(place, `expected the header ${header}, found "${text.slice(0, 60)}"`);
}
