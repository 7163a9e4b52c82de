/** One run, or one bound, from a task to its row. */

import type { ServiceClass } from "../../services/core/placement/request.ts";
import type { RunCost } from "../../services/core/run-cost.ts";
import { keys } from "../../services/core/table.ts";
import type { TraceRow } from "../../services/core/workload.ts";
import { runWorld } from "../../services/sim/world.ts";
import type { WorldResult } from "../../services/sim/world-options.ts";
import { boundOf } from "../bound/bound.ts";
import { cellFrom, type Cell, type CellSpec } from "./cell.ts";
import { contestants, rivalsOf, worldIntervalMs, type Picks } from "./contestants.ts";
import { dayOf } from "./day.ts";
import { figuresOf } from "./figures.ts";
import { traceRows, type TraceName } from "./traces.ts";
import { bound, type BoundRow, type ClassRow, type Row, type RunRow, type Task } from "./rows.ts";

/** Keeps the traces, and the cell of the last task: tasks come cell by cell. */
export class Racer {
  readonly #commit: string;
  readonly #rows = new Map<TraceName, Promise<readonly TraceRow[]>>();
  #key: string | undefined;
  #cell: Cell | undefined;

  constructor(commit: string) {
    this.#commit = commit;
  }

  async row(task: Task): Promise<Row> {
    return rowOf(task, await this.#cellOf(task), this.#commit);
  }

  async #cellOf(task: Task): Promise<Cell> {
    const { suite, trace, fleet, load, seed, durationMs, at, scale } = task;
    const spec: CellSpec = { trace, fleet, load, seed, durationMs, at, scale };
    const key = JSON.stringify([suite === "day", spec]);
    if (this.#cell !== undefined && key === this.#key) return this.#cell;
    // The one before goes first: of a day there is room for one.
    this.#cell = undefined;
    const cell = suite === "day" ? await dayOf(spec) : cellFrom(await this.#rowsOf(trace), spec);
    this.#cell = cell;
    this.#key = key;
    return cell;
  }

  async #rowsOf(trace: TraceName): Promise<readonly TraceRow[]> {
    const rows = this.#rows.get(trace) ?? traceRows(trace);
    this.#rows.set(trace, rows);
    return rows;
  }
}

/** Throws what the world or the solver throws. */
export async function rowOf(task: Task, cell: Cell, commit: string): Promise<Row> {
  return task.policy === bound ? boundRow(task, cell, commit) : runRow(task, cell, commit);
}

async function boundRow(task: Task, cell: Cell, commit: string): Promise<BoundRow> {
  const startedAt = performance.now();
  const { arrivals, world } = cell;
  const { boundNano, fluidNano } = await boundOf({ ...world, arrivals });
  const wallMs = performance.now() - startedAt;
  return {
    kind: "bound",
    ...task,
    name: "clairvoyant bound",
    source: "§2.13",
    ...facts(cell, { commit, wallMs }),
    boundNano,
    fluidNano,
  };
}

async function runRow(task: Task, cell: Cell, commit: string): Promise<RunRow> {
  const picks: Picks = { count: 0, busyMs: 0 };
  const startedAt = performance.now();
  const { arrivals } = cell;
  const result = await runWorld(arrivals, worldOf(task, cell, picks));
  const wallMs = performance.now() - startedAt;
  const contestant = contestants.get(task.policy);
  return {
    kind: "run",
    ...task,
    name: contestant?.name ?? task.policy,
    source: contestant?.source ?? "",
    ...facts(cell, { commit, wallMs }),
    ...costOf(result),
    picksPerSecond: Math.round((picks.count * 1_000) / Math.max(picks.busyMs, 0.001)),
  };
}

function worldOf(task: Task, { world }: Cell, picks: Picks): Parameters<typeof runWorld>[1] {
  const { seed, trace } = task;
  const { lies, world: figures } = figuresOf(task.figures);
  return {
    ...world,
    reportIntervalMs: worldIntervalMs(task),
    dispatchers: task.dispatchers,
    ...figures,
    faults: [...world.faults, ...lies],
    makeRival: rivalsOf(task, { seed, picks }),
    onAnswer: () => undefined,
    run: {
      id: `bench-${seed}`,
      mode: "virtual",
      trace,
      speed: 1,
      seed,
      class: "llm-interactive",
    },
  };
}

function facts(
  { arrivals, capacityPerSecond, offeredPerSecond, leftOut }: Cell,
  { commit, wallMs }: { readonly commit: string; readonly wallMs: number },
) {
  return {
    commit,
    endedAt: new Date().toISOString(),
    capacityPerSecond,
    offeredPerSecond,
    leftOut,
    requests: arrivals.length,
    wallMs: Math.round(wallMs),
  };
}

function costOf({ cost, prediction, digest }: WorldResult) {
  const { totalNano, nanoByPart, requests, refused, goodputPerSecond, ttftMs, tpotMs } = cost;
  const { utilisation, utilisationGini: gini, oscillation, joules } = cost;
  const { gramsCo2Location, gramsCo2Market } = cost;
  return {
    totalNano,
    nanoPerRequest: totalNano / Math.max(1, requests),
    nanoByPart,
    byClass: classRows(cost),
    refused,
    goodputPerSecond,
    ttftMs,
    tpotMs,
    utilisation,
    gini,
    oscillation,
    sidesByHour: cost.sidesByHour.map(({ localHour, tokensBySide }) => ({
      localHour,
      tokensBySide,
    })),
    joules,
    gramsCo2Location,
    gramsCo2Market,
    prediction,
    digest,
  };
}

function classRows({ byClass }: RunCost): {
  readonly [Of in ServiceClass]?: ClassRow;
} {
  const rows: { [Of in ServiceClass]?: ClassRow } = {};
  for (const each of keys(byClass)) {
    const { requests, refused, missedTtft, missedTpot, good } = byClass[each];
    if (requests > 0) rows[each] = { requests, refused, missedTtft, missedTpot, good };
  }
  return rows;
}
