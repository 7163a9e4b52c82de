import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { readResults, type Result } from "../../bench/report.ts";
import { pagePath, withTable } from "../../bench/table.ts";

const page = "# Page\n\n<!-- results -->\n\nold\n\n<!-- /results -->\n\nrest\n";

function result(changes: Partial<Result>): Result {
  return {
    at: "2026-11-21T10:00:00.000Z",
    name: "decide/64-pools",
    unit: "us",
    value: 2.345678,
    conditions: { rounds: 5 },
    commit: "0123456789ab",
    node: "24.21.0",
    cpu: "a processor",
    cores: 2,
    load: 0.4,
    ...changes,
  };
}

test("withTable() shows the newest result of each case, by benchmark, and keeps the rest", () => {
  const results = [
    result({ value: 9 }),
    result({ name: "gateway/plain", value: 28_140.2, unit: "req/s", conditions: {} }),
    result({ at: "2026-11-21T11:00:00.000Z" }),
  ];
  expect(withTable(page, results)).toBe(
    `# Page

<!-- results -->

**decide**

| case     | median | unit | conditions |
| -------- | ------ | ---- | ---------- |
| 64-pools | 2.346  | us   | rounds 5   |

2026-11-21, commit 0123456789ab, Node 24.21.0, 2 cores of a processor, load 0.4

**gateway**

| case  | median | unit  | conditions |
| ----- | ------ | ----- | ---------- |
| plain | 28,140 | req/s |            |

2026-11-21, commit 0123456789ab, Node 24.21.0, 2 cores of a processor, load 0.4

<!-- /results -->

rest
`,
  );
});

test("withTable() says so when there are no results", () => {
  expect(withTable(page, [])).toContain("No results yet.");
});

test("withTable() refuses a page without a place for the table", () => {
  expect(() => withTable("# Page\n", [])).toThrow("expected marks");
});

test("the page shows the results that are kept; if not, run node bench/table.ts", () => {
  const shown = readFileSync(pagePath, "utf8");
  expect(shown).toBe(withTable(shown, readResults()));
});
