import type { Choice, Demand, Problem } from "./problem.ts";

/** Requests of one class that come in one bin and may take the same seats, as if they were all their mean. */
export interface Bucket {
  readonly bin: number;
  readonly class: number;
  readonly count: number;
  readonly refusedNano: number;
  readonly steps: number;
  /** KV tokens held, over all steps. */
  readonly kvTokenSteps: number;
  /** For how many bins it may wait. */
  readonly waitBins: number;
  readonly seats: readonly BucketSeat[];
}

export interface BucketSeat {
  readonly seat: number;
  readonly moneyNano: number;
  readonly missedShare: number;
  readonly roundTripMs: number;
  readonly prefillMs: number;
}

/** Tokens at most, for each size of bucket: long prompts go where input is cheap, long answers where output is. */
const PROMPT_SIZES = [512, 2_048, 8_192, 32_768];
const ANSWER_SIZES = [128, 512, 2_048];

export function bucketsOf(problem: Problem): Bucket[] {
  const groups = Map.groupBy(problem.demands, (demand) => {
    const prompt = PROMPT_SIZES.findIndex((most) => demand.kvTokens <= most);
    const answer = ANSWER_SIZES.findIndex((most) => demand.steps <= most);
    return [demand.bin, demand.class, prompt, answer, seatsOf(demand).join(",")].join("\n");
  });
  return [...groups.values()].map((group) => bucketOf(group, problem));
}

/** Those at the price of now. */
function nowChoices({ choices }: Demand): readonly Choice[] {
  return choices.filter(({ delayMs }) => delayMs === 0);
}

function seatsOf(demand: Demand): number[] {
  return nowChoices(demand)
    .map(({ seat }) => seat)
    .toSorted((a, b) => a - b);
}

function bucketOf(group: readonly Demand[], { binMs }: Problem): Bucket {
  const mean = (what: (demand: Demand) => number): number =>
    group.reduce((sum, demand) => sum + what(demand), 0) / group.length;
  const [first] = group;
  const seats = first === undefined ? [] : seatsOf(first);
  return {
    bin: first?.bin ?? 0,
    class: first?.class ?? 0,
    count: group.length,
    refusedNano: mean(({ refusedNano }) => refusedNano),
    steps: mean(({ steps }) => steps),
    kvTokenSteps: mean(({ steps, kvTokens }) => steps * (kvTokens + (steps - 1) / 2)),
    waitBins: Math.floor(mean(({ waitMsMax }) => waitMsMax) / binMs),
    seats: seats.map((seat) => {
      const of = (what: (choice: Choice) => number): number =>
        mean((demand) => {
          const choice = nowChoices(demand).find((each) => each.seat === seat);
          return choice === undefined ? 0 : what(choice);
        });
      return {
        seat,
        moneyNano: of(({ moneyNano }) => moneyNano),
        missedShare: of(({ isTtftMissed }) => (isTtftMissed ? 1 : 0)),
        roundTripMs: of(({ roundTripMs }) => roundTripMs),
        prefillMs: of(({ prefillMs }) => prefillMs),
      };
    }),
  };
}

const SAMPLES = 8;

/** What part of a stay of so many ms is in each bin from its first, for one that begins at any time of the first. */
export function spreadOver(stayMs: number, binMs: number, binsLeft: number): number[] {
  const parts: number[] = [];
  for (let sample = 0; sample < SAMPLES; sample++) {
    const beginsMs = ((sample + 0.5) / SAMPLES) * binMs;
    for (let bin = 0; bin < binsLeft && bin * binMs < beginsMs + stayMs; bin++) {
      const isLast = bin === binsLeft - 1;
      const toMs = isLast ? Infinity : (bin + 1) * binMs;
      const overlapMs = Math.min(toMs, beginsMs + stayMs) - Math.max(bin * binMs, beginsMs);
      parts[bin] = (parts[bin] ?? 0) + Math.max(0, overlapMs) / stayMs / SAMPLES;
    }
  }
  return parts;
}
