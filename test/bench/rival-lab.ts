/** A rival over pools that a test makes by hand, and the events it would see. */

import { assert } from "../../services/core/assert.ts";
import type { AttemptOutcome, Lease } from "../../services/core/lease.ts";
import { toAsk } from "../../services/core/placement/prospect.ts";
import { Prospect } from "../../services/core/placement/prospect.ts";
import { placedAt } from "../../services/core/placement/chooser.ts";
import type { Placed } from "../../services/core/placement/decide.ts";
import type { Policy } from "../../services/core/placement/policy.ts";
import type { PlacementRequest } from "../../services/core/placement/request.ts";
import { standingOf } from "../../services/core/placement/standing.ts";
import type { ModelReport, Pool, Served } from "../../services/core/pool.ts";
import type { Region } from "../../services/core/region.ts";
import type { AttemptId, LeaseId, OriginId, PoolId, RequestId } from "../../services/core/units.ts";
import type { MakeRival, Rival } from "../../bench/baselines/rival.ts";
import {
  chat,
  figure,
  geography,
  modelReport,
  northgrid,
  policy as pricesAlone,
  poolServing,
  region,
  report,
  request,
  shanghai,
  snapshot,
} from "../core/fixtures.ts";

/** Longer than any test: nothing grows stale. */
const VALID_MS = 1e12;

export interface Loads {
  readonly running?: number;
  readonly waiting?: number;
  /** Null: the engine does not say. */
  readonly kv?: number | null;
  readonly outputTokensTotal?: number;
}

export interface PoolFacts extends Loads {
  readonly slots?: number;
  readonly replicas?: number;
  readonly roundTripMs?: number;
  readonly region?: Region;
  readonly served?: Partial<Served>;
}

export const yinchuan = "yinchuan" as OriginId;

/** Of Shanghai's own demand area, where the region of the other fixtures is Yinchuan's. */
export const wuhu: Region = region("wuhu", {
  hub: "Yangtze River Delta",
  side: "east",
  demandAreas: new Set(["Yangtze River Delta"]),
});

export const map = geography({
  origins: new Map([
    ...geography().origins,
    [
      yinchuan,
      {
        id: yinchuan,
        nameEn: "Yinchuan",
        nameZh: "银川",
        demandArea: "Northwest",
        side: "west",
        latitudeDegrees: 38.5,
        longitudeDegrees: 106.2,
      },
    ],
  ]),
});

export function makePool(id: string, facts: PoolFacts = {}): Pool {
  const { slots = 1_000, replicas = 1, roundTripMs = 36 } = facts;
  const changes = { slotsTotal: slots, replicas, report: loads(facts, 0), ...facts.served };
  return poolServing(id, changes, {
    reportValidMs: VALID_MS,
    roundTripMsFrom: new Map([
      [shanghai, figure(roundTripMs)],
      [yinchuan, figure(roundTripMs)],
    ]),
    ...(facts.region === undefined ? {} : { region: facts.region }),
  });
}

function loads(
  { running = 0, waiting = 0, kv = 0, outputTokensTotal }: Loads,
  at: number,
): ModelReport {
  const of = (value: number) => figure(value, { observedAt: at, validMs: VALID_MS });
  return modelReport({
    runningRequests: of(running),
    waitingRequests: of(waiting),
    kvUsedRatio: kv === null ? undefined : of(kv),
    outputTokensTotal: outputTokensTotal === undefined ? undefined : of(outputTokensTotal),
  });
}

export class Lab {
  now = 0;
  readonly rival: Rival;
  readonly #pools: Pool[];
  readonly #policy: Policy;
  #count = 0;
  #leases: Lease[] = [];

  constructor(
    make: MakeRival,
    pools: Readonly<Record<string, PoolFacts>>,
    { seed = 1, policy = pricesAlone() }: { readonly seed?: number; readonly policy?: Policy } = {},
  ) {
    this.rival = make({ seed, replica: "control-0" });
    this.#pools = Object.entries(pools).map(([id, facts]) => makePool(id, facts));
    this.#policy = policy;
  }

  add(id: string, facts: PoolFacts): void {
    this.#pools.push(makePool(id, facts));
  }

