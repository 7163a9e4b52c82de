import type { AttemptOutcome, Placement } from "../core/lease.ts";
import type { Log } from "../io/log.ts";
import type { PlacementClient } from "./placement-client.ts";
import type { PoolEntry } from "./pools.ts";

/** Keeps the lease of one attempt alive until the pool's stream ends. */
export class LeaseHolder {
  readonly #client: PlacementClient;
  readonly #placement: Placement;
  readonly #log: Log;
  #renewAt: number;
  #isGone = false;
  #isReleased = false;

  constructor(client: PlacementClient, placement: Placement, log: Log) {
    this.#client = client;
    this.#placement = placement;
    this.#log = log;
    this.#renewAt = performance.now() + placement.ttlMs / 2;
  }

  /** The lease was taken away because its pool is drained. A lease that control forgot cuts nothing. */
  isCut(pool: PoolEntry): boolean {
    return this.#isGone && pool.status === "draining";
  }

  tick(now: number): void {
    if (now < this.#renewAt || this.#isGone || this.#isReleased) return;
    const { lease, fence, ttlMs } = this.#placement;
    // Asked again soon if no answer comes.
    this.#renewAt = now + ttlMs / 4;
    this.#client.renew(lease, fence).then(
      (renewed) => {
        if (renewed !== "gone") this.#renewAt = performance.now() + renewed.ttlMs / 2;
        else if (!this.#isReleased) {
          this.#isGone = true;
          this.#log.warn(
            { lease, pool: this.#placement.pool },
            "the lease is gone, the stream goes on",
          );
        }
      },
      (error: unknown) => this.#log.debug({ lease, error: String(error) }, "lease not renewed"),
    );
  }

  release(outcome: AttemptOutcome | undefined): void {
    if (this.#isReleased) return;
    this.#isReleased = true;
    this.#client.release(this.#placement, outcome);
  }
}
