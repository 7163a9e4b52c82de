/** How benchmarks measure: contestants take turns, and medians are compared. */

/** The middle value; of an even number the mean of the two in the middle. Refuses an empty list. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Linear between the two neighbours, as in `numpy.quantile`. `q` is 0..1. */
export function quantile(values: readonly number[], q: number): number {
  if (values.length === 0) throw new Error("expected at least one value, found none");
  if (!(q >= 0 && q <= 1)) throw new Error(`expected a quantile from 0 to 1, found ${q}`);
  const sorted = values.toSorted((one, other) => one - other);
  const place = (sorted.length - 1) * q;
  const below = sorted[Math.floor(place)] ?? Number.NaN;
  const above = sorted[Math.ceil(place)] ?? Number.NaN;
  return below + (above - below) * (place - Math.floor(place));
}

/** One measurement of one contestant. */
export type Round = () => number | Promise<number>;

/**
 * Runs every contestant once per round, in an order that turns with each round, so that a machine which grows slow
 * or warm does so to all of them. Returns each one's values in the order of the rounds. The first
 * `warmups` rounds are run and thrown away.
 */
export async function interleave<Name extends string>(
  contestants: Readonly<Record<Name, Round>>,
  options: { readonly rounds: number; readonly warmups?: number },
): Promise<Record<Name, number[]>> {
  const { rounds, warmups = 1 } = options;
  const names = Object.keys(contestants) as Name[];
  const none: [Name, number[]][] = names.map((name) => [name, []]);
  const valuesByName = Object.fromEntries(none) as Record<Name, number[]>;
  for (let round = -warmups; round < rounds; round++) {
    for (const name of turned(names, round + warmups)) {
      const value = await contestants[name]();
      if (round >= 0) valuesByName[name].push(value);
    }
  }
  return valuesByName;
}

/** One number per contestant: the median of its interleaved rounds. */
export async function medians<Name extends string>(
  contestants: Readonly<Record<Name, Round>>,
  options: { readonly rounds: number; readonly warmups?: number },
): Promise<Record<Name, number>> {
  const valuesByName = await interleave(contestants, options);
  const entries = Object.entries<number[]>(valuesByName);
  return Object.fromEntries(entries.map(([name, values]) => [name, median(values)])) as Record<
    Name,
    number
  >;
}

function turned<Item>(items: readonly Item[], by: number): readonly Item[] {
  const start = items.length === 0 ? 0 : by % items.length;
  return [...items.slice(start), ...items.slice(0, start)];
}
