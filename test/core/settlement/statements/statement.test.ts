import canonicalize from "canonicalize";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  closingOf,
  closingText,
  readClosing,
} from "../../../../services/core/settlement/statements/closing.ts";
import { movements } from "../../../../services/core/settlement/ledger/ledger.ts";
import { toMinorUnits } from "../../../../services/core/settlement/statements/make-statement.ts";
import {
  closingObjections,
  mayClose,
  unwitnessedMaxUs,
  type ClosingObjection,
  type ClosingState,
} from "../../../../services/core/settlement/statements/may-close.ts";
import {
  bookingOf,
  dayAfter,
  daysIn,
  monthOf,
  periodNamed,
} from "../../../../services/core/settlement/statements/period.ts";
import {
  closingEntries,
  statedNano,
  stateEntries,
} from "../../../../services/core/settlement/statements/statement-entries.ts";
import {
  bookedByLeaf,
  BookingSum,
  differences,
} from "../../../../services/core/settlement/statements/statement-leaves.ts";
import {
  addedLines,
  linesOfHours,
} from "../../../../services/core/settlement/statements/statement-lines.ts";
import { fromStatementText } from "../../../../services/core/settlement/statements/statement-text.ts";
import {
  payableNano,
  type Account,
} from "../../../../services/core/settlement/statements/statement.ts";
import type { GatewayId, PairId } from "../../../../services/core/units.ts";
import { friday, sha256 } from "../fixtures.ts";
import {
  booksOf,
  day,
  frozen,
  hoursOf,
  northgrid,
  records,
  statement,
} from "../statement-fixtures.ts";

describe("makeStatement()", () => {
  const made = statement();

  test("gives the golden bytes", async () => {
    await expect(`${made.text}\n`).toMatchFileSnapshot("../../../golden/statement.json");
    expect(made.digest).toBe(sha256(made.text));
    expect(canonicalize(JSON.parse(made.text))).toBe(made.text);
  });

  test("gives the same bytes for the same records in another order", () => {
    const lines = linesOfHours(hoursOf(records.toReversed()), day);
    expect(statement({ lines }).text).toBe(made.text);
  });

  test("adds up", () => {
    const { lines, totals } = made;
    expect(sum(lines.map(({ amountNano }) => amountNano))).toBe(totals.netNano);
    expect(sum(lines.map(({ tokens }) => tokens))).toBe(sum(Object.values(totals.tokens)));
    expect(totals.netNano + totals.roundingNano).toBe(payableNano(made));
    expect(totals.attempts).toBe(3n);
  });

  test("of a period without usage says so", async () => {
    const empty = statement({}, []);
    await expect(`${empty.text}\n`).toMatchFileSnapshot("../../../golden/statement-empty.json");
    expect(JSON.parse(empty.text)).toMatchObject({ zero_usage: true, lines: [] });
    expect(empty.totals).toMatchObject({ netNano: 0n, minorUnits: 0n, roundingNano: 0n });
  });

  test("names its predecessor", () => {
    const next = statement({ prevDigest: made.digest });
    expect(JSON.parse(next.text)).toMatchObject({ prev_statement_hash: made.digest });
    expect(next.digest).not.toBe(made.digest);
  });

  test("of what is paid by the month rounds nothing", () => {
    const { totals, ...rest } = statement({ isPayable: false });
    expect([totals.minorUnits, totals.roundingNano]).toEqual([undefined, 0n]);
    expect(payableNano({ totals, ...rest })).toBe(0n);
  });

  test("names a month by its name", () => {
    const period = monthOf(friday, "Asia/Shanghai");
    expect(statement({ period, kind: "monthly" }).id).toBe("vendor:northgrid:monthly:2026-11:0");
  });

  const full: Partial<Account> = {
    fees: [{ part: "computing", party: northgrid, sku: undefined, amountNano: 77n }],
    trueUps: [{ line: "northgrid-list:1:x", scope: "*", period: "2026-11-20", amountNano: -5n }],
    creditsNano: -1_000n,
    days: [{ id: "vendor:northgrid:daily:2026-11-20:0", digest: sha256("day") }],
    frozen: frozen({
      gaps: [{ gateway: "gw-1" as GatewayId, epoch: 1n, lost: 3n }],
      recon: {
        ...{ matched: 1n, in_tolerance: 2n, quantity: 3n, missing_vendor: 4n },
        ...{ missing_operator: 5n, duplicate: 6n, price: 7n, period: 8n },
      },
      seal: undefined,
      disputedNano: 9n,
      quarantined: 2n,
    }),
  };

  test("comes back from its text as it was, whatever it has", () => {
    for (const each of [
      made,
      statement(full),
      statement({ attempts: undefined, isPayable: false }),
    ]) {
      expect(fromStatementText(each.text, sha256)).toEqual(each);
    }
  });

  test("adds shares, credits and true-ups to the net, and what is disputed not", () => {
    const { totals } = statement(full);
    expect(totals).toMatchObject({
      grossNano: made.totals.netNano + 77n,
      creditsNano: -1_000n,
      trueUpNano: -5n,
      disputedNano: 9n,
      netNano: made.totals.netNano + 77n - 1_000n - 5n,
    });
  });
});

