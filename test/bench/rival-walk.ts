/** A real dispatcher that a rival chooses for, and a fleet in which anything happens. */

import { expect } from "vitest";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { Effect, Event } from "../../services/core/events.ts";
import type { AttemptOutcome, AttemptResult, Lease } from "../../services/core/lease.ts";
import { eligible } from "../../services/core/placement/chooser.ts";
import type { Choose } from "../../services/core/placement/decide.ts";
import { serviceClasses, type PlacementRequest } from "../../services/core/placement/request.ts";
import { randomFromSeed, type Random } from "../../services/core/random.ts";
import type {
  AttemptId,
  ModelId,
  PoolId,
  RegionId,
  ReplicaId,
  RequestId,
  TenantId,
} from "../../services/core/units.ts";
import { Admission } from "../../bench/baselines/admission.ts";
import { Endpoints } from "../../bench/baselines/endpoints.ts";
import type { MakeRival, Rival } from "../../bench/baselines/rival.ts";
import {
  chat,
  engineProfile,
  figure,
  modelReport,
  northgrid,
  policy,
  priceBook,
  registration,
  report,
  request,
  servedModel,
  shanghai,
} from "../core/fixtures.ts";
import { map, wuhu, yinchuan } from "./rival-lab.ts";

const other = "qwen3-8b" as ModelId;
const pools = ["p0", "p1", "p2", "p3", "p4", "p5"] as PoolId[];
const results: readonly AttemptResult[] = [
  "ok",
  "ok",
  "ok",
  "connect-error",
  "timeout",
  "upstream-4xx",
  "upstream-5xx",
  "reset",
  "cancelled",
];
const rules = policy({ leaseMs: 2_000 });

export interface WalkResult {
  /** What was chosen, in order. */
  readonly chosen: readonly string[];
  readonly granted: number;
}

/** So many random events, with what must always hold checked after each. */
export function walk(make: MakeRival, seed: number, events: number): WalkResult {
  return new Walk(make, seed).run(events);
}

class Walk {
  readonly #random: Random;
  readonly #endpoints = new Endpoints();
  readonly #rival: Rival;
  readonly #dispatcher: Dispatcher;
  readonly #admissions = new Map<ModelId, Admission>();
  readonly #chosen: string[] = [];
  #open: Lease[] = [];
  #now = 0;
  #count = 0;
  #granted = 0;

