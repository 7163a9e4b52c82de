import type { Random } from "../../../services/core/random.ts";
import type { Sighting } from "../../../services/core/settlement/claims/suspicion.ts";

/** One answer as it was, before anybody counted or claimed it. */
interface Answer {
  readonly tokens: number;
  readonly bytes: number;
  readonly isFirstSeen: boolean;
  readonly cached: number;
  readonly idsReturned: number;
}

/** Most answers are short; some are a hundred times as long. */
function answer(random: Random): Answer {
  const tokens = Math.ceil(12 * Math.exp(random() * 5));
  // Chinese, English, code: between two and six bytes for a token.
  const bytesPerToken = 2.5 + 3 * random();
  const isFirstSeen = random() < 0.5;
  const isKept = random() < (isFirstSeen ? 0.02 : 0.8);
  return {
    tokens,
    bytes: Math.ceil(tokens * bytesPerToken),
    isFirstSeen,
    cached: isKept ? 128 : 0,
    // Now and then a sampled token is not the one that an encoder takes.
    idsReturned: tokens + (random() < 0.05 ? 1 : 0),
  };
}

/** Our count is the engine's, or a recount that is off by up to 0.3 %, either way alike. */
function counted(tokens: number, random: Random): number {
  if (random() < 0.8) return tokens;
  const off = (random() - 0.5) * 0.006 * tokens;
  return Math.max(1, Math.round(tokens + off));
}

/** What a vendor does to what it claims. */
export type Habit = (
  answer: Answer,
  random: Random,
) => Partial<Answer> & { readonly claimed?: number };

/** Rounded up or down by chance, so that the mean is what was meant. */
function about(value: number, random: Random): number {
  return Math.floor(value + random());
}

export const habits = {
  honest: () => ({}),
  "1 % more": ({ tokens }, random) => ({ claimed: about(tokens * 1.01, random) }),
  "5 % more": ({ tokens }, random) => ({ claimed: about(tokens * 1.05, random) }),
  "one token more": ({ tokens }) => ({ claimed: tokens + 1 }),
  "one token more on every fifth": ({ tokens }, random) => ({
    claimed: random() < 0.2 ? tokens + 1 : tokens,
  }),
  // As many claims below our count as above it.
  "1 % more, hidden": ({ tokens }, random) => {
    const draw = random();
    if (draw < 0.1) return { claimed: about(tokens * 1.12, random) };
    return { claimed: draw < 0.3 ? tokens - 1 : tokens };
  },
  "tokens cut finer, 3 %": ({ tokens }, random) => {
    const finer = about(tokens * 1.03, random);
    return { claimed: finer, idsReturned: finer };
  },
  "caches denied": () => ({ cached: 0 }),
  "caches made up": () => ({ cached: 128 }),
} as const satisfies Record<string, Habit>;

/** What the operator sees of one attempt. `isBlind`: the engine is the vendor's and there is nothing to recount with. */
export function sighting(
  habit: Habit,
  random: Random,
  options: { readonly isBlind: boolean },
): Sighting {
  const truth = answer(random);
  const done = { claimed: truth.tokens, ...truth, ...habit(truth, random) };
  const ours = options.isBlind ? done.claimed : counted(truth.tokens, random);
  return {
    ours: BigInt(ours),
    theirs: BigInt(done.claimed),
    bytes: BigInt(truth.bytes),
    densityMost,
    ids: { returned: BigInt(done.idsReturned), canonical: BigInt(truth.tokens) },
    cache: { isFirstSeen: truth.isFirstSeen, cached: BigInt(done.cached) },
  };
}

/** Mean of 1 / (2.5 + 3u) is ln(5.5 / 2.5) / 3, and half a percent for what a reference does not know. */
const densityMost = (Math.log(5.5 / 2.5) / 3) * 1.005;
