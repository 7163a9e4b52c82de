import { expect, test } from "vitest";
import { fromFuture, futureUsMax } from "../../../../services/core/settlement/counting/bounds.ts";
import { friday, usageRecord } from "../fixtures.ts";

const minuteUs = 60_000_000n;

/** How far a record is ahead, by which error its gateway tells, and whether it is believed. */
const cases = {
  "within five minutes": [5n * minuteUs, 0n, true],
  "beyond five minutes": [5n * minuteUs + 1n, 0n, false],
  "within its clock's error": [25n * minuteUs, 20n * minuteUs, true],
  "beyond its clock's error": [25n * minuteUs + 1n, 20n * minuteUs, false],
  "within what any error excuses": [futureUsMax, 2n ** 62n, true],
  "beyond what any error excuses": [futureUsMax + 1n, 2n ** 62n, false],
} as const;

for (const [name, [aheadUs, clockErrUs, isFine]] of Object.entries(cases)) {
  for (const instant of ["openedUs", "closedUs"] as const) {
    test(`a record whose ${instant} is ${name} is ${isFine ? "taken" : "doubted"}`, () => {
      const record = {
        ...usageRecord({ clockErrUs }),
        ...{ openedUs: friday, closedUs: friday, [instant]: friday + aheadUs },
      };
      expect(fromFuture(record, friday) === undefined).toBe(isFine);
    });
  }
}
