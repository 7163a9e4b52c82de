/** Worked examples: each is computed by hand from the formula that its baseline's source names. */

import { entries } from "../../services/core/table.ts";
import { baselines } from "../../bench/baselines/baselines.ts";
import type { MakeRival } from "../../bench/baselines/rival.ts";

/** What is shown, and a function whose answer is compared with what was worked out. */
export type Example = readonly [what: string, seen: (make: MakeRival) => string, expected: string];

/** By `name/variant`. */
export type Examples = Readonly<Record<string, readonly Example[]>>;

export function makerOf(key: string): MakeRival {
  const known = allVariants().get(key);
  if (known === undefined) throw new Error(`expected a variant of the table, found ${key}`);
  return known;
}

export function allVariants(): ReadonlyMap<string, MakeRival> {
  return new Map(
    entries(baselines).flatMap(([name, { variants }]) =>
      Object.entries(variants).map(([variant, make]): [string, MakeRival] => [
        `${name}/${variant}`,
        make,
      ]),
    ),
  );
}
