import fc from "fast-check";
import { expect, test } from "vitest";
import { nodeFinding } from "../../services/cli/doctor.ts";
import { durationMs } from "../../services/cli/duration.ts";
import { parsePort } from "../../services/cli/dev/ports.ts";

const durations: readonly (readonly [text: string, ms: number])[] = [
  ["0ms", 0],
  ["500ms", 500],
  ["1.5s", 1_500],
  ["15m", 900_000],
  ["1h", 3_600_000],
];

for (const [text, ms] of durations) {
  test(`durationMs() of ${text} is ${ms}`, () => {
    expect(durationMs(text)).toBe(ms);
  });
}

for (const text of ["", "5", "-1s", "1d", "1 s", "s", "1e3s"]) {
  test(`durationMs() of ${JSON.stringify(text)} says what was expected and found`, () => {
    expect(() => durationMs(text)).toThrow(
      `expected a time such as 500ms, 90s, 15m or 1h, found ${JSON.stringify(text)}`,
    );
  });
}

test("parsePort() takes 0 to 65535 and nothing else", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 65_535 }), (port) => {
      expect(parsePort(String(port))).toBe(port);
    }),
  );
  for (const text of ["", "65536", "-1", "80.5", "http", "0x50", "99999999"]) {
    expect(() => parsePort(text)).toThrow(
      `expected a port from 0 to 65535, found ${JSON.stringify(text)}`,
    );
  }
});

const nodes: readonly (readonly [version: string, verdict: string])[] = [
  ["20.20.2", "bad"],
  ["24.14.0", "bad"],
  ["24.14.1", "ok"],
  ["24.21.0", "ok"],
  ["26.0.0", "ok"],
];

for (const [version, verdict] of nodes) {
  test(`nodeFinding() of ${version} is ${verdict}`, () => {
    expect(nodeFinding(version).verdict).toBe(verdict);
  });
}
