import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { parse } from "yaml";
import { isInCode, ourMetricsIn } from "./metric-names.ts";
import { isPromtoolHere, promtool, promtoolNote } from "./promtool.ts";

const rulesPath = "deploy/alerts/alerts.yaml";
const casesPath = "deploy/alerts/alerts.test.yaml";

interface Rule {
  readonly alert?: string;
  readonly record?: string;
  readonly expr: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
}

interface Case {
  readonly alert_rule_test?: readonly {
    readonly alertname: string;
    readonly exp_alerts?: readonly unknown[];
  }[];
}

const { groups } = parse(readFileSync(rulesPath, "utf8")) as {
  readonly groups: readonly { readonly rules: readonly Rule[] }[];
};
const rules = groups.flatMap((group) => group.rules);
const alerts = rules.filter(({ alert }) => alert !== undefined);
const { tests } = parse(readFileSync(casesPath, "utf8")) as { readonly tests: readonly Case[] };
const cases = tests.flatMap((each) => each.alert_rule_test ?? []);

/**
 * Rules that wait for their part of the product: the other party's statement, and certificates. An alert
 * on a metric that is not there is silent, so each stands here by name, and leaves with the metric's arrival.
 */
const notYet = [
  "tokengrid_settlement_discrepancy_ratio",
  "tokengrid_tls_certificate_not_after_timestamp_seconds",
];

test("there are rules to check", () => {
  expect(alerts.length).toBeGreaterThan(15);
});

for (const { alert = "", labels, annotations } of alerts) {
  test(`alert ${alert} has a severity, a summary, a description and a runbook`, () => {
    expect(alert).toMatch(/^Tokengrid[A-Z]\w+$/);
    expect(["critical", "warning"]).toContain(labels?.["severity"]);
    expect(annotations).toMatchObject({
      summary: expect.stringMatching(/\S/) as string,
      description: expect.stringMatching(/\S/) as string,
      runbook_url: `https://tokengrid.example/runbooks/${alert}`,
    });
  });

  test(`alert ${alert} has a case in which it fires and one in which it is silent`, () => {
    const own = cases.filter(({ alertname }) => alertname === alert);
    const fires = own.map(({ exp_alerts: expected = [] }) => expected.length > 0);
    expect(new Set(fires)).toEqual(new Set([true, false]));
  });
}

test("every metric that a rule names is registered somewhere in the code", () => {
  const named = rules.flatMap(({ expr }) => ourMetricsIn(expr));
  const missing = [...new Set(named)].filter((metric) => !isInCode(metric));
  expect(missing.toSorted()).toEqual(notYet);
});

describe.skipIf(!isPromtoolHere)(`alert rules under promtool${promtoolNote}`, () => {
  test("promtool check rules accepts them", async () => {
    const { code, text } = await promtool(["check", "rules", rulesPath]);
    expect({ code, text }).toMatchObject({
      code: 0,
      text: expect.stringContaining("SUCCESS") as string,
    });
  });

  test("promtool test rules fires and silences each of them", async () => {
    const { code, text } = await promtool(["test", "rules", casesPath]);
    expect({ code, text }).toMatchObject({
      code: 0,
      text: expect.stringContaining("SUCCESS") as string,
    });
  });
});
