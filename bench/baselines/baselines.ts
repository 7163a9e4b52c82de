/** Every baseline by its name. */

import { plain } from "./plain.ts";
import type { Baseline } from "./rival.ts";

export const baselines: Readonly<Record<string, Baseline>> = { ...plain };
