/** What the comparison was made for, and whether it was met. */

import { ours } from "./contestants.ts";
import { figureKinds, perfectFigures, type FiguresName } from "./figures.ts";
import type { Row, RunRow } from "./rows.ts";
import {
  comparedTo,
  fieldsOf,
  isRun,
  oursIn,
  rivalsIn,
  scoresOf,
  type Field,
  type Score,
} from "./scores.ts";
import type { Estimate } from "./statistics.ts";

/** One aim in one place. */
export interface Verdict {
  readonly aim: string;
  readonly where: string;
  /** Part, 0..1; for the second aim how much below, for the others how much above. */
  readonly found: Estimate | undefined;
  readonly isMet: boolean | undefined;
  /** By how much it is missed, in parts; 0 if it is met. */
  readonly missedBy: number | undefined;
  readonly note: string;
}

/** Above the bound, at most, by load. */
const aboveBoundMax: ReadonlyMap<number, number> = new Map([
  [0.5, 0.03],
  [0.8, 0.03],
  [1.05, 0.08],
]);
const belowBestMin = 0.15;
const worseFiguresMax = 0.05;
/** The fleet of the second aim. */
const heterogeneous = "east-west";

/** Ours beside the cheapest baseline of a field. */
export interface Duel {
  readonly field: Field;
  readonly ours: Score;
  readonly best: Score;
  /** Ours / best − 1 in the same cells. */
  readonly difference: Estimate;
  readonly isAsGood: boolean;
}

export function verdictsOn(rows: readonly Row[]): Verdict[] {
  return [
    ...boundVerdicts(rows),
    ...duelsIn(rows).flatMap((duel) =>
      duel.field.fleet === heterogeneous ? [bestVerdict(duel)] : [],
    ),
    ...figureVerdicts(rows),
  ];
}

function boundVerdicts(rows: readonly Row[]): Verdict[] {
  return fieldsOf(rows).flatMap((field) => {
    const most = aboveBoundMax.get(field.load);
    const score = oursIn(scoresOf(rows, field));
    if (most === undefined || score === undefined) return [];
    const fluid = score.aboveFluid;
    return [
      {
        aim: `total cost at most ${percent(most)} above the bound`,
        where: placeOf(field),
        ...judged(score.aboveBound, (found) => found - most),
        note: fluid === undefined ? "" : `${percent(fluid.mean)} above the fluid estimate`,
      },
    ];
  });
}

/** Where both ours and a baseline ran. */
export function duelsIn(rows: readonly Row[]): Duel[] {
  return fieldsOf(rows).flatMap((field) => {
    const scores = scoresOf(rows, field);
    const own = oursIn(scores);
    const [best] = rivalsIn(scores);
    if (own === undefined || best === undefined) return [];
    const difference = comparedTo(own.runs, best.runs);
    if (difference === undefined) return [];
    const isAsGood = own.fared.failed.mean <= best.fared.failed.mean;
    return [{ field, ours: own, best, difference, isAsGood }];
  });
}

function bestVerdict({ field, ours: own, best, difference, isAsGood }: Duel): Verdict {
  const below: Estimate = { ...difference, mean: -difference.mean };
  const failed = `requests that missed or were refused: ours ${percent(own.fared.failed.mean)}, theirs ${percent(best.fared.failed.mean)}`;
  const { isMet, ...rest } = judged(below, (found) => belowBestMin - found);
  return {
    aim: `total cost at least ${percent(belowBestMin)} below the best baseline, objectives as good or better`,
    where: placeOf(field),
    ...rest,
    isMet: isMet === true && isAsGood,
    note: `${best.name}; ${failed}`,
  };
}

const badFigures: readonly FiguresName[] = ["late-boast", "late-modest"];

function figureVerdicts(rows: readonly Row[]): Verdict[] {
  const runs = rows
    .filter(isRun)
    .filter(({ suite, policy }) => suite === "figures" && policy === ours);
  const perfect = withFigures(runs, perfectFigures);
  return badFigures.flatMap((figures) => {
    const worse = comparedTo(withFigures(runs, figures), perfect);
    if (worse === undefined) return [];
    return [
      {
        aim: `at most ${percent(worseFiguresMax)} dearer than with perfect figures`,
        where: figureKinds[figures].title,
        ...judged(worse, (found) => found - worseFiguresMax),
        note: "",
      },
    ];
  });
}

export function withFigures(runs: readonly RunRow[], figures: FiguresName): readonly RunRow[] {
  return runs.filter((run) => run.figures === figures);
}

function judged(
  found: Estimate | undefined,
  missedBy: (found: number) => number,
): Pick<Verdict, "found" | "isMet" | "missedBy"> {
  if (found === undefined) return { found, isMet: undefined, missedBy: undefined };
  const by = Math.max(0, missedBy(found.mean));
  return { found, isMet: by === 0, missedBy: by };
}

export function placeOf({ fleet, load }: Field): string {
  return `${fleet}, ${percent(load)} load`;
}

/** 0.0123 → 1.2 %. */
export function percent(part: number): string {
  const value = part * 100;
  const digits = Math.abs(value) >= 100 || Number.isInteger(Number(value.toFixed(6))) ? 0 : 1;
  return `${unsignedZero(value.toFixed(digits))} %`;
}

function unsignedZero(text: string): string {
  return Number(text) === 0 ? text.replace("-", "") : text;
}
