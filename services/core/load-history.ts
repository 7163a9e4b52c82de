import type { Lease } from "./lease.ts";
import type { Instant, LeaseId, ModelId, PoolId } from "./units.ts";

/** What a model at a pool is doing, over all replicas. */
export interface LoadNow {
  /** Requests that run together. */
  readonly running: number;
  readonly kvTokens: number;
  readonly prefillTokensPerMs: number;
}

/** Sums over time since the history began: of two, the difference by the time between them is the mean. */
interface Sums {
  readonly at: Instant;
  readonly running: number;
  readonly kvTokens: number;
  readonly prefillTokens: number;
  /** Of prompts that we placed ourselves: what no report has told yet. */
  readonly placedTokens: number;
}

interface Track {
  now: LoadNow;
  sums: Sums;
}

export interface LoadHistoryImage {
  readonly tracks: readonly {
    readonly pool: PoolId;
    readonly model: ModelId;
    readonly now: LoadNow;
    readonly sums: Sums;
  }[];
  readonly begun: readonly (readonly [LeaseId, Sums])[];
}

/** More than any pool does: what is beyond would drown all that comes after it in the sums. */
const RUNNING_MAX = 1_000_000;
const KV_TOKENS_MAX = 1e10;
const PREFILL_TOKENS_PER_MS_MAX = 1_000_000;

const nothing = { running: 0, kvTokens: 0, prefillTokens: 0, placedTokens: 0 };

/** How loaded a pool was while an attempt was there. One entry for each model of a pool and each lease that lives. */
export class LoadHistory {
  readonly #tracks = new Map<PoolId, Map<ModelId, Track>>();
  readonly #begun = new Map<LeaseId, Sums>();

  /** From now on. */
  note(pool: PoolId, model: ModelId, told: LoadNow, at: Instant): void {
    const load = within(told);
    const ofPool = this.#tracks.get(pool) ?? new Map<ModelId, Track>();
    this.#tracks.set(pool, ofPool);
    const track = ofPool.get(model);
    if (track === undefined) {
      ofPool.set(model, { now: load, sums: { at, ...nothing } });
      return;
    }
    track.sums = sumsAt(track, at);
    track.now = load;
  }

  /** A prompt of so many tokens is on its way: in what others have to do, but not in its own. */
  begin(
    { id, pool, model }: Pick<Lease, "id" | "pool" | "model">,
    uncachedTokens: number,
    at: Instant,
  ): void {
    const track = this.#tracks.get(pool)?.get(model);
    if (track === undefined) return;
    const sums = sumsAt(track, at);
    const placedTokens = sums.placedTokens + uncachedTokens;
    track.sums = { ...sums, placedTokens };
    this.#begun.set(id, track.sums);
  }

  /** The mean since the lease began. Undefined: there is none, or no time has passed. */
  end(lease: LeaseId, pool: PoolId, model: ModelId, at: Instant): LoadNow | undefined {
    const begun = this.#begun.get(lease);
    this.#begun.delete(lease);
    const track = this.#tracks.get(pool)?.get(model);
    if (begun === undefined || track === undefined || at <= begun.at) return undefined;
    const sums = sumsAt(track, at);
    const ms = at - begun.at;
    return {
      running: (sums.running - begun.running) / ms,
      kvTokens: (sums.kvTokens - begun.kvTokens) / ms,
      prefillTokensPerMs:
        Math.max(sums.prefillTokens - begun.prefillTokens, sums.placedTokens - begun.placedTokens) /
        ms,
    };
  }

  image(): LoadHistoryImage {
    const tracks = [...this.#tracks].flatMap(([pool, byModel]) =>
      [...byModel].map(([model, { now, sums }]) => ({ pool, model, now, sums })),
    );
    return { tracks, begun: [...this.#begun] };
  }

  restore({ tracks, begun }: LoadHistoryImage): void {
    for (const { pool, model, now, sums } of tracks) {
      const ofPool = this.#tracks.get(pool) ?? new Map<ModelId, Track>();
      this.#tracks.set(pool, ofPool.set(model, { now, sums }));
    }
    for (const [lease, sums] of begun) this.#begun.set(lease, sums);
  }
}

function within({ running, kvTokens, prefillTokensPerMs }: LoadNow): LoadNow {
  return {
    running: Math.min(RUNNING_MAX, running),
    kvTokens: Math.min(KV_TOKENS_MAX, kvTokens),
    prefillTokensPerMs: Math.min(PREFILL_TOKENS_PER_MS_MAX, prefillTokensPerMs),
  };
}

function sumsAt({ now, sums }: Track, at: Instant): Sums {
  const ms = Math.max(0, at - sums.at);
  return {
    at: sums.at + ms,
    running: sums.running + now.running * ms,
    kvTokens: sums.kvTokens + now.kvTokens * ms,
    prefillTokens: sums.prefillTokens + now.prefillTokensPerMs * ms,
    placedTokens: sums.placedTokens,
  };
}