  constructor(make: MakeRival, seed: number) {
    this.#random = randomFromSeed(seed);
    this.#rival = make({ seed, replica: "control-0", endpoints: this.#endpoints });
    const choose: Choose = (asked, at, policyNow) => {
      const decision = this.#rival.choose(asked, at, policyNow);
      const fit = eligible(asked, at, policyNow).prospects.map(({ pool }) => pool.id);
      expect(this.#admittedTo(asked, at, policyNow)).toEqual(fit);
      if (decision.kind === "placed") expect(fit).toContain(decision.pool);
      this.#chosen.push(decision.kind === "placed" ? decision.pool : decision.reason);
      return decision;
    };
    this.#dispatcher = new Dispatcher("control-0" as ReplicaId, rules, choose);
    for (const event of this.#beginning()) this.#happen(event);
  }

  run(events: number): WalkResult {
    for (let event = 0; event < events; event++) {
      this.#now += this.#random() ** 3 * 400;
      for (const each of this.#next()) this.#happen(each);
      this.#checkCounts();
    }
    return { chosen: this.#chosen, granted: this.#granted };
  }

  /** What every rival is offered. */
  #admittedTo(...[asked, at, policyNow]: Parameters<Choose>): readonly PoolId[] {
    const admission = this.#admissions.get(asked.model) ?? new Admission();
    this.#admissions.set(asked.model, admission);
    return admission.admitted(asked, at, policyNow).prospects.map(({ pool }) => pool.id);
  }

  #beginning(): Event[] {
    const at = 0;
    const joining = pools.flatMap((id, index): Event[] => {
      const slotsTotal = 2 + 3 * index;
      const models = [chat, other].map((model) =>
        servedModel({ model, slotsTotal, replicas: 1 + (index % 3), engineProfile }),
      );
      const region = (index % 2 === 0 ? "zhongwei" : "wuhu") as RegionId;
      return [
        { at, kind: "pool-registered", registration: registration(id, { models, region }) },
        { at, kind: "share-set", pool: id, share: 1 },
        this.#report(id),
      ];
    });
    const lines = [chat, other].flatMap((model) =>
      priceBook().lines.map((line) => ({ ...line, id: `${model} ${line.tokenClass}`, model })),
    );
    const geography = { ...map, regions: new Map(map.regions).set(wuhu.id, wuhu) };
    return [
      { at, kind: "geography-set", geography },
      ...joining,
      { at, kind: "prices-published", book: priceBook({ lines }) },
    ];
  }

  #next(): Event[] {
    const at = this.#now;
    const draw = this.#random();
    const pool = this.#drawn(pools);
    if (draw < 0.45) return [{ at, kind: "placement-requested", request: this.#request() }];
    if (draw < 0.75) return this.#release();
    if (draw < 0.9) return [this.#report(pool)];
    if (draw < 0.93) return this.#renewal();
    if (draw < 0.96) return [{ at, kind: "time-passed" }];
    if (draw < 0.97) return [{ at, kind: "pool-cut", pool }];
    const status = this.#random() < 0.2 ? "cordoned" : "ready";
    return [{ at, kind: "pool-marked", pool, status }];
  }

  #happen(event: Event): void {
    const effects: readonly Effect[] = this.#dispatcher.step(event);
    for (const effect of effects) {
      if (effect.kind !== "answer" || effect.lease === undefined) continue;
      this.#granted += 1;
      this.#open.push(effect.lease);
    }
    this.#rival.see(event, effects);
  }

  /** Now and then one that was asked before, whose lease may live. */
  #request(): PlacementRequest {
    const isAgain = this.#random() < 0.1;
    if (!isAgain) this.#count += 1;
    const blocks = Math.floor(this.#random() * 20);
    const family = Math.floor(this.#random() * 4);
    const prefixBlocks = Array.from({ length: blocks }, (_, index) => family * 1_000 + index);
    return request({
      request: `r${this.#count}` as RequestId,
      attempt: `r${this.#count}/1` as AttemptId,
      model: this.#random() < 0.8 ? chat : other,
      tenant: this.#drawn(["acme", "umbrella"] as TenantId[]),
      class: this.#drawn(serviceClasses),
      dataClass: this.#random() < 0.9 ? "general" : "personal",
      regions: new Set(this.#random() < 0.1 ? [wuhu.id] : []),
      origin: this.#random() < 0.7 ? shanghai : yinchuan,
      inputTokens: 64 * blocks + 1 + Math.floor(this.#random() * 2_000),
      ...(this.#random() < 0.2 ? {} : { prefixBlocks }),
      excluded: new Set(this.#random() < 0.2 ? [this.#drawn(pools)] : []),
    });
  }

  /** Some are given back twice, or by who has an old fence. */
  #release(): Event[] {
    const lease = this.#drawnLease();
    if (lease === undefined) return [];
    if (this.#random() < 0.9) this.#open = this.#open.filter((each) => each !== lease);
    const fence = this.#random() < 0.95 ? lease.fence : lease.fence - 1;
    const outcome = this.#random() < 0.9 ? this.#outcome() : undefined;
    return [{ at: this.#now, kind: "lease-released", lease: lease.id, fence, outcome }];
  }

  #renewal(): Event[] {
    const lease = this.#drawnLease();
    if (lease === undefined) return [];
    return [{ at: this.#now, kind: "lease-renewed", lease: lease.id, fence: lease.fence }];
  }

  #outcome(): AttemptOutcome {
    const result = this.#drawn(results);
    const isOk = result === "ok";
    return {
      result,
      ttftMs: isOk ? 50 + 500 * this.#random() : undefined,
      itlMsMean: isOk ? 20 : undefined,
      headersMs: isOk ? 40 : undefined,
      inputTokens: isOk ? 100 : undefined,
      cachedTokens: undefined,
      outputTokens: isOk ? Math.floor(100 * this.#random()) : undefined,
      durationMs: 100 + 5_000 * this.#random(),
    };
  }

  #report(pool: PoolId): Event {
    const of = (value: number) => figure(value, { observedAt: this.#now });
    const models = [chat, other].map((model) =>
      modelReport({
        model,
        runningRequests: of(Math.floor(8 * this.#random())),
        waitingRequests: of(this.#random() < 0.7 ? 0 : 2),
        kvUsedRatio: this.#random() < 0.1 ? undefined : of(this.#random()),
        outputTokensTotal: of(10 * this.#now),
      }),
    );
    const sequence = Math.floor(this.#now * 1_000) + 1;
    return {
      at: this.#now,
      kind: "pool-reported",
      vendor: northgrid,
      report: report(pool, { models, sequence }),
    };
  }

  /** What the rival counted is what the dispatcher has. */
  #checkCounts(): void {
    for (const pool of this.#dispatcher.pools) {
      for (const served of pool.served.values()) {
        expect(this.#endpoints.inFlight({ pool, served })).toBe(served.slotsLeased);
      }
    }
  }

  #drawnLease(): Lease | undefined {
    return this.#open[Math.floor(this.#random() * this.#open.length)];
  }

  #drawn<Item>(items: readonly Item[]): Item {
    const item = items[Math.floor(this.#random() * items.length)];
    if (item === undefined) throw new Error("expected a list that is not empty");
    return item;
  }
}
