/** Prequal: probes, and the hot–cold rule (NSDI '24). */

import type { Prospect } from "../../services/core/placement/prospect.ts";
import type { Instant, PoolId } from "../../services/core/units.ts";
import {
  drawn,
  lowest,
  rivalOf,
  sampled,
  unitsOf,
  type Baseline,
  type Sight,
  type Way,
} from "./rival.ts";

export const prequal = {
  prequal: {
    name: "Prequal, hot–cold",
    source: "§2.8",
    reportIntervalMs: undefined,
    variants: {
      "as published": rivalOf((sight) => prequalWay(sight, false)),
      "capacity-weighted": rivalOf((sight) => prequalWay(sight, true)),
    },
  },
} satisfies Record<string, Baseline>;

/** Of the paper: answers kept, how long they are valid, probes per request, quantile of the hot, δ. */
const ANSWERS_MAX = 16;
const ANSWER_VALID_MS = 1_000;
const PROBES_PER_REQUEST = 3;
const HOT_QUANTILE = 2 ** -0.25;
const REUSE_MARGIN = 1;
/** House: where there are few pools the formula divides by less than nothing. */
const USES_MAX = 4;
/** Probes under way at once, the oldest of which are lost beyond it: three for each of 1,365 requests (house). */
const UNDER_WAY_MAX = 4_096;

/** A probe under way: the pool answers when it gets there. */
interface Probe {
  readonly at: Prospect;
  readonly units: number;
  readonly usesLeft: number;
  readonly atPoolAt: Instant;
  readonly backAt: Instant;
  answer: Answer | undefined;
}

/** What a pool answered. */
export interface Answer {
  readonly pool: PoolId;
  /** Requests in flight there per unit, and what one more adds. */
  readonly rif: number;
  readonly rifOfOne: number;
  readonly latencyMs: number;
  readonly receivedAt: Instant;
  readonly usesLeft: number;
}

/** The answers at hand, in the order in which they came. */
export class Answers {
  #answers: readonly Answer[] = [];
  #isOldestNext = true;

  get all(): readonly Answer[] {
    return this.#answers;
  }

  /** With those that came since, the newest so many that are still valid. */
  keep(
    came: readonly Answer[],
    { now, max }: { readonly now: Instant; readonly max: number },
  ): void {
    this.#answers = [...this.#answers, ...came]
      .filter(({ receivedAt }) => now - receivedAt < ANSWER_VALID_MS)
      .slice(-max);
  }

  /** The hot–cold rule among those of pools that will do. Fewer than two say nothing. */
  best(isFit: (pool: PoolId) => boolean, random: Sight["random"]): Answer | undefined {
    const fit = this.#answers.filter(({ pool }) => isFit(pool));
    return fit.length < 2 ? undefined : fastestCold(fit, random);
  }

  /** One more request is there, and the answer serves once less. */
  use(answer: Answer): void {
    const { rif, rifOfOne, usesLeft } = answer;
    const used = { ...answer, rif: rif + rifOfOne, usesLeft: usesLeft - 1 };
    this.#answers = this.#answers
      .map((each) => (each === answer ? used : each))
      .filter((each) => each.usesLeft > 0);
  }

  /** The oldest and the worst by turns. */
  removeOne(): void {
    const gone = this.#isOldestNext ? this.#answers[0] : worstOf(this.#answers);
    this.#isOldestNext = !this.#isOldestNext;
    this.#answers = this.#answers.filter((each) => each !== gone);
  }
}

