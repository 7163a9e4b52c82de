import { InvalidArgumentError } from "commander";

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000 };

/** `500ms`, `90s`, `15m` or `1h`, in ms. */
export function durationMs(text: string): number {
  const [, count = "", unit = ""] = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text) ?? [];
  const factor = unitMs[unit];
  if (factor === undefined) {
    throw new InvalidArgumentError(
      `expected a time such as 500ms, 90s, 15m or 1h, found ${JSON.stringify(text)}`,
    );
  }
  return Math.round(Number(count) * factor);
}