describe("linesOfHours()", () => {
  test("names the day of use of what came too late, and counts it as an adjustment", () => {
    const [first, ...others] = hoursOf();
    const late = first && {
      ...first,
      key: { ...first.key, hourUs: first.key.hourUs - 86_400_000_000n },
    };
    const lines = linesOfHours(late === undefined ? [] : [late, ...others], day);
    expect(lines.filter(({ usagePeriod }) => usagePeriod !== undefined)).toMatchObject([
      { usagePeriod: "2026-11-19", amountNano: first?.total.amountNano },
    ]);
    const { totals } = statement({ lines });
    expect(totals.adjustmentsNano).toBe(first?.total.amountNano);
    expect(totals.grossNano + totals.adjustmentsNano).toBe(totals.netNano);
  });

  // prettier-ignore
  const shown: readonly [pair: string, pools: readonly string[], regions: readonly string[]][] = [
    ["vendor:northgrid", ["p1", "p2"], ["zhangjiakou", "zhongwei"]],
    ["tenant:acme",      ["*"],        ["zhangjiakou", "zhongwei"]],
    ["model:qwen",       ["*"],        ["*"]],
  ];
  for (const [pair, pools, regions] of shown) {
    test(`shows ${pair} pools ${pools.join(", ")} and regions ${regions.join(", ")}`, () => {
      const hours = hoursOf().map(({ key, total }) => ({
        key: { ...key, pair: pair as PairId },
        total,
      }));
      const lines = linesOfHours(hours, day);
      expect([...new Set(lines.map((line) => line.pool))].toSorted()).toEqual(pools);
      expect([...new Set(lines.map((line) => line.region))].toSorted()).toEqual(regions);
    });
  }
});

test("addedLines() of a month: what came late within it is not late to it", () => {
  const month = monthOf(friday, "Asia/Shanghai");
  const [line, other] = statement().lines;
  const lines = [
    ...(line === undefined ? [] : [line, { ...line, usagePeriod: "2026-11-02" }]),
    ...(other === undefined ? [] : [{ ...other, usagePeriod: "2026-10-31" }]),
  ];
  const added = addedLines([{ lines }], month);
  expect(added.map(({ usagePeriod, tokens }) => [usagePeriod, tokens])).toEqual([
    [undefined, 2n * (line?.tokens ?? 0n)],
    ["2026-10-31", other?.tokens],
  ]);
});

// prettier-ignore
const rounded: readonly [netNano: bigint, fen: bigint][] = [
  [0n,           0n],
  [4_999_999n,   0n],
  [5_000_000n,   1n], // half up
  [15_000_000n,  2n],
  [10_000_000n,  1n],
  [-4_999_999n,  0n],
  [-5_000_000n,  0n], // half up is towards more
  [-5_000_001n,  -1n],
];

for (const [netNano, fen] of rounded) {
  test(`toMinorUnits() of ${netNano} nano is ${fen} fen`, () => {
    expect(toMinorUnits(netNano)).toBe(fen);
  });
}

