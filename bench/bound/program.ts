import { createRequire } from "node:module";
import type { Highs } from "highs";
import { assert } from "../../services/core/assert.ts";
import { costParts, type NanoByPart } from "../../services/core/run-cost.ts";
import type { Duals } from "./lagrangian.ts";
import type { Problem } from "./problem.ts";
import { Rows, type Entry } from "./rows.ts";
import type { Level, Seat } from "./seats.ts";
import { bucketsOf, spreadOver, type Bucket, type BucketSeat } from "./buckets.ts";

export interface Solved {
  readonly duals: Duals;
  /** Of the program, whose requests are means of buckets: an estimate. */
  readonly nano: number;
  readonly parts: NanoByPart;
  readonly status: number;
}

export interface ProgramOptions {
  /**
   * As if each request found its replica as full as it is itself: others' prompts come while it decodes, and it while
   * they do. The cost of a steady state, not a bound.
   */
  readonly isSteady: boolean;
  readonly timeLimitSeconds: number;
}

/** Batch sizes that the program may choose; the bound itself knows them all. */
const LEVELS = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024];

/** Nano-CNY per unit of the program's objective, and ms per unit of its rows: near 1, as solvers like it. */
const NANO_PER_UNIT = 1e6;
const MS_PER_UNIT = 1e3;

const OPTIMAL = 7;

/** Its types are those of its CommonJS entry, whose loader is a property. */
const solver: typeof import("highs") = createRequire(import.meta.url)("highs");

let loading: Promise<Highs> | undefined;

/** The program over bins, seats, buckets of requests and batch sizes; prices of capacity are its duals. */
export async function solve(problem: Problem, options: ProgramOptions): Promise<Solved> {
  loading ??= solver.default();
  const highs = await loading;
  const program = new Program(problem, options.isSteady);
  return highs.withModel(program.rows.model(highs), (model) => {
    model.options.set("output_flag", false);
    model.options.set("solver", "ipm");
    model.options.set("run_crossover", "off");
    model.options.set("time_limit", options.timeLimitSeconds);
    const { modelStatus } = model.run();
    const { rowDual, colValue } = model.getSolution();
    assert(modelStatus !== OPTIMAL || rowDual.length > 0, "what is solved has duals");
    return {
      duals: program.dualsOf(rowDual),
      nano: model.getObjectiveValue() * NANO_PER_UNIT,
      parts: program.partsOf(colValue),
      status: modelStatus,
    };
  });
}

class Program {
  readonly rows = new Rows();
  readonly #problem: Problem;
  readonly #isSteady: boolean;
  /** Rows of capacity, `seat × bins + bin`. Undefined where there is no end of it. */
  readonly #replicaRows: readonly (number | undefined)[];
  /** Rows of tokens to be decoded, `(seat × bins + bin) × classes + class`. */
  readonly #tokenRows = new Map<number, number>();
  readonly #means: readonly SeatMeans[];
  /** What a unit of each column costs. */
  readonly #nanoByColumn: Partial<NanoByPart>[] = [];

  constructor(problem: Problem, isSteady: boolean) {
    this.#problem = problem;
    this.#isSteady = isSteady;
    this.#replicaRows = Array.from(problem.replicaMs, (capacityMs) =>
      capacityMs === Infinity ? undefined : this.rows.row(-Infinity, capacityMs / MS_PER_UNIT),
    );
    const buckets = bucketsOf(problem);
    this.#means = problem.seats.map((_, seat) => meansOf(seat, buckets));
    for (const bucket of buckets) this.#serve(bucket);
    for (const [key, row] of this.#tokenRows) this.#decode(key, row);
  }

  dualsOf(rowDual: Float64Array): Duals {
    const priceOf = (row: number | undefined): number => {
      const dual = row === undefined ? 0 : (rowDual[row] ?? 0);
      return Number.isFinite(dual) ? Math.max(0, -dual) * (NANO_PER_UNIT / MS_PER_UNIT) : 0;
    };
    return Float64Array.from(this.#replicaRows, priceOf);
  }

  partsOf(colValue: Float64Array): NanoByPart {
    const parts = { money: 0, energy: 0, carbon: 0, time: 0, missed: 0, refused: 0 };
    for (const [column, nano] of this.#nanoByColumn.entries()) {
      for (const kind of costParts) {
        parts[kind] += (nano[kind] ?? 0) * (colValue[column] ?? 0);
      }
    }
    return parts;
  }

  #column(nano: Partial<NanoByPart>, entries: readonly Entry[]): void {
    const cost = Object.values(nano).reduce((sum, each) => sum + each, 0);
    this.rows.column(cost / NANO_PER_UNIT, entries);
    this.#nanoByColumn.push(nano);
  }

