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

interface Answer {
  readonly pool: PoolId;
  /** Requests in flight there per unit, and what one more adds. */
  rif: number;
  readonly rifOfOne: number;
  readonly latencyMs: number;
  readonly receivedAt: Instant;
  usesLeft: number;
}

function prequalWay({ random, endpoints }: Sight, isWeighted: boolean): Way {
  let underWay: Probe[] = [];
  let answers: Answer[] = [];
  let answersMax = ANSWERS_MAX;
  let isOldestNext = true;

  const onTime = (now: Instant): void => {
    for (const probe of underWay) if (probe.atPoolAt <= now) probe.answer ??= answerOf(probe);
    const back = underWay.filter(({ backAt }) => backAt <= now);
    underWay = underWay.filter(({ backAt }) => backAt > now);
    for (const { answer } of back.toSorted((a, b) => a.backAt - b.backAt)) {
      if (answer !== undefined) answers.push(answer);
    }
    answers = answers
      .filter(({ receivedAt }) => now - receivedAt < ANSWER_VALID_MS)
      .slice(-answersMax);
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
    const uses = usesOf(answersMax, among.length);
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
    if (underWay.length > UNDER_WAY_MAX) underWay = underWay.slice(-UNDER_WAY_MAX);
  };

  const use = (answer: Answer): void => {
    answer.rif += answer.rifOfOne;
    answer.usesLeft -= 1;
    if (answer.usesLeft <= 0) answers = answers.filter((each) => each !== answer);
  };

  const removeOne = (): void => {
    const gone = isOldestNext ? answers[0] : worstOf(answers);
    isOldestNext = !isOldestNext;
    answers = answers.filter((each) => each !== gone);
  };

  return {
    onTime,
    pick: (among, { now }) => {
      answersMax = answersMaxOf(among.length);
      const atById = new Map(among.map((at) => [at.pool.id, at]));
      const fit = answers.filter(({ pool }) => atById.has(pool));
      const best = fit.length < 2 ? undefined : bestOf(fit, random);
      if (best !== undefined) use(best);
      removeOne();
      send(among, now);
      return best === undefined ? drawn(among, random) : atById.get(best.pool);
    },
  };
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
function bestOf(answers: readonly Answer[], random: Sight["random"]): Answer {
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
