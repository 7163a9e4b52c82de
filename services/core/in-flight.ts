import type { Instant, ModelId, PoolId } from "./units.ts";

/** What came and went at one model of a pool since its engine was last asked. */
export interface Flow {
  readonly grantedSinceReport: number;
  readonly endedSinceReport: number;
}

interface Moves {
  grants: Instant[];
  ends: Instant[];
}

export interface MovesImage {
  readonly pool: PoolId;
  readonly model: ModelId;
  readonly grants: readonly Instant[];
  readonly ends: readonly Instant[];
}

/** Beyond it the oldest are taken to be in the report. Only reports that stay away make it grow. */
const MOVES_MAX = 65_536;

/** The instants of grants and ends, so that a report, however late, corrects only what it saw. */
export class InFlight {
  readonly #movesByPool = new Map<PoolId, Map<ModelId, Moves>>();

  granted(pool: PoolId, model: ModelId, at: Instant): Flow {
    const moves = this.#moves(pool, model);
    moves.grants.push(at);
    return flowOf(moves);
  }

  ended(pool: PoolId, model: ModelId, at: Instant): Flow {
    const moves = this.#moves(pool, model);
    moves.ends.push(at);
    return flowOf(moves);
  }

  /** Forgets what happened up to the instant at which the engine was asked. */
  observed(pool: PoolId, model: ModelId, observedAt: Instant): Flow {
    const moves = this.#moves(pool, model);
    moves.grants = moves.grants.filter((at) => at > observedAt);
    moves.ends = moves.ends.filter((at) => at > observedAt);
    return flowOf(moves);
  }

  /** As it is. */
  flow(pool: PoolId, model: ModelId): Flow {
    return flowOf(this.#moves(pool, model));
  }

  image(): readonly MovesImage[] {
    return [...this.#movesByPool].flatMap(([pool, byModel]) =>
      [...byModel].map(([model, { grants, ends }]) => ({
        pool,
        model,
        grants: [...grants],
        ends: [...ends],
      })),
    );
  }

  restore(image: readonly MovesImage[]): void {
    for (const { pool, model, grants, ends } of image) {
      const moves = this.#moves(pool, model);
      moves.grants = [...grants];
      moves.ends = [...ends];
    }
  }

  #moves(pool: PoolId, model: ModelId): Moves {
    const ofPool = this.#movesByPool.get(pool) ?? new Map<ModelId, Moves>();
    this.#movesByPool.set(pool, ofPool);
    const moves = ofPool.get(model) ?? { grants: [], ends: [] };
    ofPool.set(model, moves);
    if (moves.grants.length > MOVES_MAX) moves.grants.splice(0, MOVES_MAX / 2);
    if (moves.ends.length > MOVES_MAX) moves.ends.splice(0, MOVES_MAX / 2);
    return moves;
  }
}

function flowOf({ grants, ends }: Moves): Flow {
  return { grantedSinceReport: grants.length, endedSinceReport: ends.length };
}
