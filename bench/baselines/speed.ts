/** How long a pick takes, over the real dispatcher: ask, decide, grant, and release. */

import { assert } from "../../services/core/assert.ts";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { Effect, Event } from "../../services/core/events.ts";
import type { Policy } from "../../services/core/placement/policy.ts";
import { randomFromSeed } from "../../services/core/random.ts";
import type { AttemptId, PoolId, ReplicaId, RequestId } from "../../services/core/units.ts";
import {
  figure,
  geography,
  modelReport,
  northgrid,
  priceBook,
  registration,
  report,
  request,
  servedModel,
} from "../../test/core/fixtures.ts";
import type { MakeRival } from "./rival.ts";

/** Sizes that picks per second are wanted for. */
export const poolCounts = [5, 25, 100, 1_000];

/** Virtual time between two picks, so that probes come back: 1,000 requests per second. */
const BETWEEN_PICKS_MS = 1;
/** As long as a report may be believed. */
const VALID_MS = 60_000;
/** Prompts that take turns, each of 15 blocks of which half are shared with others. */
const PROMPTS = 64;

/** One pick of a rival among so many pools and the release of its lease. Without a rival: our own way. */
export function picker(
  pools: number,
  { policy, make }: { readonly policy: Policy; readonly make?: MakeRival },
): () => void {
  const rival = make?.({ seed: 1, replica: "control-0" });
  const dispatcher = new Dispatcher("control-0" as ReplicaId, policy, rival?.choose);
  const happen = (event: Event): readonly Effect[] => {
    const effects = dispatcher.step(event);
    rival?.see(event, effects);
    return effects;
  };
  for (const event of beginning(pools)) happen(event);
  let picks = 0;
  let reportedAt = 0;
  return () => {
    picks += 1;
    const at = picks * BETWEEN_PICKS_MS;
    if (at - reportedAt > VALID_MS / 2) {
      for (const event of reports(pools, at)) happen(event);
      reportedAt = at;
    }
    const effects = happen({ at, kind: "placement-requested", request: prompt(picks) });
    const [answer] = effects.filter((effect) => effect.kind === "answer");
    assert(answer?.lease !== undefined, "an idle fleet places");
    const { id, fence } = answer.lease;
    happen({ at, kind: "lease-released", lease: id, fence, outcome: undefined });
  };
}

/** Picks per second, over so many ms. */
export function picksPerSecond(pick: () => void, ms: number): number {
  const startedAt = performance.now();
  let picks = 0;
  do {
    pick();
    picks += 1;
  } while (performance.now() - startedAt < ms);
  return (picks * 1_000) / (performance.now() - startedAt);
}

function prompt(number: number): ReturnType<typeof request> {
  const turn = number % PROMPTS;
  const prefixBlocks = Array.from({ length: 15 }, (_, block) =>
    block < 8 ? block + 1 : turn * 100 + block + 1,
  );
  const id = `r${number}` as RequestId;
  return request({ request: id, attempt: `${id}/1` as AttemptId, prefixBlocks });
}

function beginning(pools: number): Event[] {
  const random = randomFromSeed(1);
  const joining = ids(pools).flatMap((id): Event[] => {
    const models = [servedModel({ slotsTotal: 8 + Math.floor(56 * random()) })];
    return [
      { at: 0, kind: "pool-registered", registration: registration(id, { models }) },
      { at: 0, kind: "share-set", pool: id as PoolId, share: 1 },
    ];
  });
  return [
    { at: 0, kind: "geography-set", geography: geography() },
    ...joining,
    ...reports(pools, 0),
    { at: 0, kind: "prices-published", book: priceBook() },
  ];
}

function reports(pools: number, at: number): Event[] {
  const random = randomFromSeed(2);
  return ids(pools).map((id) => {
    const of = (value: number) => figure(value, { observedAt: at, validMs: VALID_MS });
    const models = [
      modelReport({
        runningRequests: of(Math.floor(6 * random())),
        waitingRequests: of(0),
        kvUsedRatio: of(random() / 2),
      }),
    ];
    const sequence = Math.floor(at) + 1;
    return {
      at,
      kind: "pool-reported",
      vendor: northgrid,
      report: report(id, { models, sequence }),
    };
  });
}

function ids(pools: number): string[] {
  return Array.from({ length: pools }, (_, index) => `pool-${String(index).padStart(4, "0")}`);
}
