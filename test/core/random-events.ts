import type { Event } from "../../services/core/events.ts";
import type { Budget } from "../../services/core/placement/budget.ts";
import type { AttemptOutcome, AttemptResult, Lease } from "../../services/core/lease.ts";
import { randomFromSeed, type Random } from "../../services/core/random.ts";
import { keys } from "../../services/core/table.ts";
import type {
  AttemptId,
  BookId,
  ModelId,
  OriginId,
  PoolId,
  ReplicaId,
  RequestId,
  TenantId,
  VendorId,
} from "../../services/core/units.ts";
import {
  chat,
  figure,
  geography,
  modelReport,
  policy,
  priceBook,
  registration,
  report,
  request,
  servedModel,
  shanghai,
} from "./fixtures.ts";

type Body<Kind extends Event["kind"]> = Omit<Extract<Event, { readonly kind: Kind }>, "at">;

const ids = ["a", "b", "c", "d", "e", "f"];
const small = "qwen3-8b" as ModelId;
/** So many failures that some pool fails often enough in a row. */
const results: readonly AttemptResult[] = ["ok", "ok", "ok", "reset", "upstream-5xx", "cancelled"];

/**
 * Events of every kind in an order that a seed draws. The next one may depend on what was granted, so the one who steps
 * them says so.
 */
export class RandomEvents {
  readonly #random: Random;
  readonly #held: Lease[] = [];
  #at = 1_000_000;
  #sequence = 0;
  #version = 1;

  constructor(seed: number) {
    this.#random = randomFromSeed(seed);
  }

