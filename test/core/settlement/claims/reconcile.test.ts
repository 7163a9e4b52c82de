import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Counted } from "../../../../services/core/settlement/claims/counted.ts";
import { buckets, type Bucket } from "../../../../services/core/settlement/claims/recon-judge.ts";
import { Merge } from "../../../../services/core/settlement/claims/recon-merge.ts";
import { allOf, reconCounts } from "../../../../services/core/settlement/claims/recon-totals.ts";
import {
  reconcile,
  type Discrepancy,
  type Reconciliation,
} from "../../../../services/core/settlement/claims/reconcile.ts";
import { noTokens, tokenClasses } from "../../../../services/core/settlement/counting/usage.ts";
import { canonicalJson } from "../../../../services/core/settlement/canonical.ts";
import { counted, someSource, span, tokens, tolerance } from "../counted.ts";

const day = { span, tolerance, timeZone: "Asia/Shanghai" } as const;

function run(ours: readonly Counted[], theirs: readonly Counted[]) {
  const found: Discrepancy[] = [];
  const onDiscrepancy = (each: Discrepancy): void => void found.push(each);
  const result = reconcile(ours, theirs, { ...day, hasNameless: true, onDiscrepancy });
  return { ...result, found };
}

/** Items of both sides in each bucket that has any. */
function filled({ buckets: totals }: Reconciliation): Partial<Record<Bucket, string>> {
  const rows = buckets.map((each) => [
    each,
    `${totals[each].ours.items}+${totals[each].theirs.items}`,
  ]);
  return Object.fromEntries(rows.filter(([, count]) => count !== "0+0"));
}

const recounted = { isExact: false } as const;
const before = { openedUs: span.fromUs - 60_000_000n } as const;
const first = { openedUs: span.fromUs } as const;

interface Row {
  readonly ours?: Partial<Counted>;
  readonly theirs?: Partial<Counted>;
  readonly bucket: Bucket;
  readonly says: string;
}

const cases: Readonly<Record<string, Row>> = {
  "the same counts": { ours: {}, theirs: {}, bucket: "matched", says: "" },
  "one token more of what both saw in the same stream": {
    ours: {},
    theirs: { tokens: tokens({ response: 51n }) },
    bucket: "quantity",
    says: "severe QTY_OUTPUT",
  },
  "three tokens more in a recount": {
    ours: recounted,
    theirs: { tokens: tokens({ response: 53n }) },
    bucket: "in-tolerance",
    says: "",
  },
  "four tokens more in a recount": {
    ours: recounted,
    theirs: { tokens: tokens({ response: 54n }) },
    bucket: "quantity",
    says: "severe QTY_OUTPUT",
  },
  "5,000 ppm of a long recount": {
    ours: { ...recounted, tokens: tokens({ response: 9_950n }) },
    theirs: { tokens: tokens({ response: 10_000n }) },
    bucket: "in-tolerance",
    says: "",
  },
  "a token more than 5,000 ppm": {
    ours: { ...recounted, tokens: tokens({ response: 9_949n }) },
    theirs: { tokens: tokens({ response: 10_000n }) },
    bucket: "quantity",
    says: "severe QTY_OUTPUT",
  },
  "input that was not there": {
    ours: {},
    theirs: { tokens: tokens({ uncachedInput: 70n }) },
    bucket: "quantity",
    says: "severe QTY_INPUT",
  },
  "cached input as uncached": {
    ours: {},
    theirs: { tokens: tokens({ uncachedInput: 100n, cacheRead: 0n }) },
    bucket: "quantity",
    says: "severe CACHE_CLASS",
  },
  "response as reasoning": {
    ours: {},
    theirs: { tokens: tokens({ response: 0n, reasoning: 50n }) },
    bucket: "quantity",
    says: "severe REASONING_UNSEEN",
  },
  "an attempt that was refused, which nobody claims": {
    ours: { tokens: noTokens, amountNano: 0n },
    bucket: "matched",
    says: "",
  },
  "a slot that one of them does not name": {
    ours: { slot: "", tokens: noTokens },
    theirs: { slot: "peak", tokens: noTokens },
    bucket: "matched",
    says: "",
  },
  "ours alone": { ours: {}, bucket: "missing-vendor", says: "warning" },
  "theirs alone": { theirs: {}, bucket: "missing-operator", says: "severe PHANTOM" },
  "another version of the price": {
    ours: {},
    theirs: { priceHash: "22".repeat(32) },
    bucket: "price",
    says: "severe PRICE",
  },
  "a price that one of them does not name": {
    ours: { priceHash: "" },
    theirs: {},
    bucket: "matched",
    says: "",
  },
  "another slot": { ours: {}, theirs: { slot: "peak" }, bucket: "price", says: "severe TOU" },
  "another model": {
    ours: {},
    theirs: { model: "qwen3-8b" },
    bucket: "price",
    says: "severe MODEL_SUBSTITUTED",
  },
  "another pool": {
    ours: {},
    theirs: { pool: "p2" },
    bucket: "price",
    says: "severe MODEL_SUBSTITUTED",
  },
  "a minute before the period to them": {
    ours: first,
    theirs: before,
    bucket: "period",
    says: "warning PERIOD",
  },
  "a minute before the period to us": {
    ours: before,
    theirs: first,
    bucket: "period",
    says: "warning PERIOD",
  },
  "the last instant, and the end": {
    ours: { openedUs: span.toUs - 1n },
    theirs: { openedUs: span.toUs },
    bucket: "period",
    says: "warning PERIOD",
  },
  "a claim after the books were closed": {
    ours: {},
    theirs: { isLate: true },
    bucket: "late",
    says: "warning PERIOD",
  },
  "a record after the books were closed": {
    ours: { isLate: true },
    theirs: {},
    bucket: "late",
    says: "warning PERIOD",
  },
  "both of the hour before": { ours: before, theirs: before, bucket: "outside", says: "" },
  "ours of the hour before": { ours: before, bucket: "outside", says: "" },
  "theirs of the hour before": { theirs: before, bucket: "outside", says: "" },
};

