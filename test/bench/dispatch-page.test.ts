import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, expect, test } from "vitest";
import { verdictsOn } from "../../bench/dispatch/aims.ts";
import { phases, quick, usual } from "../../bench/dispatch/campaign.ts";
import { contestants, families, ours } from "../../bench/dispatch/contestants.ts";
import { optionsFrom } from "../../bench/dispatch/options.ts";
import { pagePath, withResults } from "../../bench/dispatch/page.ts";
import { plots, svgOf } from "../../bench/dispatch/plots.ts";
import {
  appendRow,
  bound,
  comparable,
  readRows,
  type BoundRow,
  type Row,
  type RunRow,
} from "../../bench/dispatch/rows.ts";
import { bestSetting, scoresOf } from "../../bench/dispatch/scores.ts";
import { estimate } from "../../bench/dispatch/statistics.ts";
import { windowOf } from "../../bench/dispatch/traces.ts";

const folder = mkdtempSync(join(tmpdir(), "tokengrid-dispatch-"));
afterAll(() => rmSync(folder, { recursive: true }));

const page = "# Page\n\n<!-- results -->\n\nold\n\n<!-- /results -->\n\nrest\n";

const task = {
  suite: "main",
  trace: "azure",
  fleet: "east-west",
  load: 0.8,
  seed: 1,
  durationMs: 60_000,
  at: "2026-11-20T20:00+08:00",
  scale: 1,
  variant: "as published",
  reportIntervalMs: 1_000,
  dispatchers: 1,
  figures: "usual",
  source: "§2.1",
  commit: "0123456789ab",
  endedAt: "2026-11-21T10:00:00.000Z",
  capacityPerSecond: 100,
  offeredPerSecond: 80,
  leftOut: 10,
  requests: 1_000,
  wallMs: 500,
} as const;

/** A run whose cost per request is in millionths of a CNY. */
function runRow(policy: string, micro: number, changes: Partial<RunRow> = {}): RunRow {
  const good = changes.refused === undefined ? 990 : 990 - changes.refused;
  const rest = { energy: 0, carbon: 0, time: 0, missed: 0, refused: 0 };
  const totalNano = micro * 1e6;
  return {
    ...task,
    kind: "run",
    policy,
    name: contestants.get(policy)?.name ?? policy,
    totalNano,
    nanoPerRequest: micro * 1_000,
    nanoByPart: { money: totalNano, ...rest },
    byClass: {
      "llm-interactive": { requests: 1_000, refused: 0, missedTtft: 10, missedTpot: 0, good },
    },
    refused: 0,
    goodputPerSecond: 79,
    utilisation: 0.5,
    gini: 0.1,
    oscillation: 0.2,
    sidesByHour: [{ localHour: 20, tokensBySide: { east: 100, west: 300 } }],
    joules: 3.6e6,
    gramsCo2Location: 500,
    gramsCo2Market: 400,
    prediction: { ttftMs: undefined, tpotMs: undefined, finishMs: undefined },
    picksPerSecond: 10_000,
    digest: "x",
    ...changes,
  };
}

function boundRow(micro: number, changes: Partial<BoundRow> = {}): BoundRow {
  const names = { policy: bound, name: "clairvoyant bound", kind: "bound" } as const;
  return { ...task, ...names, boundNano: micro * 1e6, fluidNano: micro * 1.01e6, ...changes };
}

const rows: readonly Row[] = [
  boundRow(4_000),
  boundRow(4_000, { seed: 2 }),
  runRow(ours, 4_080),
  runRow(ours, 4_120, { seed: 2 }),
  runRow("random", 5_000),
  runRow("random", 4_900, { variant: "capacity-weighted" }),
  runRow("random", 5_100, { seed: 2, variant: "capacity-weighted" }),
  ...(["age-0", "late-boast", "late-modest"] as const).map((figures, index) =>
    runRow(ours, 4_000 + 240 * index, { suite: "figures", figures }),
  ),
];

