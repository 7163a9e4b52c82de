import type { Dispatcher } from "../core/dispatcher.ts";
import type { Geography } from "../core/region.ts";
import type { Calendar } from "../core/settlement/pricing/price-book.ts";
import type { Pool } from "../core/pool.ts";
import type { PoolId } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import type { Registry } from "../io/registry.ts";
import type { DecisionLog } from "./decision-log.ts";
import type { Decisions } from "./decisions.ts";
import type { Drains } from "./drain.ts";
import type { Step } from "./loop.ts";
import type { ControlMetrics } from "./metrics.ts";
import type { RegistryFeed } from "./registry-feed.ts";

/** One control replica as its calls see it. */
export interface Replica {
  readonly dispatcher: Dispatcher;
  readonly step: Step;
  readonly clock: Clock;
  readonly registry: Registry;
  readonly feed: RegistryFeed;
  readonly geography: Geography;
  readonly calendarOf: (id: string) => Calendar | undefined;
  readonly decisions: Decisions;
  readonly decisionLog: DecisionLog;
  readonly drains: Drains;
  /** Pools that are being registered, and not known to the dispatcher yet, with their vendors. */
  readonly joining: Map<string, string>;
  readonly metrics: ControlMetrics;
  readonly log: Log;
}

export function poolOf({ dispatcher }: Pick<Replica, "dispatcher">, id: string): Pool | undefined {
  return dispatcher.pools.find((pool) => pool.id === (id as PoolId));
}