describe("reconcile()", () => {
  for (const [name, { ours, theirs, bucket, says }] of Object.entries(cases)) {
    test(`puts ${name} into ${bucket}`, () => {
      const result = run(
        ours === undefined ? [] : [counted("a1", ours)],
        theirs === undefined ? [] : [counted("a1", theirs)],
      );
      const counts = `${ours === undefined ? 0 : 1}+${theirs === undefined ? 0 : 1}`;
      expect(filled(result)).toEqual({ [bucket]: counts });
      expect(
        result.found.map(({ severity, reason = "" }) => `${severity} ${reason}`.trim()),
      ).toEqual([says].filter((each) => each !== ""));
    });
  }

  test("every bucket but the duplicates has a case above", () => {
    const covered = new Set(Object.values(cases).map(({ bucket }) => bucket));
    expect(buckets.filter((each) => !covered.has(each))).toEqual(["duplicate"]);
  });

  test("the first of several counts, the others are duplicates", () => {
    const again = counted("a1", { rev: 1n, tokens: tokens({ response: 1n }) });
    const result = run([counted("a1")], [counted("a1"), again, again]);
    expect(filled(result)).toEqual({ matched: "1+1", duplicate: "0+2" });
    expect(result.found.map(({ reason }) => reason)).toEqual(["DUPLICATE", "DUPLICATE"]);
  });

  test("a claim of an attempt that is open or crashed is an orphan, not a phantom", () => {
    const found: Discrepancy[] = [];
    reconcile([], [counted("a1"), counted("a2")], {
      ...day,
      isKnownAttempt: (attempt) => attempt === "a1",
      onDiscrepancy: (each) => void found.push(each),
    });
    expect(found.map(({ attempt, severity, reason }) => [attempt, severity, reason])).toEqual([
      ["a1", "warning", undefined],
      ["a2", "severe", "PHANTOM"],
    ]);
  });

  test("says what a difference comes to, and nothing where one side has no price", () => {
    const dear = counted("a1", { amountNano: 1_500n, tokens: tokens({ response: 75n }) });
    const unpriced = counted("a2", { amountNano: undefined, tokens: tokens({ response: 75n }) });
    const { found } = run([counted("a1"), counted("a2")], [dear, unpriced]);
    expect(found.map(({ amountNano, tokens: by }) => [amountNano, by.response])).toEqual([
      [500n, 25n],
      [undefined, 25n],
    ]);
  });

  test("small differences that all go one way are found in the sum of pool, model and day", () => {
    const ours = Array.from({ length: 100 }, (_each, n) => counted(`a${1_000 + n}`, recounted));
    const theirs = ours.map((each) => ({ ...each, tokens: tokens({ response: 51n }) }));
    const result = run(ours, theirs);
    expect(filled(result)).toEqual({ "in-tolerance": "100+100" });
    expect(result.breaches).toEqual([
      {
        pool: "p1",
        model: "qwen3-32b",
        day: "2026-11-20",
        ours: 15_000n,
        theirs: 15_100n,
        gapPpm: 6_622n,
      },
    ]);
    const back = theirs.map((each, n) => (n % 2 === 0 ? each : counted(each.attempt)));
    const half = back.map((each, n) =>
      n % 4 === 0 ? { ...each, tokens: tokens({ response: 49n }) } : each,
    );
    expect(run(ours, half).breaches).toEqual([]);
  });

  test("the statement's member counts pairs once and duplicates of both sides", () => {
    const twice = [counted("a1"), counted("a1"), counted("a2")];
    const { buckets: totals } = run(twice, [counted("a1"), counted("a3")]);
    expect(canonicalJson(reconCounts(totals))).toBe(
      '{"duplicate":"1","in_tolerance":"0","matched":"1","missing_operator":"1",' +
        '"missing_vendor":"1","period":"0","price":"0","quantity":"0"}',
    );
  });

  test("lines have the tokens and the money of both parties by price", () => {
    const dear = counted("a2", { priceHash: "22".repeat(32), amountNano: 9n });
    const { lines } = run([counted("a1"), counted("a2")], [counted("a1"), dear]);
    expect(
      lines.map(({ priceHash: hash, ours, theirs }) => [
        hash.slice(0, 2),
        ours.items,
        ours.amountNano,
        theirs.items,
        theirs.amountNano,
      ]),
    ).toEqual([
      ["11", 2n, 2_000n, 1n, 1_000n],
      ["22", 0n, 0n, 1n, 9n],
    ]);
  });
});

