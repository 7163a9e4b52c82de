/** Every baseline by its name. */

import { learned } from "./learned.ts";
import { packing } from "./packing.ts";
import { plain } from "./plain.ts";
import { prequal } from "./prequal.ts";
import { priced } from "./priced.ts";
import { regional } from "./regional.ts";
import type { Baseline } from "./rival.ts";
import { scored } from "./scored.ts";
import { smg } from "./smg.ts";

export const baselines = {
  ...plain,
  ...prequal,
  ...scored,
  ...smg,
  ...learned,
  ...priced,
  ...regional,
  ...packing,
} as const satisfies Record<string, Baseline>;

export type BaselineName = keyof typeof baselines;
