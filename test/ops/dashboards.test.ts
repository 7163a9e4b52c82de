import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { isInCode, ourMetricsIn } from "./metric-names.ts";
import { isPromtoolHere, promtool, promtoolNote } from "./promtool.ts";

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly gridPos: {
    readonly x: number;
    readonly y: number;
    readonly w: number;
    readonly h: number;
  };
  readonly datasource?: { readonly uid: string };
  readonly fieldConfig?: { readonly defaults: { readonly unit?: string } };
  readonly targets?: readonly {
    readonly expr: string;
    readonly datasource: { readonly uid: string };
  }[];
}

interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string }[];
  };
  readonly annotations: { readonly list: readonly { readonly expr?: string }[] };
  readonly panels: readonly Panel[];
}

const folder = "deploy/dashboards";
const files = readdirSync(folder);
const dashboards = files.map((file) => ({
  file,
  dashboard: JSON.parse(readFileSync(join(folder, file), "utf8")) as Dashboard,
}));

test("there are the four dashboards, each with a uid of its own", () => {
  expect(files.toSorted()).toEqual(["control.json", "money.json", "overview.json", "pools.json"]);
  expect(new Set(dashboards.map(({ dashboard }) => dashboard.uid)).size).toBe(4);
});

for (const { file, dashboard } of dashboards) {
  const panels = dashboard.panels.filter(({ type }) => type !== "row");

  test(`${file}: every panel has a title, a unit and something to show`, () => {
    expect(panels.length).toBeGreaterThan(5);
    for (const { title, fieldConfig, targets = [] } of panels) {
      expect(title).not.toBe("");
      expect([title, fieldConfig?.defaults.unit]).toEqual([title, expect.stringMatching(/\S/)]);
      expect([title, targets.length]).not.toEqual([title, 0]);
    }
  });

  test(`${file}: the data source is a variable everywhere`, () => {
    expect(dashboard.templating.list[0]).toMatchObject({ name: "datasource", type: "datasource" });
    const uids = panels.flatMap(({ datasource, targets = [] }) => [
      datasource?.uid,
      ...targets.map((each) => each.datasource.uid),
    ]);
    expect(new Set(uids)).toEqual(new Set(["${datasource}"]));
  });

  test(`${file}: every metric that it names is registered somewhere in the code`, () => {
    const metrics = expressions(dashboard).flatMap(ourMetricsIn);
    expect(metrics.length).toBeGreaterThan(3);
    expect(metrics.filter((metric) => !isInCode(metric))).toEqual([]);
  });

  test(`${file}: panels fit the grid and none lies on another`, () => {
    expect(new Set(dashboard.panels.map(({ id }) => id)).size).toBe(dashboard.panels.length);
    const taken = new Map<string, string>();
    for (const { title, gridPos } of dashboard.panels) {
      expect(gridPos.x + gridPos.w).toBeLessThanOrEqual(24);
      for (const cell of cells(gridPos)) {
        expect([title, taken.get(cell)]).toEqual([title, undefined]);
        taken.set(cell, title);
      }
    }
  });
}

describe.skipIf(!isPromtoolHere)(`dashboards under promtool${promtoolNote}`, () => {
  test("every expression parses", async () => {
    const scratch = mkdtempSync(join(tmpdir(), "tokengrid-dashboards-"));
    const path = join(scratch, "rules.json");
    const rules = dashboards
      .flatMap(({ dashboard }) => expressions(dashboard))
      .map((expr, index) => ({ record: `panel:${index}`, expr: withoutVariables(expr) }));
    writeFileSync(path, JSON.stringify({ groups: [{ name: "panels", rules }] }));
    const { code, text } = await promtool(["check", "rules", path]);
    rmSync(scratch, { recursive: true });
    expect({ code, text }).toMatchObject({
      code: 0,
      text: expect.stringContaining(`${rules.length} rules found`) as string,
    });
  });
});

function expressions({ panels, annotations }: Dashboard): readonly string[] {
  const shown = panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
  return [...shown, ...annotations.list.flatMap(({ expr }) => expr ?? [])];
}

/** As Grafana would send it. */
function withoutVariables(expr: string): string {
  return expr.replaceAll("$__rate_interval", "1m").replaceAll(/\$\w+/g, ".*");
}

function cells({ x, y, w, h }: Panel["gridPos"]): readonly string[] {
  return Array.from(
    { length: w * h },
    (_, index) => `${x + (index % w)},${y + Math.floor(index / w)}`,
  );
}