describe("a match by looks", () => {
  const nameless = (n: number, changes: Partial<Counted> = {}) => counted(`~file:${n}`, changes);
  const second = (seconds: bigint) => ({ openedUs: span.fromUs + seconds * 1_000_000n });

  test("takes five seconds and not six, the same model and input alone", () => {
    const ours = [counted("a1", second(10n))];
    const bucketOf = (changes: Partial<Counted>) => filled(run(ours, [nameless(1, changes)]));
    const alone = { "missing-vendor": "1+0", "missing-operator": "0+1" };
    expect(bucketOf(second(15n))).toEqual({ matched: "1+1" });
    expect(bucketOf(second(5n))).toEqual({ matched: "1+1" });
    expect(bucketOf(second(16n))).toEqual(alone);
    expect(bucketOf({ ...second(10n), model: "qwen3-8b" })).toEqual(alone);
    expect(bucketOf({ ...second(10n), tokens: tokens({ uncachedInput: 61n }) })).toEqual(alone);
    expect(bucketOf({ ...second(10n), tokens: tokens({ response: 54n }) })).toEqual(alone);
  });

  test("is one to one, marked, and an equal output goes before one in tolerance", () => {
    const ours = [counted("a1", { ...second(10n), ...recounted }), counted("a2", second(11n))];
    const near = nameless(1, { ...second(10n), tokens: tokens({ response: 52n }) });
    const equal = nameless(2, second(12n));
    const result = run(ours, [near, equal]);
    expect(result.fuzzyPairs).toBe(2n);
    expect(filled(result)).toEqual({ matched: "1+1", quantity: "1+1" });
    expect(result.found.map(({ isFuzzy }) => isFuzzy)).toEqual([true]);
    expect(filled(run(ours.slice(0, 1), [near, equal]))).toEqual({
      matched: "1+1",
      "missing-operator": "0+1",
    });
  });

  test("never takes two that both have a name", () => {
    expect(run([counted("a1")], [counted("a2")]).fuzzyPairs).toBe(0n);
  });
});

