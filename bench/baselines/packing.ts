/** PolyServe's packing, and the cheapest pool that passes the same test. */

import type { Ask, Prospect } from "../../services/core/placement/prospect.ts";
import { terms } from "../../services/core/placement/terms.ts";
import type { Instant, RequestId } from "../../services/core/units.ts";
import { withoutPrefixes } from "./prefixes.ts";
import { lowest, rivalOf, type Baseline, type Sight, type Way } from "./rival.ts";

export const packing = {
  polyserve: {
    name: "PolyServe: fullest that still meets the objective",
    source: "§2.12",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => meeting(sight, { mayWait: true, worthOf: fullness })),
      "as published, never waits": rivalOf((sight) =>
        meeting(sight, { mayWait: false, worthOf: fullness }),
      ),
    },
  },
  "cheapest-meeting": {
    name: "cheapest that meets the objective",
    source: "§2.13",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => meeting(sight, { mayWait: true, worthOf: cheapness })),
      "as published, never waits": rivalOf((sight) =>
        meeting(sight, { mayWait: false, worthOf: cheapness }),
      ),
    },
  },
} satisfies Record<string, Baseline>;

/** What a pool would be like with the request in it, by our engine model. */
export interface Outlook {
  /** Round trip, queue and prefill; what the request waited before is not in it. */
  readonly ttftMs: number;
  /** The same without the queue. */
  readonly ttftMsUnqueued: number;
  readonly stepMs: number;
  /** A step when every request of the batch has grown by the expected output. */
  readonly stepMsMax: number;
}

/** Requests that are remembered while they wait; beyond it those that came first are forgotten (house). */
const WAITING_MAX = 65_536;

/** What is asked, and the same without a word of prefixes, as in the paper. */
interface Asks {
  readonly ask: Ask;
  readonly blind: Ask;
}

interface Options {
  readonly mayWait: boolean;
  /** Of pools that pass the one with the most. */
  readonly worthOf: (at: Prospect, asks: Asks) => number;
}

/**
 * Of the pools that pass the test, the one worth most; if none does, wait, and once waiting helps no more the least
 * loaded. Every pool is in every bin (house), so that none with a tighter objective is left to try.
 */
function meeting({ random }: Sight, { mayWait, worthOf }: Options): Way {
  const firstAskedAt = new Map<RequestId, Instant>();
  const waitedMs = ({ request: { request: id }, now }: Ask): number => {
    const since = firstAskedAt.get(id);
    if (since !== undefined) return now - since;
    firstAskedAt.set(id, now);
    const [oldest] = firstAskedAt.keys();
    if (firstAskedAt.size > WAITING_MAX && oldest !== undefined) firstAskedAt.delete(oldest);
    return 0;
  };
  return {
    pick: (among, ask) => {
      const waited = waitedMs(ask);
      const blind = withoutPrefixes(ask);
      const passing = among.filter((at) => passes(outlookOf(at, blind), ask, waited));
      if (passing.length > 0) return lowest(passing, (at) => -worthOf(at, { ask, blind }), random);
      const isHopeful = among.some((at) => mayPassLater(outlookOf(at, blind), ask, waited));
      if (mayWait && isHopeful) return undefined;
      return lowest(among, (at) => fullness(at, { blind }), random);
    },
  };
}

/** Load, 1 where an objective is just met: `max(TTFT/objective, step/objective)` (house). */
function fullness(at: Prospect, { blind }: Pick<Asks, "blind">): number {
  const { ttftMs, stepMs } = outlookOf(at, blind);
  return Math.max(ttftMs / blind.objectives.ttftMsMax, stepMs / blind.objectives.tpotMsMax);
}

function cheapness(at: Prospect, { ask }: Asks): number {
  return -terms.price(at, ask);
}

export function passes(
  outlook: Outlook,
  { objectives }: Pick<Ask, "objectives">,
  waitedMs: number,
): boolean {
  const { ttftMsMax, tpotMsMax } = objectives;
  const ttftMs = waitedMs + outlook.ttftMs;
  return (
    ttftMs <= ttftMsMax &&
    ttftMs + outlook.stepMs <= ttftMsMax + tpotMsMax &&
    outlook.stepMsMax <= tpotMsMax
  );
}

/** The first token may still come in time when the queue is gone. */
function mayPassLater({ ttftMsUnqueued }: Outlook, { objectives }: Ask, waitedMs: number): boolean {
  return waitedMs + ttftMsUnqueued <= objectives.ttftMsMax;
}

export function outlookOf(at: Prospect, ask: Ask): Outlook {
  const { ttftMs, waitMs, tpotMs } = at.expected(ask);
  return {
    ttftMs,
    ttftMsUnqueued: ttftMs - waitMs,
    stepMs: tpotMs,
    stepMsMax: grownStepMs(at, ask),
  };
}

/** Those of whom no report knows are taken to be like this request. */
function grownStepMs({ times }: Prospect, { inputTokens, outputTokens }: Ask): number {
  const { runningWhenFull, replicas, sequencesMax } = times;
  const batch =
    runningWhenFull > 0 ? runningWhenFull / replicas : Math.min(times.batch, sequencesMax);
  const others = times.kvTokensOthers + times.kvRequestsLikeIt * inputTokens;
  const grown = Math.max(0, others) + inputTokens + batch * outputTokens;
  const kvTokens = Math.min(grown, times.kvTokensTotal);
  const stepMs =
    times.stepBaseMs + times.stepMsPerSequence * batch + times.stepMsPerKvToken * kvTokens;
  return stepMs * times.stretch;
}
