import type { InstantUs, Nano } from "../../units.ts";

/** A cell as its column has it. A decimal is `value` × 10^-`digits`. */
export type FocusCell =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "decimal"; readonly value: bigint; readonly digits: number }
  | { readonly kind: "instant"; readonly us: InstantUs }
  | { readonly kind: "null" };

export const nullCell: FocusCell = { kind: "null" };
export const nanoDigits = 9;
export const picoDigits = 12;

export function maybe(value: string): FocusCell {
  return value === "" ? nullCell : text(value);
}

export function text(value: string): FocusCell {
  return { kind: "text", text: value };
}

export function decimal(value: bigint, digits: number): FocusCell {
  return { kind: "decimal", value, digits };
}

export function money(nano: Nano): FocusCell {
  return decimal(nano, nanoDigits);
}

export function exact(pico: bigint): FocusCell {
  return decimal(pico, picoDigits);
}

export function whole(value: bigint): FocusCell {
  return decimal(value, 0);
}

export function instant(us: InstantUs): FocusCell {
  return { kind: "instant", us };
}

/** An integer as fixed point, always with a point: `8400000` and 6 digits give `8.4`. */
export function decimalText(value: bigint, digits: number): string {
  const sign = value < 0n ? "-" : "";
  const digitsText = String(value < 0n ? -value : value).padStart(digits + 1, "0");
  const wholePart = digitsText.slice(0, digitsText.length - digits);
  const part = digitsText.slice(digitsText.length - digits).replace(/0+$/, "");
  return `${sign}${wholePart}.${part === "" ? "0" : part}`;
}

/** `2026-11-21T00:00:00Z`. */
export function instantText(us: InstantUs): string {
  return new Date(Number(us / 1_000n)).toISOString().replace(".000Z", "Z");
}

/** A cell as files of text have it; null is empty. */
export function cellText(cell: FocusCell): string {
  switch (cell.kind) {
    case "text":
      return cell.text;
    case "decimal":
      return decimalText(cell.value, cell.digits);
    case "instant":
      return instantText(cell.us);
    case "null":
      return "";
  }
}

/** A line of CSV (RFC 4180). */
export function focusCsvLine(cells: readonly string[]): string {
  return `${cells.map(quoted).join(",")}\r\n`;
}

function quoted(value: string): string {
  return /[",\r\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}