describe("whatever the sources", () => {
  test("every record and claim is in exactly one bucket and no token or nano is lost (I27)", () => {
    fc.assert(
      fc.property(someSource, someSource, (ours, theirs) => {
        const { buckets: totals } = run(ours, theirs);
        for (const [side, source] of [["ours", ours] as const, ["theirs", theirs] as const]) {
          const sides = buckets.map((each) => totals[each][side]);
          expect(sides.reduce((sum, each) => sum + each.items, 0n)).toBe(BigInt(source.length));
          const all = source.flatMap((each) => tokenClasses.map((name) => each.tokens[name]));
          expect(sides.reduce((sum, each) => sum + allOf(each), 0n)).toBe(
            all.reduce((sum, each) => sum + each, 0n),
          );
          expect(sides.reduce((sum, each) => sum + each.amountNano, 0n)).toBe(
            source.reduce((sum, each) => sum + (each.amountNano ?? 0n), 0n),
          );
          expect(totals.outside[side].items).toBeLessThanOrEqual(
            BigInt(
              source.filter((each) => each.openedUs < span.fromUs || each.openedUs >= span.toUs)
                .length,
            ),
          );
        }
      }),
      { numRuns: 500 },
    );
  });

  const mirrorOf: Partial<Record<Bucket, Bucket>> = {
    "missing-vendor": "missing-operator",
    "missing-operator": "missing-vendor",
  };

  test("from the other side it looks the same, mirrored (I28)", () => {
    fc.assert(
      fc.property(someSource, someSource, (ours, theirs) => {
        const [there, back] = [run(ours, theirs), run(theirs, ours)];
        for (const bucket of buckets) {
          const { ours: a, theirs: b } = there.buckets[bucket];
          const other = back.buckets[mirrorOf[bucket] ?? bucket];
          expect({ bucket, a, b }).toEqual({ bucket, a: other.theirs, b: other.ours });
        }
        expect(back.fuzzyPairs).toBe(there.fuzzyPairs);
        expect(back.breaches).toEqual(
          there.breaches.map((each) => ({ ...each, ours: each.theirs, theirs: each.ours })),
        );
        const gaps = (found: readonly Discrepancy[], sign: bigint) =>
          found.map(({ attempt, tokens: by, amountNano }) =>
            [attempt, sign * by.response, amountNano === undefined ? "" : sign * amountNano].join(),
          );
        const named = (found: readonly Discrepancy[]) => found.filter(({ isFuzzy }) => !isFuzzy);
        expect(gaps(named(back.found), -1n).toSorted()).toEqual(
          gaps(named(there.found), 1n).toSorted(),
        );
      }),
      { numRuns: 500 },
    );
  });

  test("in pages of any size it is the same, and no more than two pages are held", () => {
    const page = fc.integer({ min: 1, max: 5 });
    fc.assert(
      fc.property(someSource, someSource, page, page, (ours, theirs, ourPage, theirPage) => {
        const sources = { ours: [...ours], theirs: [...theirs] };
        const sizes = { ours: ourPage, theirs: theirPage };
        const merge = new Merge<Counted>();
        const seen: string[] = [];
        for (let side = merge.wants; side !== undefined; side = merge.wants) {
          const groups = merge.feed(side, sources[side].splice(0, sizes[side]));
          for (const { attempt, ours: a, theirs: b } of groups) {
            seen.push(`${attempt} ${a.length} ${b.length}`);
          }
        }
        const expected = [...new Set([...ours, ...theirs].map(({ attempt }) => attempt))]
          .toSorted()
          .map((attempt) => {
            const count = (source: readonly Counted[]) =>
              source.filter((each) => each.attempt === attempt).length;
            return `${attempt} ${count(ours)} ${count(theirs)}`;
          });
        expect(seen).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  test("a source that is not sorted is a bug, and said to be one", () => {
    const merge = new Merge<Counted>();
    expect(() => merge.feed("ours", [counted("b"), counted("a")])).toThrow("sorted by attempt");
  });
});

test("a hundred thousand records against their claims, a minute of them", () => {
  const ours = Array.from({ length: 100_000 }, (_each, n) =>
    counted(`a${String(n).padStart(6, "0")}`, { openedUs: span.fromUs + BigInt(n) * 600n }),
  );
  const theirs = ours.filter((_each, n) => n % 1_000 !== 0);
  const result = reconcile(ours, theirs, day);
  expect(filled(result)).toEqual({ matched: "99900+99900", "missing-vendor": "100+0" });
});
