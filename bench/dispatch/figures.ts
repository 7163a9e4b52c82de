/** How good the figures are that policies decide by. */

import type { VendorId } from "../../services/core/units.ts";
import type { WorldFault, WorldOptions } from "../../services/sim/world-options.ts";

export interface Figures {
  readonly title: string;
  /** Age when they arrive, in s: on the plot. Undefined: not one of its points. */
  readonly ageSeconds: number | undefined;
  readonly world: Pick<
    WorldOptions,
    "reportIntervalMs" | "reportDelayMs" | "reportLoss" | "dispatchers"
  >;
  readonly lies: readonly WorldFault[];
}

/** Each of two of the fourteen pools; the largest in the west is among the liar's. */
export const liar = "qilian" as VendorId;
export const modest = "nanling" as VendorId;

/** Often enough that what a figure's age adds is its delay. */
const OFTEN_MS = 100;

const lateAndLossy = {
  reportIntervalMs: 1_000,
  reportDelayMs: { least: 10_000, most: 10_000 },
  reportLoss: 0.2,
};

export const figureKinds = {
  usual: {
    title: "reports every second, 1 to 30 ms late",
    ageSeconds: undefined,
    world: { reportLoss: 0 },
    lies: [],
  },
  "age-0": aged(0),
  "age-0.2": aged(0.2),
  "age-1": aged(1),
  "age-5": aged(5),
  "age-30": aged(30),
  "lost-10": {
    title: "reports every second, 10 % lost",
    ageSeconds: undefined,
    world: { reportLoss: 0.1 },
    lies: [],
  },
  "half-load": {
    title: "one vendor reports half its load",
    ageSeconds: undefined,
    world: { reportLoss: 0 },
    lies: [{ kind: "vendor-lies", vendor: modest, about: "load", factor: 0.5 }],
  },
  "late-boast": {
    title: "10 s late, 20 % lost, one vendor claims 10 × its capacity",
    ageSeconds: undefined,
    world: lateAndLossy,
    lies: [{ kind: "vendor-lies", vendor: liar, about: "capacity", factor: 10 }],
  },
  "late-modest": {
    title: "10 s late, 20 % lost, one vendor reports half its load",
    ageSeconds: undefined,
    world: lateAndLossy,
    lies: [{ kind: "vendor-lies", vendor: liar, about: "load", factor: 0.5 }],
  },
  "four-dispatchers": {
    title: "4 dispatchers that do not share counts",
    ageSeconds: undefined,
    world: { reportLoss: 0, dispatchers: 4 },
    lies: [],
  },
} as const satisfies Record<string, Figures>;

export type FiguresName = keyof typeof figureKinds;

/** What the others are measured against. */
export const perfectFigures: FiguresName = "age-0";

function aged(ageSeconds: number) {
  const delayMs = ageSeconds * 1_000;
  return {
    title: `figures ${ageSeconds} s old`,
    ageSeconds,
    world: {
      reportIntervalMs: OFTEN_MS,
      reportDelayMs: { least: delayMs, most: delayMs },
      reportLoss: 0,
    },
    lies: [],
  } as const;
}

export function figuresOf(name: FiguresName): Figures {
  return figureKinds[name];
}
