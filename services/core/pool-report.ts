import type { ReportResult } from "./events.ts";
import { faded } from "./fading.ts";
import type { Figure } from "./figure.ts";
import type { Flow } from "./in-flight.ts";
import type { ModelReport, Pool, PoolReport, Served } from "./pool.ts";
import type { Instant, ModelId, VendorId } from "./units.ts";

/** How long a report without a figure is believed in full. */
const REPORT_VALID_MS = 5_000;
const REPORT_VALID_MS_MAX = 60_000;

/** Joules of a large site in a thousand years; tokens, watts and milliseconds stay far below it. */
const FIGURE_MAX = 1e18;
/**
 * Over how long the rate of prompts is smoothed. Between two scrapes a second apart there is one long prompt or none, and
 * an answer takes several seconds.
 */
const PROMPT_RATE_MS = 8_000;
/** As at the registration. */
const SLOTS_MAX = 1_000_000;

/** What became of a report, and what was expected and found if it was refused. */
export interface Review {
  readonly result: ReportResult;
  readonly detail: string;
}

/** Only the owner speaks for a pool, and only forwards in time. */
export function reviewed(report: PoolReport, vendor: VendorId, pool: Pool | undefined): Review {
  if (pool === undefined || pool.vendor !== vendor) {
    const owner = pool === undefined ? "is not registered" : "belongs to another vendor";
    return { result: "rejected-identity", detail: `pool ${report.pool} ${owner}` };
  }
  const { generation, reportSequence } = pool;
  if (report.generation < generation) {
    const detail = `expected generation ${generation}, found ${report.generation}`;
    return { result: "stale-generation", detail };
  }
  if (report.generation === generation && report.sequence <= reportSequence) {
    const detail = `expected a sequence above ${reportSequence}, found ${report.sequence}`;
    return { result: "out-of-order", detail };
  }
  const detail = mistakeIn(report, pool);
  return { result: detail === "" ? "accepted" : "rejected-schema", detail };
}

/** Empty: there is none. */
function mistakeIn(report: PoolReport, pool: Pool): string {
  const models = report.models.map(({ model }) => model);
  const unknown = models.find((model) => !pool.served.has(model));
  if (unknown !== undefined) return `expected models of the registration, found ${unknown}`;
  if (new Set(models).size < models.length) return "expected each model once, found one twice";
  if (!figuresOf(report).every(isSoundFigure)) {
    return `expected figures from 0 to ${FIGURE_MAX}`;
  }
  if (report.models.some(({ slotsTotal }) => (slotsTotal?.value ?? 0) > SLOTS_MAX)) {
    return `expected at most ${SLOTS_MAX} slots`;
  }
  const ratios = [report.greenShare, ...report.models.map(({ kvUsedRatio }) => kvUsedRatio)];
  if (!ratios.every(isRatio)) return "expected ratios of at most 1";
  return report.pue === undefined || report.pue.value >= 1 ? "" : "expected a PUE of at least 1";
}

function isSoundFigure({ value, observedAt, validMs }: Figure): boolean {
  return value >= 0 && value <= FIGURE_MAX && Number.isFinite(observedAt) && validMs > 0;
}

function isRatio(figure: Figure | undefined): boolean {
  return figure === undefined || figure.value <= 1;
}

function figuresOf({
  models,
  powerWatts,
  energyJoulesTotal,
  pue,
  greenShare,
}: PoolReport): Figure[] {
  const ofPool = [powerWatts, energyJoulesTotal, pue, greenShare];
  return [...ofPool, ...models.flatMap(figuresOfModel)].filter((each) => each !== undefined);
}

function figuresOfModel({ model: _model, ...figures }: ModelReport): (Figure | undefined)[] {
  return Object.values(figures);
}

/** The pool after an accepted report. What it does not mention is as it was. */
export function afterReport(
  pool: Pool,
  report: PoolReport,
  { now, flowOf }: { now: Instant; flowOf: (model: ModelId, observedAt: Instant) => Flow },
): Pool {
  const served = new Map(pool.served);
  for (const each of report.models) {
    const before = served.get(each.model);
    if (before === undefined) continue;
    const observedAt = each.runningRequests?.observedAt ?? now;
    served.set(each.model, {
      ...withRates(before, each),
      ...flowOf(each.model, observedAt),
      observed: before.observed && faded(before.observed, pool.reportedAt ?? now, now),
    });
  }
  return {
    ...pool,
    served,
    generation: report.generation,
    reportedAt: now,
    reportSequence: report.sequence,
    reportValidMs: validMsOf(report),
    powerWatts: report.powerWatts ?? pool.powerWatts,
    energyJoulesTotal: report.energyJoulesTotal ?? pool.energyJoulesTotal,
    pue: report.pue ?? pool.pue,
    greenShare: report.greenShare ?? pool.greenShare,
  };
}

/** A counter that fell back: the engine was started again, and what it held is gone. */
export function wasRestarted(before: Served | undefined, after: Served): boolean {
  const [last, next] = [before?.report, after.report];
  if (last === undefined || next === undefined || last === next) return false;
  return (
    fell(last.promptTokensTotal, next.promptTokensTotal) ||
    fell(last.outputTokensTotal, next.outputTokensTotal)
  );
}

function fell(last: Figure | undefined, next: Figure | undefined): boolean {
  return last !== undefined && next !== undefined && next.value < last.value;
}

/** As long as its shortest-lived load figure, within bounds. */
function validMsOf({ models }: PoolReport): number {
  const loads = models.flatMap(({ runningRequests, waitingRequests }) => [
    ...(runningRequests ? [runningRequests.validMs] : []),
    ...(waitingRequests ? [waitingRequests.validMs] : []),
  ]);
  return loads.length === 0 ? REPORT_VALID_MS : Math.min(REPORT_VALID_MS_MAX, ...loads);
}

function withRates(before: Served, report: ModelReport): Served {
  const { report: last } = before;
  const told = perSecond(last?.promptTokensTotal, report.promptTokensTotal);
  const cached = perSecond(last?.cachedPromptTokensTotal, report.cachedPromptTokensTotal) ?? 0;
  const prompt = told === undefined ? undefined : Math.max(0, told - cached);
  const output = perSecond(last?.outputTokensTotal, report.outputTokensTotal);
  const elapsedMs =
    (report.promptTokensTotal?.observedAt ?? 0) - (last?.promptTokensTotal?.observedAt ?? 0);
  const weight = 1 - Math.exp(-elapsedMs / PROMPT_RATE_MS);
  const known = before.promptTokensPerSecond;
  return {
    ...before,
    report,
    promptTokensPerSecond:
      prompt === undefined || known === undefined
        ? (prompt ?? known)
        : known + weight * (prompt - known),
    outputTokensPerSecond: output ?? before.outputTokensPerSecond,
  };
}

/** A smaller count means that the engine was started again: then all of it is new. */
function perSecond(last: Figure | undefined, next: Figure | undefined): number | undefined {
  if (last === undefined || next === undefined) return undefined;
  const elapsedMs = next.observedAt - last.observedAt;
  if (elapsedMs <= 0) return undefined;
  const count = next.value < last.value ? next.value : next.value - last.value;
  return (count * 1_000) / elapsedMs;
}
