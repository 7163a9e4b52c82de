import type { Writable } from "node:stream";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { fileWriter, parquetWriteRows } from "hyparquet-writer";
import { focusKind, focusScale, scaled } from "../../core/settlement/statements/focus-schema.ts";
import {
  cellText,
  focusCsvLine,
  type FocusCell,
} from "../../core/settlement/statements/focus-cell.ts";
import {
  focusColumns,
  type FocusRow,
  type FocusVersion,
} from "../../core/settlement/statements/focus.ts";

/** Rows that are held at once: what a row group of a Parquet file has. */
const rowGroupRows = 20_000;

/** Rows as CSV (RFC 4180) with a header; null is an empty field. Holds a row at a time. */
export async function writeFocusCsv(
  rows: AsyncIterable<FocusRow>,
  version: FocusVersion,
  out: Writable,
): Promise<void> {
  const columns = focusColumns(version);
  async function* lines(): AsyncGenerator<string> {
    yield focusCsvLine(columns);
    for await (const row of rows) yield focusCsvLine(columns.map((name) => cellText(row[name])));
  }
  await pipeline(Readable.from(lines()), out, { end: out !== process.stdout });
}

/** Rows as Parquet: exact decimals of 38 digits, instants in microseconds. Holds a row group at a time. */
export async function writeFocusParquet(
  rows: AsyncIterable<FocusRow>,
  version: FocusVersion,
  path: string,
): Promise<void> {
  const columns = focusColumns(version);
  async function* values(): AsyncGenerator<Record<string, unknown>> {
    for await (const row of rows) {
      yield Object.fromEntries(columns.map((name) => [name, parquetValue(row[name])]));
    }
  }
  await parquetWriteRows({
    writer: fileWriter(path),
    rows: values(),
    columns: columns.map((name) => ({ name })),
    schema: [
      { name: "root", num_children: columns.length },
      ...columns.map((name) => ({
        name,
        repetition_type: "OPTIONAL" as const,
        ...elements[focusKind(name)],
      })),
    ],
    rowGroupSize: rowGroupRows,
    kvMetadata: [{ key: "focus_version", value: version }],
    createdBy: "tokengrid",
  });
}

const elements = {
  text: { type: "BYTE_ARRAY", converted_type: "UTF8" },
  decimal: {
    type: "FIXED_LEN_BYTE_ARRAY",
    type_length: 16,
    converted_type: "DECIMAL",
    scale: focusScale,
    precision: 38,
  },
  instant: { type: "INT64", converted_type: "TIMESTAMP_MICROS" },
} as const;

/** A bigint is the decimal without its point. */
function parquetValue(cell: FocusCell): string | bigint | null {
  switch (cell.kind) {
    case "text":
      return cell.text;
    case "decimal":
      return scaled(cell.value, cell.digits);
    case "instant":
      return cell.us;
    case "null":
      return null;
  }
}
