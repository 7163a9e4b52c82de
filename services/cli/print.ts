import { styleText } from "node:util";
import { type DescMessage, type MessageShape, toJson } from "@bufbuild/protobuf";
import Table from "cli-table3";
import { stringify } from "yaml";

export const formats = ["table", "wide", "json", "yaml", "name"] as const;

export type Format = (typeof formats)[number];

export interface Column {
  readonly name: string;
  readonly align?: "left" | "right";
  /** Shown with `-o wide` only. */
  readonly isWide?: boolean;
}

/** One answer in every form that it may be asked for. */
export interface Printable {
  /** JSON with the protobuf field names: these are API. */
  readonly json: unknown;
  readonly names: readonly string[];
  /** What people read; `isWide` asks for more of it. */
  text(isWide: boolean): string;
}

export function print(format: Format, printable: Printable): void {
  process.stdout.write(rendered(format, printable));
}

export function rendered(format: Format, printable: Printable): string {
  switch (format) {
    case "json":
      return `${JSON.stringify(printable.json, null, 2)}\n`;
    case "yaml":
      return stringify(printable.json, { lineWidth: 0 });
    case "name":
      return printable.names.map((name) => `${name}\n`).join("");
    case "table":
    case "wide":
      return printable.text(format === "wide");
  }
}

/** Field names as in protobuf JSON, absent scalars shown as their zero. */
export function jsonOf<Desc extends DescMessage>(
  schema: Desc,
  message: MessageShape<Desc>,
): unknown {
  return toJson(schema, message, { alwaysEmitImplicit: true });
}

/** Columns that stand under each other also where a name is Chinese. No frame: the lines are for `grep` too. */
export function textTable(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  isWide = false,
): string {
  const shown = columns.map(({ isWide: onlyWide = false }) => isWide || !onlyWide);
  const visible = (cells: readonly string[]) => cells.filter((_, index) => shown[index]);
  const table = new Table({
    chars: noFrame,
    colAligns: columns.filter((_, index) => shown[index]).map(({ align = "left" }) => align),
    style: { "padding-left": 0, "padding-right": 2, head: [], border: [], compact: true },
  });
  table.push(visible(columns.map(({ name }) => name)), ...rows.map(visible));
  const lines = table.toString().split("\n");
  return lines.map((line) => `${line.trimEnd()}\n`).join("");
}

/** Name and value under each other, for one thing. */
export function textCard(pairs: readonly (readonly [string, string])[]): string {
  const width = Math.max(...pairs.map(([name]) => name.length)) + 2;
  return pairs
    .map(([name, value]) => `${name.padEnd(width)}${value}`.trimEnd())
    .map((line) => `${line}\n`)
    .join("");
}

/** 3728798n → `0.003728798`: exact, in yuan, to the last nano. */
export function yuan(amountNano: bigint): string {
  const digits = (amountNano < 0n ? -amountNano : amountNano).toString().padStart(10, "0");
  const sign = amountNano < 0n ? "-" : "";
  return `${sign}${digits.slice(0, -9)}.${digits.slice(-9)}`;
}

/** 3728798n → `3,728,798`. */
export function grouped(count: bigint | number | string): string {
  return count.toString().replace(/\B(?=(\d{3})+(?!\d))/g, ",");
}

/** For reading, at most three digits that matter: 0.0123, 4.56, 789, 12,345. */
export function brief(value: number): string {
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 100) return grouped(Math.round(value));
  return Number(value.toPrecision(3)).toString();
}

/** 850 → `850 ms`; 5600 → `5.6 s`; 192000 → `3.2 min`. */
export function span(ms: number): string {
  const [factor, unit] = spans.find(([limit]) => ms < limit)?.[1] ?? [86_400_000, "d"];
  return `${brief(ms / factor)} ${unit}`;
}

const spans: readonly (readonly [limit: number, scale: readonly [number, string]])[] = [
  [1_000, [1, "ms"]],
  [60_000, [1_000, "s"]],
  [3_600_000, [60_000, "min"]],
  [86_400_000, [3_600_000, "h"]],
];

export function percent(ratio: number): string {
  return `${brief(ratio * 100)} %`;
}

/** Weight without meaning: only where a person looks, never with NO_COLOR. */
export function bold(text: string): string {
  return styleText("bold", text, { stream: process.stdout });
}

/** `REALTIME_INTERACTIVE` with prefix `SERVICE_CLASS_` → `realtime-interactive`. */
export function enumWord(name: string | undefined): string {
  return (name ?? "unspecified").toLowerCase().replaceAll("_", "-");
}

const noFrame = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "",
};
