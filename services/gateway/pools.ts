import { Code, ConnectError, type Client } from "@connectrpc/connect";
import { setTimeout as delay } from "node:timers/promises";
import type { EngineCapability, EngineKind, PoolStatus } from "../core/pool.ts";
import type { Side } from "../core/region.ts";
import type { ModelId, PoolId, RegionId, VendorId } from "../core/units.ts";
import type { Log } from "../io/log.ts";
import type { Pool, PoolService } from "../wire/gen/tokengrid/v1/pool_pb.js";
import { engineCapabilities, engineKinds, poolStatuses } from "../wire/pool.ts";

/** A pool as far as a gateway minds: where it is and how to speak to it. */
export interface PoolEntry {
  readonly id: PoolId;
  readonly vendor: VendorId;
  readonly region: RegionId;
  readonly side: Side;
  readonly endpoint: string;
  readonly engine: EngineKind;
  readonly status: PoolStatus;
  readonly models: ReadonlyMap<ModelId, PoolModel>;
}

export interface PoolModel {
  readonly version: string;
  readonly capabilities: ReadonlySet<EngineCapability>;
}

const backoffMsMin = 100;
const backoffMsMax = 5_000;

/** The pools that control knows, kept up by its watch. What was heard last stands while control is away. */
export class PoolDirectory {
  readonly #client: Client<typeof PoolService>;
  readonly #log: Log;
  readonly #onPool: (id: PoolId) => void;
  readonly #onList: (pools: ReadonlyMap<PoolId, PoolEntry>) => void;
  #pools: ReadonlyMap<PoolId, PoolEntry> = new Map();
  /** Told already: those of the last list, which says them again and again. */
  #unreadable: ReadonlySet<string> = new Set();
  #isKnown = false;

  constructor(options: {
    readonly client: Client<typeof PoolService>;
    readonly log: Log;
    /** Called once for each pool that is new. */
    readonly onPool: (id: PoolId) => void;
    /** Called with all pools there are, each time they are heard. */
    readonly onList: (pools: ReadonlyMap<PoolId, PoolEntry>) => void;
  }) {
    this.#client = options.client;
    this.#log = options.log;
    this.#onPool = options.onPool;
    this.#onList = options.onList;
  }

  /** The first snapshot is there. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  get pools(): ReadonlyMap<PoolId, PoolEntry> {
    return this.#pools;
  }

  /** Asks control for a pool that joined since its last snapshot. Undefined if there is none, or control is away. */
  async find(id: PoolId): Promise<PoolEntry | undefined> {
    const known = this.#pools.get(id);
    if (known !== undefined) return known;
    try {
      const { pool } = await this.#client.get({ poolId: id }, { timeoutMs: 2_000 });
      return pool && toPoolEntry(pool);
    } catch (error) {
      if (!(error instanceof ConnectError)) throw error;
      const isTold = error.code === Code.NotFound || this.#unreadable.has(id);
      if (!isTold) this.#log.warn({ pool: id, error }, "a pool is not known");
      return undefined;
    }
  }

  /** Until the signal says stop. */
  async watch(signal: AbortSignal): Promise<void> {
    let backoffMs = backoffMsMin;
    const isStopped = (): boolean => signal.aborted;
    while (!isStopped()) {
      try {
        for await (const { pools } of this.#client.watch({}, { signal })) {
          this.#apply(pools);
          backoffMs = backoffMsMin;
        }
      } catch (error) {
        if (isStopped()) return;
        this.#log.warn({ error: String(error), backoffMs }, "the watch of pools ended");
      }
      await delay(backoffMs, undefined, { ref: false });
      backoffMs = Math.min(backoffMs * 2, backoffMsMax);
    }
  }

  #apply(pools: readonly Pool[]): void {
    const unreadable = new Set<string>();
    const entries = pools
      .map((pool) => this.#readable(pool, unreadable))
      .filter((entry) => entry !== undefined);
    this.#unreadable = unreadable;
    for (const { id } of entries) if (!this.#pools.has(id)) this.#onPool(id);
    this.#pools = new Map(entries.map((entry) => [entry.id, entry]));
    this.#isKnown = true;
    this.#onList(this.#pools);
  }

  /** What one pool says that is not understood here, as a newer control may, does not hide the others. */
  #readable(pool: Pool, unreadable: Set<string>): PoolEntry | undefined {
    try {
      return toPoolEntry(pool);
    } catch (error) {
      const id = pool.registration?.poolId ?? "";
      unreadable.add(id);
      if (!this.#unreadable.has(id)) this.#log.warn({ pool: id, error }, "a pool is passed over");
      return undefined;
    }
  }
}

function toPoolEntry({ registration, region, status }: Pool): PoolEntry | undefined {
  if (registration === undefined) return undefined;
  return {
    id: registration.poolId as PoolId,
    vendor: registration.vendorId as VendorId,
    region: registration.regionId as RegionId,
    side: region?.side === "west" ? "west" : "east",
    endpoint: registration.endpoint,
    engine: engineKinds.toWord("engine", registration.engine),
    status: poolStatuses.toWord("status", status),
    models: new Map(
      registration.models.map(({ modelId, version, capabilities }) => [
        modelId as ModelId,
        {
          version,
          capabilities: new Set(
            capabilities.map((each) => engineCapabilities.toWord("capabilities", each)),
          ),
        },
      ]),
    ),
  };
}