function prequalWay({ random, endpoints }: Sight, isWeighted: boolean): Way {
  let underWay: Probe[] = [];
  const answers = new Answers();
  let max = ANSWERS_MAX;
  /** When something becomes of a probe next. */
  let dueAt: Instant = Infinity;

  const onTime = (now: Instant): void => {
    answers.keep([], { now, max });
    if (now < dueAt) return;
    for (const probe of underWay) if (probe.atPoolAt <= now) probe.answer ??= answerOf(probe);
    const back = underWay.filter(({ backAt }) => backAt <= now);
    underWay = underWay.filter(({ backAt }) => backAt > now);
    const came = back.toSorted((a, b) => a.backAt - b.backAt).flatMap(({ answer }) => answer ?? []);
    answers.keep(came, { now, max });
    dueAt = underWay.reduce((soonest, probe) => Math.min(soonest, nextOf(probe)), Infinity);
  };

  const answerOf = ({ at, units, usesLeft, backAt }: Probe): Answer => {
    const rif = endpoints.inFlight(at);
    const latencyMs = endpoints.latencyMs(at);
    const rifOfOne = 1 / units;
    return {
      pool: at.pool.id,
      rif: rif / units,
      rifOfOne,
      latencyMs,
      receivedAt: backAt,
      usesLeft,
    };
  };

  const send = (among: readonly Prospect[], now: Instant): void => {
    const uses = usesOf(max, among.length);
    for (const at of sampled(among, PROBES_PER_REQUEST, random)) {
      underWay.push({
        at,
        units: unitsOf(at, isWeighted),
        usesLeft: Math.min(USES_MAX, Math.floor(uses + random())),
        atPoolAt: now + at.roundTripMs / 2,
        backAt: now + at.roundTripMs,
        answer: undefined,
      });
    }
    dueAt = Math.min(dueAt, ...underWay.slice(-PROBES_PER_REQUEST).map(nextOf));
    if (underWay.length > UNDER_WAY_MAX) underWay = underWay.slice(-UNDER_WAY_MAX);
  };

  return {
    onTime,
    pick: (among, { now }) => {
      max = answersMaxOf(among.length);
      const atById = new Map(among.map((at) => [at.pool.id, at]));
      const best = answers.best((pool) => atById.has(pool), random);
      if (best !== undefined) answers.use(best);
      answers.removeOne();
      send(among, now);
      return best === undefined ? drawn(among, random) : atById.get(best.pool);
    },
  };
}

/** When something becomes of it: it gets there, or its answer comes back. */
function nextOf({ answer, atPoolAt, backAt }: Probe): Instant {
  return answer === undefined ? atPoolAt : backAt;
}

/** House: the formula of uses needs many more pools than answers. */
export function answersMaxOf(pools: number): number {
  return Math.min(ANSWERS_MAX, Math.max(2, Math.floor(pools / 2)));
}

/** `max{1, (1 + δ)/((1 − m/n)·3 − 1)}`, before it is rounded at random; at most 4 (house). */
export function usesOf(answersMax: number, pools: number): number {
  const rate = (1 - answersMax / pools) * PROBES_PER_REQUEST - 1;
  return rate <= 0 ? USES_MAX : Math.min(USES_MAX, Math.max(1, (1 + REUSE_MARGIN) / rate));
}

/** By nearest rank: the least that so many of them are not above. */
export function hotAbove(rifs: readonly number[]): number {
  return rifs.toSorted((a, b) => a - b)[Math.ceil(HOT_QUANTILE * rifs.length) - 1] ?? 0;
}

/** The fastest of those that are cold; the quantile itself is one of them, so that there always is one. */
function fastestCold(answers: readonly Answer[], random: Sight["random"]): Answer {
  const threshold = hotAbove(answers.map(({ rif }) => rif));
  const cold = answers.filter(({ rif }) => rif <= threshold);
  return lowest(cold, ({ latencyMs }) => latencyMs, random);
}

/** The one with most in flight if any is hot, else the slowest; the oldest of several. */
function worstOf(answers: readonly Answer[]): Answer | undefined {
  const threshold = hotAbove(answers.map(({ rif }) => rif));
  const isAnyHot = answers.some(({ rif }) => rif > threshold);
  const badness = ({ rif, latencyMs }: Answer): number => (isAnyHot ? rif : latencyMs);
  const most = Math.max(...answers.map(badness));
  return answers.find((answer) => badness(answer) === most);
}
