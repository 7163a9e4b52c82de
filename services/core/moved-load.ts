import type { Figure } from "./figure.ts";
import type { ModelReport, PoolReport } from "./pool.ts";
import type { Instant, ModelId, PoolId } from "./units.ts";

/** Beyond it the oldest are taken to be in the report. Only reports that stay away make it grow. */
const MOVES_MAX = 65_536;

interface Moves {
  /** Requests more than were there, up to the first move that is listed. */
  before: number;
  moves: { readonly at: Instant; readonly by: number }[];
}

/** By how many requests another world differs from the one that was reported, at each model of a pool, at any instant. */
export class MovedLoad {
  readonly #byPlace = new Map<string, Moves>();

  /** So many more than there were, from now on; two moves of one instant take each other back. */
  move({ pool, model }: { pool: PoolId; model: ModelId }, at: Instant, by: number): void {
    const key = keyOf(pool, model);
    const known = this.#byPlace.get(key) ?? { before: 0, moves: [] };
    this.#byPlace.set(key, known);
    known.moves.push({ at, by });
    if (known.moves.length > MOVES_MAX) fold(known, known.moves.splice(0, MOVES_MAX / 2));
  }

  /** The report as the other world would have given it. The same value where nothing differs. */
  corrected(report: PoolReport, now: Instant): PoolReport {
    const models = report.models.map((each) => {
      const { runningRequests: running } = each;
      const more = this.#moreAt(report.pool, each.model, running?.observedAt ?? now);
      return more === 0 || running === undefined ? each : withMore(each, running, more);
    });
    const isSame = models.every((each, index) => each === report.models[index]);
    return isSame ? report : { ...report, models };
  }

  /** Forgets what happened up to the instant: reports come in order, and a late one is refused anyway. */
  #moreAt(pool: PoolId, model: ModelId, observedAt: Instant): number {
    const known = this.#byPlace.get(keyOf(pool, model));
    if (known === undefined) return 0;
    fold(
      known,
      known.moves.filter(({ at }) => at <= observedAt),
    );
    known.moves = known.moves.filter(({ at }) => at > observedAt);
    return known.before;
  }
}

function fold(known: Moves, moves: Moves["moves"]): void {
  for (const { by } of moves) known.before += by;
}

/** Running up to the slots that the pool says it has, the rest waits; without slots all run. */
function withMore(report: ModelReport, running: Figure, more: number): ModelReport {
  const { waitingRequests, kvUsedRatio, slotsTotal } = report;
  const waiting = waitingRequests?.value ?? 0;
  const all = Math.max(0, running.value + waiting + more);
  // What ran while others waited is all that can run.
  const most = waiting > 0 ? running.value : (slotsTotal?.value ?? Infinity);
  const runs = Math.min(all, Math.max(most, 1));
  return {
    ...report,
    runningRequests: { ...running, value: runs },
    ...(waitingRequests === undefined
      ? {}
      : { waitingRequests: { ...waitingRequests, value: all - runs } }),
    ...(kvUsedRatio === undefined || running.value === 0
      ? {}
      : {
          kvUsedRatio: {
            ...kvUsedRatio,
            value: Math.min(1, (kvUsedRatio.value * runs) / running.value),
          },
        }),
  };
}

/** A line break is in no id. */
function keyOf(pool: PoolId, model: ModelId): string {
  return `${pool}\n${model}`;
}
