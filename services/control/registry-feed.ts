import { fromJson } from "@bufbuild/protobuf";
import { z } from "zod";
import type { Event } from "../core/events.ts";
import type { Policy } from "../core/placement/policy.ts";
import type { PoolStatus } from "../core/pool.ts";
import type { Geography } from "../core/region.ts";
import type { Calendar } from "../core/settlement/pricing/price-book.ts";
import type { Instant, PoolId } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import type { Entry, EntryKind, Registry } from "../io/registry.ts";
import { PoolRegistrationSchema } from "../wire/gen/tokengrid/v1/pool_pb.js";
import { PriceBookSchema } from "../wire/gen/tokengrid/v1/price_pb.js";
import { toPoolRegistration } from "../wire/pool.ts";
import { toPriceBook } from "../wire/price.ts";
import type { Step } from "./loop.ts";
import { policyIn, policyKey } from "./policy-record.ts";

/** What operators want of a pool, as the registry keeps it. */
export const poolStatusSchema = z.strictObject({
  status: z.enum(["ready", "cordoned", "draining"]) satisfies z.ZodType<PoolStatus>,
  /** Epoch milliseconds when what is left is cut; only while it drains. */
  cutAt: z.number().optional(),
});

export type PoolStatusRecord = z.output<typeof poolStatusSchema>;

export interface RegistryFeed {
  /** Resolves when the dispatcher knows the change of this revision. */
  reached(revision: number): Promise<void>;
}

export interface RegistryFeedOptions {
  readonly registry: Registry;
  readonly step: Step;
  readonly clock: Clock;
  readonly geography: Geography;
  readonly calendarOf: (id: string) => Calendar | undefined;
  /** The part of a pool that this replica may grant now. */
  readonly share: () => number;
  readonly onStatus: (pool: PoolId, status: PoolStatusRecord) => void;
  readonly onPolicy: (policy: Policy | undefined) => void;
  readonly log: Log;
  readonly signal: AbortSignal;
}

/** Pools come before what is said of them. */
const kindsInOrder: readonly EntryKind[] = ["policy", "pool", "price-book", "pool-status"];

/**
 * Turns what the registry has into events, and then each change as it comes, also those of other processes. A change is
 * durable before it gets here. Resolves when all that exists is known.
 */
export async function openRegistryFeed(options: RegistryFeedOptions): Promise<RegistryFeed> {
  const feed = new Feed(options);
  for (const kind of kindsInOrder) {
    for (const entry of await options.registry.list(kind)) feed.apply(entry);
  }
  feed.follow().catch((error: unknown) => {
    options.log.error({ error }, "the registry is no longer followed");
  });
  return feed;
}

class Feed implements RegistryFeed {
  readonly #options: RegistryFeedOptions;
  /** By kind and key. */
  readonly #revisions = new Map<string, number>();
  readonly #waiting = new Set<{ readonly revision: number; readonly resolve: () => void }>();
  #revision = 0;

  constructor(options: RegistryFeedOptions) {
    this.#options = options;
  }

  async follow(): Promise<void> {
    const { registry, signal } = this.#options;
    for await (const entry of registry.watch(0, signal)) {
      this.apply(entry);
      this.#revision = Math.max(this.#revision, entry.revision);
      this.#wake();
    }
  }

  async reached(revision: number): Promise<void> {
    if (this.#revision >= revision) return;
    await new Promise<void>((resolve) => this.#waiting.add({ revision, resolve }));
  }

  /** A value that cannot be read changes nothing: what was known stays. */
  apply(entry: Entry): void {
    const id = `${entry.kind}/${entry.key}`;
    if ((this.#revisions.get(id) ?? 0) >= entry.revision) return;
    this.#revisions.set(id, entry.revision);
    try {
      for (const event of this.#eventsOf(entry)) this.#options.step(event);
    } catch (error) {
      if (error instanceof Error && error.name === "AssertionError") throw error;
      this.#options.log.error(
        { error, kind: entry.kind, key: entry.key },
        "an entry cannot be read",
      );
    }
  }

  #wake(): void {
    for (const waiting of this.#waiting) {
      if (waiting.revision > this.#revision) continue;
      this.#waiting.delete(waiting);
      waiting.resolve();
    }
  }

  #eventsOf(entry: Entry): readonly Event[] {
    if (entry.isDeleted) return this.#eventsOfDeleted(entry);
    const at = this.#options.clock.now();
    switch (entry.kind) {
      case "pool":
        return this.#registered(entry, at);
      case "pool-status":
        return this.#marked(entry, at);
      case "price-book": {
        const message = fromJson(PriceBookSchema, JSON.parse(entry.value));
        return [
          { kind: "prices-published", at, book: toPriceBook(message, this.#options.calendarOf) },
        ];
      }
      case "policy":
        return entry.key === policyKey ? this.#policySet(entry, at) : [];
      case "contract-terms":
      case "vendor":
      case "tenant":
      case "key":
      case "alias":
        return [];
    }
  }

  /** A pool that was taken out of the registry gets no more work. */
  #eventsOfDeleted({ kind, key }: Entry): readonly Event[] {
    const at = this.#options.clock.now();
    return kind === "pool"
      ? [{ kind: "pool-marked", at, pool: key as PoolId, status: "cordoned" }]
      : [];
  }

  #registered(entry: Entry, at: Instant): readonly Event[] {
    const message = fromJson(PoolRegistrationSchema, JSON.parse(entry.value));
    const registration = toPoolRegistration(message, Number(entry.setAtUs) / 1_000);
    if (!this.#options.geography.regions.has(registration.region)) {
      throw new Error(`expected a region of the map, found ${registration.region}`);
    }
    return [
      { kind: "pool-registered", at, registration },
      { kind: "share-set", at, pool: registration.id, share: this.#options.share() },
    ];
  }

  #marked(entry: Entry, at: Instant): readonly Event[] {
    const record = poolStatusSchema.parse(JSON.parse(entry.value));
    const pool = entry.key as PoolId;
    this.#options.onStatus(pool, record);
    return [{ kind: "pool-marked", at, pool, status: record.status }];
  }

  #policySet(entry: Entry, at: Instant): readonly Event[] {
    const parsed = policyIn(entry);
    if ("policy" in parsed) {
      this.#options.onPolicy(parsed.policy);
      return [{ kind: "policy-set", at, policy: parsed.policy }];
    }
    this.#options.onPolicy(undefined);
    this.#options.log.error(
      { revision: entry.revision, mistakes: parsed.mistakes },
      "the policy cannot be used, the old one stays",
    );
    return [];
  }
}