  /** The pool that the rival takes, or "wait". */
  place(changes: Partial<PlacementRequest> = {}): string {
    const asked = this.#asked(changes);
    const decision = this.rival.choose(asked, this.#snapshot, this.#policy);
    if (decision.kind === "placed") this.#grant(decision);
    else this.rival.see({ at: this.now, kind: "placement-requested", request: asked }, []);
    return decision.kind === "placed" ? decision.pool : "wait";
  }

  /** The same, and the lease is given back at once. */
  try(changes: Partial<PlacementRequest> = {}): string {
    const pool = this.place(changes);
    if (pool !== "wait") this.end();
    return pool;
  }

  /** In order, each given back at once. */
  tries(count: number, changes: Partial<PlacementRequest> = {}): string {
    return Array.from({ length: count }, () => this.try(changes)).join(" ");
  }

  /** Requests that went to a pool although nobody asked the rival. */
  send(pool: string, count = 1, changes: Partial<PlacementRequest> = {}): void {
    for (let sent = 0; sent < count; sent++) {
      const asked = this.#asked(changes);
      const context = { ...this.#snapshot, policy: this.#policy };
      const ask = toAsk(asked, this.#policy, context);
      const there = this.#pools.find(({ id }) => id === pool);
      const served = there?.served.get(chat);
      assert(there !== undefined && served !== undefined, "the test names a pool that it made");
      const at = new Prospect(standingOf(there, served, context), ask);
      const decision = placedAt(at, ask, this.#snapshot);
      assert(decision.kind === "placed", "what is placed is placed");
      this.#grant(decision);
    }
  }

  /** Ends the lease that was granted last of those that live. */
  end(outcome?: Partial<AttemptOutcome>): void {
    const lease = this.#leases.pop();
    assert(lease !== undefined, "something was placed");
    this.rival.see(
      {
        at: this.now,
        kind: "lease-released",
        lease: lease.id,
        fence: lease.fence,
        outcome: outcome === undefined ? undefined : outcomeOf(outcome),
      },
      [],
    );
  }

  endAll(): void {
    while (this.#leases.length > 0) this.end();
  }

  /** A request that was sent to a pool and came back like this. */
  learn(pool: string, outcome: Partial<AttemptOutcome>, times = 1): void {
    for (let time = 0; time < times; time++) {
      this.send(pool);
      this.end(outcome);
    }
  }

  /** What a pool says now; the dispatcher believes it too. */
  report(pool: string, facts: Loads): void {
    const said = loads(facts, this.now);
    const place = this.#pools.findIndex(({ id }) => id === pool);
    const before = this.#pools[place];
    const served = before?.served.get(chat);
    assert(before !== undefined && served !== undefined, "the test names a pool that it made");
    this.#pools[place] = { ...before, served: new Map([[chat, { ...served, report: said }]]) };
    this.rival.see(
      {
        at: this.now,
        kind: "pool-reported",
        vendor: northgrid,
        report: report(pool, { models: [said] }),
      },
      [{ kind: "report-answered", pool: pool as PoolId, result: "accepted", detail: "" }],
    );
  }

  get #snapshot() {
    return snapshot([...this.#pools], { now: this.now, geography: map });
  }

  #asked(changes: Partial<PlacementRequest>): PlacementRequest {
    this.#count += 1;
    const id = `r${this.#count}`;
    return request({ request: id as RequestId, attempt: `${id}/1` as AttemptId, ...changes });
  }

  #grant(decision: Placed): void {
    const lease = {
      id: `l${this.#count}` as LeaseId,
      pool: decision.pool,
      model: decision.model,
      attempt: decision.attempt,
      fence: this.#count,
      grantedAt: this.now,
      expiresAt: this.now + VALID_MS,
    };
    this.#leases.push(lease);
    this.rival.see({ at: this.now, kind: "placement-requested", request: decision.request }, [
      { kind: "answer", decision, lease },
    ]);
  }
}

function outcomeOf(changes: Partial<AttemptOutcome>): AttemptOutcome {
  return {
    result: "ok",
    ttftMs: undefined,
    itlMsMean: undefined,
    headersMs: undefined,
    inputTokens: undefined,
    cachedTokens: undefined,
    outputTokens: undefined,
    durationMs: undefined,
    ...changes,
  };
}

/** How often each pool was taken, by as many rivals as there are seeds. */
export function shares(
  seeds: number,
  placed: (seed: number) => string,
): Readonly<Record<string, number>> {
  const counts: Record<string, number> = {};
  for (let seed = 1; seed <= seeds; seed++) {
    const pool = placed(seed);
    counts[pool] = (counts[pool] ?? 0) + 1;
  }
  return counts;
}

/** All that were taken over fifty seeds, in order: one where the policy is sure, several where it draws. */
export function everTaken(placed: (seed: number) => string): string {
  return Object.keys(shares(50, placed)).toSorted().join(" ");
}