  #serve(bucket: Bucket): void {
    const demand = this.rows.row(bucket.count, bucket.count);
    this.#column({ refused: bucket.refusedNano }, [[demand, 1]]);
    const { bins, binMs } = this.#problem;
    for (const at of bucket.seats) {
      for (
        let lag = 0;
        lag <= bucket.waitBins && bucket.bin + lag < bins;
        lag += Math.max(1, lag)
      ) {
        this.#serveAt(bucket, at, { demand, lag, lagMs: lag * binMs });
      }
    }
  }

  #serveAt(
    bucket: Bucket,
    { seat: seatAt, moneyNano, missedShare, roundTripMs, prefillMs }: BucketSeat,
    {
      demand,
      lag,
      lagMs,
    }: { readonly demand: number; readonly lag: number; readonly lagMs: number },
  ): void {
    const { classes, seats, bins, binMs, energy } = this.#problem;
    const [terms, seat] = [classes[bucket.class], seats[seatAt]];
    assert(terms !== undefined && seat !== undefined, "a bucket is of a class and has seats");
    const begins = bucket.bin + lag;
    const at = seatAt * bins + begins;
    const joules = (seat.prefillWatts * prefillMs) / 1_000;
    const nanoPerJoule = energy.nanoPerJoule[at] ?? 0;
    const share = energy.energyShare[at] ?? 0;
    const entries: Entry[] = [[demand, 1]];
    add(entries, this.#replicaRows[at], prefillMs / MS_PER_UNIT);
    const middle = seat.levels[Math.floor(seat.levels.length / 2)];
    const kvMs = seat.profile.stepMsPerKvToken * bucket.kvTokenSteps;
    const stayMs = Math.max(1, bucket.steps * (middle?.stepMs ?? 0) + kvMs);
    for (const [later, part] of spreadOver(stayMs, binMs, bins - begins).entries()) {
      const row = this.#tokenRow((at + later) * classes.length + bucket.class);
      entries.push([row, -(part * bucket.steps)]);
    }
    const isLate = missedShare > 0 ? missedShare : lagMs > terms.ttftMsMax ? 1 : 0;
    this.#column(
      {
        money: moneyNano,
        energy: joules * nanoPerJoule * share,
        carbon: joules * nanoPerJoule * (1 - share),
        time: terms.waitNanoPerMs * (roundTripMs + prefillMs + lagMs),
        missed: isLate * terms.missNano,
      },
      entries,
    );
  }

  #tokenRow(key: number): number {
    const known = this.#tokenRows.get(key);
    if (known !== undefined) return known;
    const row = this.rows.row(0, 0);
    this.#tokenRows.set(key, row);
    return row;
  }

  /** A column for each batch size, of one token. */
  #decode(key: number, row: number): void {
    const { classes, seats, bins, energy } = this.#problem;
    const at = Math.floor(key / classes.length);
    const seatAt = Math.floor(at / bins);
    const [terms, seat, means] = [
      classes[key % classes.length],
      seats[seatAt],
      this.#means[seatAt],
    ];
    assert(terms !== undefined && seat !== undefined && means !== undefined, "tokens have a seat");
    const { stepMsPerKvToken } = seat.profile;
    const own = means.byClass.get(key % classes.length) ?? means.all;
    const kvMs = stepMsPerKvToken * own.kvTokens;
    const waitMin = this.#problem.waitNanoPerMsMin[seatAt] ?? 0;
    const nanoPerJoule = energy.nanoPerJoule[at] ?? 0;
    const share = energy.energyShare[at] ?? 0;
    for (const level of levelsOf(seat)) {
      const others = level.low - 1;
      const steadyMs =
        others * (means.all.prefillMs + stepMsPerKvToken * means.all.kvTokens) +
        (1.5 * level.stepMs) / Math.max(1, own.steps);
      const timeNano = this.#isSteady
        ? terms.waitNanoPerMs * (level.stepMs + kvMs + steadyMs)
        : terms.waitNanoPerMs * (level.stepMs + kvMs) + waitMin * others * kvMs;
      const joules = (level.shareWattMs + level.watts * kvMs) / 1_000;
      const entries: Entry[] = [[row, 1]];
      add(entries, this.#replicaRows[at], (level.shareMs + kvMs) / MS_PER_UNIT);
      this.#column(
        {
          energy: joules * nanoPerJoule * share,
          carbon: joules * nanoPerJoule * (1 - share),
          time: timeNano,
        },
        entries,
      );
    }
  }
}

function add(entries: Entry[], row: number | undefined, value: number): void {
  if (row !== undefined) entries.push([row, value]);
}

/** The mean token of those who may sit at a seat. */
interface TokenMean {
  readonly steps: number;
  readonly kvTokens: number;
  /** Prefill that comes with it. */
  readonly prefillMs: number;
}

interface SeatMeans {
  readonly all: TokenMean;
  readonly byClass: ReadonlyMap<number, TokenMean>;
}

function meansOf(seat: number, buckets: readonly Bucket[]): SeatMeans {
  const here = buckets.flatMap((bucket) => {
    const at = bucket.seats.find((each) => each.seat === seat);
    return at === undefined ? [] : [{ bucket, prefillMs: at.prefillMs }];
  });
  const byClass = Map.groupBy(here, ({ bucket }) => bucket.class);
  return {
    all: tokenMean(here),
    byClass: new Map([...byClass].map(([each, group]) => [each, tokenMean(group)])),
  };
}

function tokenMean(
  group: readonly { readonly bucket: Bucket; readonly prefillMs: number }[],
): TokenMean {
  const sum = (what: (each: (typeof group)[number]) => number): number =>
    group.reduce((total, each) => total + each.bucket.count * what(each), 0);
  const requests = Math.max(
    1,
    sum(() => 1),
  );
  const steps = Math.max(
    1,
    sum(({ bucket }) => bucket.steps),
  );
  return {
    steps: steps / requests,
    kvTokens: sum(({ bucket }) => bucket.kvTokenSteps) / steps,
    prefillMs: sum(({ prefillMs }) => prefillMs) / steps,
  };
}

function levelsOf({ levels }: Seat): Level[] {
  return levels.filter(({ low, high }, at) => {
    return at === levels.length - 1 || LEVELS.some((each) => low <= each && each <= high);
  });
}