test("toMinorUnits() is never more than half a fen away", () => {
  fc.assert(
    fc.property(fc.bigInt(-(10n ** 15n), 10n ** 15n), (nano) => {
      const restNano = toMinorUnits(nano) * 10_000_000n - nano;
      expect(restNano > -5_000_000n && restNano <= 5_000_000n).toBe(true);
    }),
  );
});

describe("closingEntries()", () => {
  test("state what is accrued, in whole fen, and conserve the payable", () => {
    const made = statement();
    const balances = movements(closingEntries(made, friday));
    const state = (name: string) => {
      const { debit = 0n, credit = 0n } =
        balances.get(`CNY:nano\nliab:payable:vendor:northgrid:${name}`) ?? {};
      return credit - debit;
    };
    expect(state("stated")).toBe(payableNano(made));
    expect(state("accrued") + state("stated")).toBe(made.totals.roundingNano);
    expect(statedNano(made)).toBe(payableNano(made));
  });

  test("of a tenant's bill round what is to be received and state nothing", () => {
    const bill = { ...statement(), pair: "tenant:acme" as PairId };
    expect(
      closingEntries(bill, friday).map(({ kind, debit, credit }) => [kind, debit, credit]),
    ).toEqual([["rounding", "equity:rounding", "asset:receivable:tenant:acme"]]);
    expect(bill.totals.roundingNano).toBeLessThan(0n);
  });

  test("of a month over days that were stated move the rest alone", () => {
    const period = monthOf(friday, "Asia/Shanghai");
    const days = [{ id: "d", digest: sha256("d") }];
    const trueUps = [{ line: "b:1:x", scope: "*", period: "2026-11-20", amountNano: 3_000_000n }];
    const month = statement({ period, kind: "monthly", days, trueUps });
    expect(statedNano(month)).toBe(3_000_000n + month.totals.roundingNano);
    const { totals } = statement();
    const rounded = { minorUnits: totals.minorUnits ?? 0n, roundingNano: totals.roundingNano };
    const summary = statement({ period, kind: "monthly", days, isPayable: false, rounded });
    expect(summary.totals).toEqual(totals);
    expect(closingEntries(summary, friday)).toEqual([]);
  });

  test("a negative amount moves the other way", () => {
    const move = { txn: "t", cause: "s", atUs: friday, amountNano: -7n };
    expect(stateEntries(northgrid, move, ["stated", "approved"])).toMatchObject([
      {
        amount: 7n,
        debit: "liab:payable:vendor:northgrid:approved",
        credit: "liab:payable:vendor:northgrid:stated",
      },
    ]);
  });
});

describe("BookingSum", () => {
  const made = statement();

  function summed(used = records): BookingSum {
    const sum = new BookingSum(northgrid, day, ["2026-11-20"]);
    for (const { log, text } of booksOf(used).leaves) {
      const booked = log === northgrid ? bookedByLeaf(text) : undefined;
      if (booked !== undefined) sum.add(booked);
    }
    return sum;
  }

  test("of the leaves is the statement, line by line", () => {
    expect(differences(made, summed())).toEqual([]);
    expect(summed().count).toBe(3n);
  });

  test("says which line is off, and by what", () => {
    const [line] = made.lines;
    const lines = made.lines.map((each) =>
      each === line ? { ...each, amountNano: each.amountNano + 1n } : each,
    );
    expect(differences({ ...made, lines }, summed())).toEqual([
      expect.stringMatching(/^line northgrid-list:1:.* p1 zhongwei: expected .* nano .*, found/),
    ]);
  });

  test("says which line is missing", () => {
    expect(differences({ ...made, lines: made.lines.slice(1) }, summed())).toEqual([
      expect.stringMatching(/^line northgrid-list:1:.*: expected .*, found none$/),
    ]);
  });

  test("says what a leaf too few leaves", () => {
    expect(differences(made, summed(records.slice(1))).length).toBeGreaterThan(0);
  });

  test("minds shares and what packages paid", () => {
    const fees = [{ part: "channel", party: northgrid, sku: undefined, amountNano: 5n }] as const;
    expect(differences({ ...made, fees }, summed())).toEqual([
      "fee channel vendor:northgrid: expected 0 nano, found 5",
    ]);
    const totals = { ...made.totals, creditsNano: -9n };
    expect(differences({ ...made, totals }, summed())).toEqual([
      "credits: expected 0 nano, found -9",
    ]);
  });
});

