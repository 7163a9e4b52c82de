import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { afterEach, beforeEach, expect, test } from "vitest";
import { writeFocusCsv, writeFocusParquet } from "../../services/cli/statement/focus-out.ts";
import { createWriteStream } from "node:fs";
import {
  focusColumns,
  focusOtherRows,
  focusUsageRow,
  type FocusRow,
} from "../../services/core/settlement/statements/focus.ts";
import { focusMistakes, readCsv, toInteger } from "../core/settlement/focus-rules.ts";
import { hoursOf, statement } from "../core/settlement/statement-fixtures.ts";

let folder: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tokengrid-focus-"));
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

const parties = {
  operator: { id: "operator", name: "Operator" },
  counterparty: { id: "northgrid", name: "北方算力" },
};

/** The rows of a small statement, so many times over. */
async function* rows(times: number): AsyncGenerator<FocusRow> {
  const made = statement();
  const invoiced = { statement: made, parties, version: "1.4" } as const;
  for (let time = 0; time < times; time += 1) {
    for (const { key, total } of hoursOf()) {
      const nothing = { department: "", coveredNano: 0n, releasedNano: 0n, draws: [] };
      yield focusUsageRow({ ...invoiced, hour: { ...key, ...total, ...nothing } });
    }
  }
  yield* focusOtherRows(invoiced);
}

test("writeFocusCsv() writes a file that keeps the rules", async () => {
  const path = join(folder, "focus.csv");
  await writeFocusCsv(rows(1), "1.4", createWriteStream(path));
  const { header, rows: read } = readCsv(readFileSync(path, "utf8"));
  expect(focusMistakes(header, read, "1.4")).toEqual([]);
  expect(read[0]).toMatchObject({ InvoiceIssuerName: "北方算力" });
});

test("writeFocusParquet() writes the same, exact to the last digit", async () => {
  const [csvPath, path] = [join(folder, "focus.csv"), join(folder, "focus.parquet")];
  await writeFocusCsv(rows(1), "1.4", createWriteStream(csvPath));
  await writeFocusParquet(rows(1), "1.4", path);
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file);
  expect(metadata.schema.slice(1).map(({ name }) => name)).toEqual(focusColumns("1.4"));
  expect(metadata.key_value_metadata).toContainEqual({ key: "focus_version", value: "1.4" });
  const cost = metadata.schema.find(({ name }) => name === "ListCost");
  expect(cost).toMatchObject({ converted_type: "DECIMAL", scale: 12, precision: 38 });
  const read = await parquetReadObjects({ file });
  const { rows: expected } = readCsv(readFileSync(csvPath, "utf8"));
  expect(read.length).toBe(expected.length);
  for (const [place, row] of read.entries()) {
    const other = expected[place] ?? {};
    expect(row["SkuPriceId"] ?? "").toBe(other["SkuPriceId"]);
    expect(row["ChargePeriodStart"]).toEqual(new Date(other["ChargePeriodStart"] ?? ""));
    expect(BigInt(Math.round(Number(row["BilledCost"]) * 1e9))).toBe(
      toInteger(other["BilledCost"] ?? "", 9),
    );
  }
});

test("writeFocusParquet() writes in groups of rows, however many come", async () => {
  const path = join(folder, "many.parquet");
  await writeFocusParquet(rows(3_000), "1.4", path);
  const { num_rows: count, row_groups: groups } = await parquetMetadataAsync(
    await asyncBufferFromFile(path),
  );
  expect(count).toBe(BigInt(3_000 * hoursOf().length + 1));
  expect(groups.length).toBe(Math.ceil(Number(count) / 20_000));
});

test("writeFocusParquet() of nothing is a file without rows", async () => {
  async function* none(): AsyncGenerator<FocusRow> {
    yield* [];
  }
  const path = join(folder, "none.parquet");
  await writeFocusParquet(none(), "1.3", path);
  const { num_rows: count, schema } = await parquetMetadataAsync(await asyncBufferFromFile(path));
  expect([count, schema.length]).toEqual([0n, focusColumns("1.3").length + 1]);
});
