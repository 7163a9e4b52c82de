import { isWithoutAttempt } from "./claim.ts";
import { inputOf, isWithin, outputOf, type Counted, type Tolerance } from "./counted.ts";

/** How far apart two clocks may have the same attempt. */
const apartUsMax = 5_000_000n;

/** Two counts that are taken for the same attempt because they look like it. */
export interface FuzzyPair {
  readonly ours: Counted;
  readonly theirs: Counted;
}

interface Rest {
  readonly ours: readonly Counted[];
  readonly theirs: readonly Counted[];
}

/**
 * One to one, where at least one side has no attempt id: the same model and input, opened within five seconds, output
 * first equal, then in tolerance. Equal outputs go first over the whole, so that a near miss takes nobody's match.
 * Which party is first does not matter.
 */
export function matchByLooks(
  rest: Rest,
  tolerance: Tolerance,
): { readonly pairs: readonly FuzzyPair[] } & Rest {
  const pairs: FuzzyPair[] = [];
  const [ourNamed, ourNameless] = parted(rest.ours);
  const [theirNamed, theirNameless] = parted(rest.theirs);
  const first = pairUp({ ours: ourNamed, theirs: theirNameless }, tolerance, pairs);
  const second = pairUp({ ours: ourNameless, theirs: theirNamed }, tolerance, pairs);
  const last = pairUp({ ours: second.ours, theirs: first.theirs }, tolerance, pairs);
  return {
    pairs,
    ours: [...first.ours, ...last.ours],
    theirs: [...second.theirs, ...last.theirs],
  };
}

function pairUp(rest: Rest, tolerance: Tolerance, pairs: FuzzyPair[]): Rest {
  const equal = sweep(rest, pairs, {
    keyOf: (item) => `${item.model}\n${inputOf(item.tokens)}\n${outputOf(item.tokens)}`,
    isFit: () => true,
  });
  return sweep(equal, pairs, {
    keyOf: (item) => `${item.model}\n${inputOf(item.tokens)}`,
    isFit: (a, b) => isWithin(outputOf(a.tokens), outputOf(b.tokens), tolerance),
  });
}

interface Fit {
  readonly keyOf: (item: Counted) => string;
  readonly isFit: (a: Counted, b: Counted) => boolean;
}

/** Goes through both sides of each key once, in the order of time. */
function sweep(rest: Rest, pairs: FuzzyPair[], { keyOf, isFit }: Fit): Rest {
  const left = { ours: [] as Counted[], theirs: [] as Counted[] };
  const theirsByKey = Map.groupBy(rest.theirs, keyOf);
  const oursByKey = Map.groupBy(rest.ours, keyOf);
  for (const [key, ours] of oursByKey) {
    const theirs = theirsByKey.get(key) ?? [];
    sweepKey({ ours: ours.toSorted(byTime), theirs: theirs.toSorted(byTime) }, isFit, {
      pairs,
      left,
    });
  }
  for (const [key, theirs] of theirsByKey) if (!oursByKey.has(key)) left.theirs.push(...theirs);
  return left;
}

function sweepKey(
  { ours, theirs }: Rest,
  isFit: Fit["isFit"],
  out: { readonly pairs: FuzzyPair[]; readonly left: { ours: Counted[]; theirs: Counted[] } },
): void {
  let [i, j] = [0, 0];
  for (;;) {
    const [a, b] = [ours[i], theirs[j]];
    if (a === undefined || b === undefined) break;
    if (isNear(a, b) && isFit(a, b)) {
      out.pairs.push({ ours: a, theirs: b });
      i += 1;
      j += 1;
    } else if (byTime(a, b) < 0) {
      out.left.ours.push(a);
      i += 1;
    } else {
      out.left.theirs.push(b);
      j += 1;
    }
  }
  out.left.ours.push(...ours.slice(i));
  out.left.theirs.push(...theirs.slice(j));
}

function parted(items: readonly Counted[]): [named: Counted[], nameless: Counted[]] {
  return [
    items.filter(({ attempt }) => !isWithoutAttempt(attempt)),
    items.filter(({ attempt }) => isWithoutAttempt(attempt)),
  ];
}

function isNear(a: Counted, b: Counted): boolean {
  const gap = a.openedUs - b.openedUs;
  return gap <= apartUsMax && -gap <= apartUsMax;
}

/** A whole order: two items of the same instant and output go by their names. */
function byTime(a: Counted, b: Counted): number {
  return (
    compare(a.openedUs, b.openedUs) ||
    compare(outputOf(a.tokens), outputOf(b.tokens)) ||
    compare(a.attempt, b.attempt) ||
    compare(a.rev, b.rev)
  );
}

function compare<Value extends bigint | string>(a: Value, b: Value): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