describe("mayClose()", () => {
  const fine: ClosingState = {
    period: day,
    nowUs: day.toUs,
    behind: [],
    holes: [],
    unwitnessedSinceUs: undefined,
    openDays: [],
    dayBefore: undefined,
  };
  const objected: Record<ClosingObjection, Partial<ClosingState>> = {
    "not-over": { nowUs: day.toUs - 1n },
    "day-before-open": { dayBefore: "2026-11-19" },
    "days-open": { openDays: ["2026-11-03", "2026-11-04"] },
    "open-attempts": { behind: [{ gateway: "gw-1" as GatewayId, completeUntilUs: undefined }] },
    "producer-gap": { holes: [{ gateway: "gw-1" as GatewayId, epoch: 1n }] },
    unwitnessed: { unwitnessedSinceUs: day.toUs - unwitnessedMaxUs - 1n },
  };

  test("says yes when nothing speaks against it", () => {
    expect(mayClose(fine)).toEqual({ kind: "yes" });
    expect(mayClose({ ...fine, unwitnessedSinceUs: day.toUs - unwitnessedMaxUs }).kind).toBe("yes");
  });

  for (const [reason, changes] of Object.entries(objected)) {
    test(`says no because ${reason}`, () => {
      expect(mayClose({ ...fine, ...changes })).toMatchObject({ kind: "no", reason });
    });
  }

  test("every objection has a case above", () => {
    expect(Object.keys(objected)).toEqual(Object.keys(closingObjections));
  });
});

test("a closing comes back from its text as it was", () => {
  const made = { ...statement({ prevDigest: sha256("before") }), kind: "daily" } as const;
  const closing = closingOf(made, { name: "2026-11-20", atUs: friday, statedNano: 12n });
  expect(readClosing(closingText(closing))).toEqual(closing);
});

describe("periods", () => {
  // prettier-ignore
  const booked: readonly [what: string, offsetDays: bigint, firstOpen: string | undefined, booking: string][] = [
    ["its own day while nothing is closed",         0n, undefined,    "2026-11-20"],
    ["its own day when the day before is closed",   0n, "2026-11-20", "2026-11-20"],
    ["the first open day when its own is closed",   0n, "2026-11-21", "2026-11-21"],
    ["the first open day, however late it comes", -40n, "2026-11-21", "2026-11-21"],
    ["its own day when it is ahead",                2n, "2026-11-21", "2026-11-22"],
  ];
  for (const [what, offsetDays, firstOpen, booking] of booked) {
    test(`bookingOf() is ${what}`, () => {
      const us = friday + offsetDays * 86_400_000_000n;
      expect(bookingOf(us, firstOpen, "Asia/Shanghai")).toBe(booking);
    });
  }

  test("names lead back to periods, and only those that exist", () => {
    expect(periodNamed("2026-11-20", "Asia/Shanghai")).toEqual(day);
    expect(periodNamed("2026-11", "Asia/Shanghai")).toEqual(monthOf(friday, "Asia/Shanghai"));
    expect(["2026-02-30", "2026-13", "2026", "x"].map((name) => periodNamed(name, "UTC"))).toEqual(
      Array.from({ length: 4 }),
    );
  });

  test("days follow one another through months and years", () => {
    expect(dayAfter("2026-12-31", "Asia/Shanghai")).toBe("2027-01-01");
    const names = daysIn(monthOf(friday, "Asia/Shanghai"));
    expect([names.length, names[0], names.at(-1)]).toEqual([30, "2026-11-01", "2026-11-30"]);
  });
});

function sum(all: readonly bigint[]): bigint {
  return all.reduce((total, each) => total + each, 0n);
}