test("the page says which aims are met, by how much the others are missed, and against whom", async () => {
  const text = await withResults(page, rows);
  const lines = text.split("\n").map((line) => line.replaceAll(/ +/g, " "));
  expect(lines.filter((line) => / \| (met|missed) \| [–\d]/.test(line))).toEqual([
    "| total cost at most 3 % above the bound | east-west, 80 % load | 2.5 % ± 6.4 % | met | – | 1.5 % above the fluid estimate |",
    "| total cost at least 15 % below the best baseline, objectives as good or better | east-west, 80 % load | 18.0 % ± 15.8 % | met | – | random; LiteLLM, simple shuffle; requests that missed or were refused: ours 1 %, theirs 1 % |",
    "| at most 5 % dearer than with perfect figures | 10 s late, 20 % lost, one vendor claims 10 × its capacity | 6 % | missed | 1.0 points | |",
    "| at most 5 % dearer than with perfect figures | 10 s late, 20 % lost, one vendor reports half its load | 12 % | missed | 7.0 points | |",
  ]);
  expect(text).toContain("The bound is 4.000; the fluid estimate, which is no bound, 4.040.");
  expect(text.startsWith("# Page\n")).toBe(true);
  expect(text.endsWith("\n\nrest\n")).toBe(true);
});

test("an aim of cost is not met with worse objectives", () => {
  const worse = rows.map((row) =>
    row.kind === "run" && row.policy === ours
      ? runRow(ours, row.nanoPerRequest / 1_000, {
          ...row,
          byClass: runRow(ours, 1, { refused: 100 }).byClass,
        })
      : row,
  );
  const verdict = verdictsOn(worse).find(({ aim }) => aim.includes("below the best baseline"));
  expect(verdict).toMatchObject({ isMet: false, missedBy: 0 });
});

test("a policy is shown in its best setting", () => {
  expect(bestSetting(rows, "east-west", "random")?.variant).toBe("capacity-weighted");
  const scores = scoresOf(rows, { fleet: "east-west", load: 0.8 });
  expect(scores.map(({ policy, setting, runs }) => [policy, setting, runs.length])).toEqual([
    [ours, "as published", 2],
    ["random", "capacity-weighted", 2],
  ]);
  expect(scores[0]?.aboveBound?.mean).toBeCloseTo(0.025, 12);
});

test("the page refuses to be made without a place for the results, and says when there are none", async () => {
  await expect(withResults("# Page\n", rows)).rejects.toThrow("expected marks");
  expect(await withResults(page, [])).toContain("No results yet.");
});

test("the page shows the results that are kept; if not, run node bench/dispatch/page.ts", async () => {
  const shown = readFileSync(pagePath, "utf8");
  expect(await withResults(shown, readRows())).toBe(shown);
});

test("rows come back as they were appended, to six digits; the last of a kind counts", () => {
  const path = join(folder, "rows.jsonl");
  expect(readRows(path)).toEqual([]);
  const first = runRow(ours, 4_000, { gini: 0.123456789 });
  for (const row of [first, runRow(ours, 5_000)]) appendRow(row, path);
  const [back] = readRows(path);
  expect(back).toMatchObject({ gini: 0.123457, totalNano: first.totalNano });
  expect(comparable(readRows(path)).map((row) => row.kind === "run" && row.totalNano)).toEqual([
    5e9,
  ]);
});

test("runs of another length do not stand beside the last ones", () => {
  const short = runRow("random", 1, { durationMs: 10 });
  expect(comparable([short, ...rows])).toEqual([...rows]);
  expect(comparable([...rows, short]).filter(({ suite }) => suite === "main")).toEqual([short]);
});

for (const { file, spec } of plots) {
  test(`${file} is drawn with a title and units, and not at all without runs`, async () => {
    const day = [
      runRow(ours, 1, { suite: "day", trace: "servegen" }),
      runRow("nearest-first", 1, { suite: "day", trace: "servegen" }),
    ];
    const plot = spec([...rows, ...day]);
    expect(spec([])).toBeUndefined();
    if (plot === undefined) throw new Error("expected a plot");
    const svg = await svgOf(plot);
    expect(svg).toContain("<svg");
    expect(svg).toContain("tokengrid");
    expect(svg).toMatch(/CNY per|%/);
    expect(await svgOf(plot)).toBe(svg);
  });
}