  granted(lease: Lease): void {
    if (!this.#held.some(({ id }) => id === lease.id)) this.#held.push(lease);
  }

  /** What must be there before anything is placed. */
  first(): Event[] {
    return [
      this.#now({ kind: "geography-set", geography: geography() }),
      ...["northgrid", "southgrid"].map((vendor) => this.#prices(vendor, 0)),
      ...ids.map((id) => this.#registered(id)),
      ...ids.map((id) => this.#now({ kind: "share-set", pool: id as PoolId, share: 1 })),
      ...ids.map((id) => this.#reported(id)),
    ];
  }

  next(): Event {
    this.#at += this.#between(1, 400);
    return this.#makers[this.#any(kinds)]();
  }

  readonly #makers: Readonly<Record<Kind, () => Event>> = {
    "geography-set": () => this.#now({ kind: "geography-set", geography: geography() }),
    "pool-registered": () => this.#registered(this.#any(ids)),
    "pool-reported": () => this.#reported(this.#any(ids)),
    "pool-marked": () => {
      const status = this.#random() < 0.2 ? "cordoned" : "ready";
      return this.#now({ kind: "pool-marked", pool: this.#any(ids) as PoolId, status });
    },
    "pool-cut": () => this.#now({ kind: "pool-cut", pool: this.#any(ids) as PoolId }),
    "share-set": () => {
      const share = this.#any([0.5, 1]);
      return this.#now({ kind: "share-set", pool: this.#any(ids) as PoolId, share });
    },
    "prices-published": () =>
      this.#prices(this.#any(["northgrid", "southgrid"]), this.#between(-60_000, 60_000)),
    "policy-set": () =>
      this.#now({
        kind: "policy-set",
        policy: policy({ revision: this.#between(1, 9), budgets: this.#any(anyBudgets) }),
      }),
    "budgets-inherited": () => {
      const at = this.#at;
      const buckets = [{ index: Math.floor(at / 60_000), amount: this.#between(1, 9_000_000) }];
      const account = { budget: "hour", tenant: "acme" as TenantId, unit: "cny" as const };
      const rest = { windowMs: 3_600_000, held: 5, leases: 1, dual: { log: -1, at } };
      return this.#now({
        kind: "budgets-inherited",
        accounts: [{ ...account, ...rest, buckets }],
      });
    },
    "paths-observed": () => {
      const found = figure(this.#between(5, 60), { observedAt: this.#at });
      const roundTripMsByPool = new Map([[this.#any(ids) as PoolId, found]]);
      return this.#now({ kind: "paths-observed", origin: shanghai, roundTripMsByPool });
    },
    "placement-requested": () => this.#requested(),
    "lease-renewed": () => this.#ended("lease-renewed"),
    "lease-released": () => this.#ended("lease-released"),
    "placements-elsewhere": () => this.#elsewhere(),
    "time-passed": () => this.#now({ kind: "time-passed" }),
  };

  #requested(): Event {
    this.#sequence += 1;
    const name = this.#random() < 0.03 ? this.#sequence - 1 : this.#sequence;
    return this.#now({
      kind: "placement-requested",
      request: request({
        request: `r${name}` as RequestId,
        attempt: `r${name}/1` as AttemptId,
        tenant: this.#any(["acme", "zenith"]) as TenantId,
        model: this.#random() < 0.3 ? small : chat,
        class: this.#any(["llm-interactive", "batch-offline"]),
        origin: this.#random() < 0.05 ? ("nowhere" as OriginId) : shanghai,
        inputTokens: this.#between(1, 4_000),
        outputTokensMax: this.#any([undefined, 200]),
        excluded: new Set(this.#random() < 0.1 ? [this.#any(ids) as PoolId] : []),
        ...this.#prefix(),
      }),
    });
  }

  /** Prompts that begin alike, so that what is remembered of them is found again. */
  #prefix(): { readonly prefixBlocks?: readonly number[] } {
    if (this.#random() < 0.3) return {};
    const conversation = this.#between(1, 20);
    const blocks = this.#between(1, 8);
    return { prefixBlocks: Array.from({ length: blocks }, (_, at) => conversation * 1_000 + at) };
  }

  #elsewhere(): Event {
    this.#sequence += 1;
    const models = this.#any([
      [],
      [
        {
          pool: this.#any(ids) as PoolId,
          model: chat,
          slotsLeased: this.#between(0, 3),
          steps: [{ agoMs: this.#between(0, 9_000), granted: this.#between(0, 3), ended: 1 }],
        },
      ],
    ]);
    const replica = this.#any(["control-1", "control-2"]) as ReplicaId;
    const digest = { replica, sequence: this.#sequence - this.#between(0, 2), models };
    return this.#now({ kind: "placements-elsewhere", digest });
  }

  #ended(kind: "lease-renewed" | "lease-released"): Event {
    const lease = this.#held[Math.floor(this.#random() * this.#held.length)];
    if (lease === undefined) return this.#now({ kind: "time-passed" });
    const { id, fence } = lease;
    if (kind === "lease-renewed") return this.#now({ kind, lease: id, fence });
    this.#held.splice(this.#held.indexOf(lease), 1);
    const outcome = this.#random() < 0.1 ? undefined : this.#outcome();
    return this.#now({ kind, lease: id, fence, outcome });
  }

  #outcome(): AttemptOutcome {
    const result = this.#any(results);
    const isOk = result === "ok";
    return {
      result,
      ttftMs: isOk ? this.#between(50, 900) : undefined,
      itlMsMean: isOk ? this.#between(15, 60) : undefined,
      headersMs: this.#between(10, 100),
      inputTokens: 1_000,
      cachedTokens: isOk ? this.#between(0, 900) : undefined,
      outputTokens: isOk ? this.#between(1, 500) : undefined,
      durationMs: this.#between(100, 60_000),
    };
  }

  #registered(id: string): Event {
    const models = [servedModel()];
    if (this.#random() < 0.6) models.push(servedModel({ model: small }));
    const generation = this.#random() < 0.1 ? 2 : 1;
    return this.#now({
      kind: "pool-registered",
      registration: registration(id, { vendor: vendorOf(id), models, generation }),
    });
  }

  #reported(id: string): Event {
    this.#sequence += 1;
    const observedAt = this.#at - this.#between(0, 500);
    const model = modelReport({
      runningRequests: figure(this.#between(0, 6), { observedAt }),
      waitingRequests: figure(this.#random() < 0.2 ? this.#between(0, 3) : 0, { observedAt }),
      kvUsedRatio: figure(this.#random() / 2, { observedAt }),
      promptTokensTotal: figure(this.#at, { observedAt }),
    });
    return this.#now({
      kind: "pool-reported",
      vendor: this.#random() < 0.05 ? ("southgrid" as VendorId) : vendorOf(id),
      report: report(id, {
        sequence: this.#sequence,
        generation: this.#any([1, 1, 2]),
        models: [model],
      }),
    });
  }

  #prices(vendor: string, fromMs: number): Event {
    this.#version += 1;
    return this.#now({
      kind: "prices-published",
      book: priceBook({
        id: `${vendor}-2026` as BookId,
        vendor: vendor as VendorId,
        version: BigInt(this.#version),
        effectiveFromUs: BigInt(this.#at + fromMs) * 1_000n,
      }),
    });
  }

  #now(body: { [Kind in Event["kind"]]: Body<Kind> }[Event["kind"]]): Event {
    return { ...body, at: this.#at } as Event;
  }

  #between(low: number, high: number): number {
    return low + Math.floor(this.#random() * (high - low + 1));
  }

  #any<Item>(items: readonly Item[]): Item {
    return items[Math.floor(this.#random() * items.length)] as Item;
  }
}

const hour: Budget = {
  id: "hour",
  when: {},
  unit: "cny",
  limit: 60_000_000,
  windowMs: 3_600_000,
  isHard: true,
  dualNanoMax: 4,
};

/** None, one for each tenant, and several that apply to one. */
const anyBudgets: readonly (readonly Budget[])[] = [
  [],
  [hour],
  [
    { ...hour, limit: 20_000_000, isHard: false },
    {
      ...hour,
      id: "carbon",
      when: { tenants: new Set(["zenith" as TenantId]), models: new Set([chat]) },
      unit: "gco2e",
      windowMs: 60_000,
      dualNanoMax: 1e7,
    },
  ],
];

function vendorOf(id: string): VendorId {
  return (id < "d" ? "northgrid" : "southgrid") as VendorId;
}

/** How often each kind comes, so that leases are held while other things happen. */
const weights = {
  "placement-requested": 40,
  "lease-released": 25,
  "lease-renewed": 8,
  "pool-reported": 15,
  "time-passed": 3,
  "paths-observed": 2,
  "placements-elsewhere": 2,
  "pool-marked": 2,
  "pool-registered": 1,
  "prices-published": 1,
  "share-set": 1,
  "pool-cut": 1,
  "policy-set": 1,
  "budgets-inherited": 1,
  "geography-set": 1,
} as const satisfies Readonly<Record<Event["kind"], number>>;

type Kind = keyof typeof weights;

const kinds = keys(weights).flatMap((kind) => Array.from({ length: weights[kind] }, () => kind));