test("estimate() gives each group the same weight, and an interval of what is drawn in them", () => {
  expect(estimate([[1, 3]])).toEqual({ mean: 2, plusMinus: 12.706 });
  expect(estimate([[1, 1, 1], [5]])).toEqual({ mean: 3, plusMinus: undefined });
  const group = fc.array(fc.integer({ min: 1, max: 1_000 }), { minLength: 2, maxLength: 9 });
  fc.assert(
    fc.property(fc.array(group, { minLength: 1, maxLength: 4 }), fc.integer(), (groups, by) => {
      const { mean, plusMinus = -1 } = estimate(groups);
      const moved = estimate(groups.map((values) => values.map((value) => value + by)));
      expect(plusMinus).toBeGreaterThanOrEqual(0);
      expect(moved.mean - by).toBeCloseTo(mean, 3);
      expect(moved.plusMinus).toBeCloseTo(plusMinus, 3);
    }),
  );
});

test("windowOf() gives rows in a row, the first at 0", () => {
  const all = Array.from({ length: 50 }, (_, index) => ({
    ...{ atMs: index * 10, inputTokens: index + 1, outputTokens: 1, blocks: [] },
  }));
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), fc.nat(), (count, seed) => {
      const window = windowOf(all, count, seed);
      expect(window.length).toBe(count);
      expect(window.map(({ atMs }) => atMs)).toEqual(window.map((_row, index) => index * 10));
      const tokens = window.map(({ inputTokens }) => inputTokens);
      expect(tokens).toEqual(tokens.map((_each, index) => (tokens[0] ?? 0) + index));
    }),
  );
});

test("a campaign tries all settings once, then runs the best everywhere else", () => {
  const campaign = { ...usual, policies: [ours, "random"], suites: ["main"] as const };
  const [trial, others] = phases;
  const first = trial?.(campaign, []) ?? [];
  expect(first.length).toBe(usual.fleets.length * usual.traces.length * 3);
  expect(new Set(first.map(({ load, seed }) => `${load} ${seed}`))).toEqual(new Set(["0.8 1"]));
  const done = first.map((each) => runRow(each.policy, 1, each));
  const rest = others?.(campaign, done) ?? [];
  const cells = usual.fleets.length * usual.traces.length * usual.loads.length * usual.seeds.length;
  expect(rest.length).toBe(2 * cells - 2 * usual.fleets.length * usual.traces.length);
});

test("every policy has a family of its own source", () => {
  const used = new Set([...contestants.values()].map(({ family }) => family));
  expect([...used].sort()).toEqual([...families].sort());
  const sources = new Set([...contestants.values()].map(({ source }) => source));
  expect([...sources].sort()).toEqual(
    [
      "–",
      "§2.1",
      "§2.10",
      "§2.11",
      "§2.12",
      "§2.13",
      ...["2", "3", "4", "5", "6", "7", "8", "9"].map((each) => `§2.${each}`),
    ].sort(),
  );
});

test("options: defaults, a quick look, and lists", () => {
  expect(optionsFrom([])).toEqual({
    campaign: usual,
    isResumed: false,
    rowsPath: "bench/dispatch/results.jsonl",
    hasPage: true,
  });
  expect(optionsFrom(["--quick"])).toMatchObject({ campaign: quick, hasPage: false });
  const some = optionsFrom(["--seeds", "2", "--loads", "0.5,2", "--duration", "5s", "--resume"]);
  expect(some.campaign).toEqual({ ...usual, seeds: [1, 2], loads: [0.5, 2], durationMs: 5_000 });
  expect(optionsFrom(["--seeds", "4,7", "--policies", "ours,random"]).campaign).toMatchObject({
    seeds: [4, 7],
    policies: ["ours", "random"],
  });
});
