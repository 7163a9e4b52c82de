import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  focusKind,
  focusScale,
  scaled,
} from "../../../../services/core/settlement/statements/focus-schema.ts";
import {
  cellText,
  decimalText,
  focusCsvLine,
} from "../../../../services/core/settlement/statements/focus-cell.ts";
import {
  focusColumns,
  focusOtherRows,
  focusUsageRow,
  focusVersions,
  type FocusHour,
  type FocusRow,
  type FocusVersion,
} from "../../../../services/core/settlement/statements/focus.ts";
import {
  linesOfHours,
  shownTo,
} from "../../../../services/core/settlement/statements/statement-lines.ts";
import {
  payableNano,
  type Statement,
} from "../../../../services/core/settlement/statements/statement.ts";
import type { PairId } from "../../../../services/core/units.ts";
import { friday } from "../fixtures.ts";
import { columnRules, focusMistakes, readCsv, toInteger } from "../focus-rules.ts";
import { day, hoursOf, northgrid, statement } from "../statement-fixtures.ts";

const parties = {
  operator: { id: "operator", name: "Grid Operator" },
  counterparty: { id: "northgrid", name: 'North "Grid", Ltd.' },
};

function hours(pair: PairId = northgrid, changes: Partial<FocusHour> = {}): FocusHour[] {
  return hoursOf().map(({ key, total }) => ({
    ...{ ...key, ...total, ...shownTo(pair, key) },
    ...{ department: "", coveredNano: 0n, releasedNano: 0n, draws: [] },
    ...changes,
  }));
}

function rowsOf(made: Statement, used: readonly FocusHour[], version: FocusVersion): FocusRow[] {
  const invoiced = { statement: made, parties, version };
  return [...used.map((hour) => focusUsageRow({ ...invoiced, hour })), ...focusOtherRows(invoiced)];
}

function csv(made: Statement, used: readonly FocusHour[], version: FocusVersion = "1.4"): string {
  const columns = focusColumns(version);
  const rows = rowsOf(made, used, version);
  const lines = rows.map((row) => focusCsvLine(columns.map((name) => cellText(row[name]))));
  return [focusCsvLine(columns), ...lines].join("");
}

/** What a tenant used, with a package that paid a part of it. */
const bill = (() => {
  const pair = "tenant:acme" as PairId;
  const own = hoursOf().map(({ key, total }) => ({ key: { ...key, pair }, total }));
  const used = hours(pair, {
    department: "research",
    coveredNano: 4_000n,
    releasedNano: 3_500n,
    draws: [{ package: "pack-1", unit: "TOK-qwen:1", amount: 40n, releasedNano: 3_500n }],
  });
  const creditsNano = -4_000n * BigInt(used.length);
  return { made: statement({ pair, lines: linesOfHours(own, day), creditsNano }), used };
})();

/** Two hours of the day before, one of them taken back. */
const late = (() => {
  const [first, second] = hours(northgrid, { hourUs: friday - 86_400_000_000n });
  const back = first && {
    ...first,
    ...{ tokens: -first.tokens, pico: -first.pico, amountNano: -first.amountNano, attempts: -1n },
  };
  const used = [back, second].filter((hour) => hour !== undefined);
  const lines = linesOfHours(
    used.map((hour) => ({
      key: { ...hour, pair: northgrid, booking: "2026-11-20" },
      total: { ...hour, model: hour.model as never },
    })),
    day,
  );
  return { made: statement({ lines }), used };
})();

const fees = [
  { part: "computing", party: northgrid, sku: undefined, amountNano: 1_234_567n },
] as const;
const packages = [
  { part: "purchase", party: "package:p1", sku: "tokens-10m@2", amountNano: 49_900_000_000n },
  { part: "refund", party: "package:p2", sku: "tokens-10m@1", amountNano: -12_345_678n },
] as const;
const trueUps = [
  { line: "northgrid-list:1:response", scope: "p1", period: "2026-11-20", amountNano: -17n },
] as const;

const cases: Readonly<Record<string, { made: Statement; used: readonly FocusHour[] }>> = {
  "a vendor's day": { made: statement(), used: hours() },
  "a tenant's bill with a package": bill,
  "corrections of an earlier day": late,
  "shares and true-ups": { made: statement({ fees, trueUps }), used: hours() },
  "packages that were bought and given back": {
    made: statement({ ...{ pair: "tenant:acme" as PairId, fees: packages } }, []),
    used: [],
  },
  nothing: { made: statement({}, []), used: [] },
};

describe("FOCUS", () => {
  for (const version of focusVersions) {
    for (const [name, { made, used }] of Object.entries(cases)) {
      test(`${version} of ${name} keeps the rules, and the billed costs add up to what is paid`, () => {
        const { header, rows } = readCsv(csv(made, used, version));
        expect(focusMistakes(header, rows, version)).toEqual([]);
        const billed = rows.map(({ BilledCost = "" }) => toInteger(BilledCost, 9));
        expect(sum(billed)).toBe(payableNano(made));
      });
    }
  }

  test("the file is golden", async () => {
    await expect(csv(statement(), hours())).toMatchFileSnapshot("../../../golden/focus.csv");
  });

  test("says its version and points at the log", () => {
    const { rows } = readCsv(csv(statement(), hours(), "1.3"));
    expect(rows[0]).toMatchObject({
      ...{ x_FocusVersion: "1.3", x_FirstIndex: "0.0", x_LastIndex: "2.0" },
      ...{ x_LogOrigin: "grid.example/tokengrid/vendor/northgrid", x_Root: statement().log.root },
      ...{
        ProviderName: 'North "Grid", Ltd.',
        ConsumedUnit: "Tokens",
        PricingUnit: "1000000 Tokens",
      },
    });
  });

  test("a correction keeps its own hour and is on the invoice of the day that it came", () => {
    const { rows } = readCsv(csv(late.made, late.used));
    const usage = rows.filter(({ ChargeCategory }) => ChargeCategory === "Usage");
    expect(
      usage.map((row) => [row["ChargeClass"], row["ChargePeriodStart"], row["InvoiceId"]]),
    ).toEqual(
      usage.map(() => [
        "Correction",
        "2026-11-19T06:00:00Z",
        "vendor:northgrid:daily:2026-11-20:0",
      ]),
    );
  });

  test("a tenant is billed by the operator, by department, and sees what its package gave", () => {
    const { rows } = readCsv(csv(bill.made, bill.used));
    expect(rows[0]).toMatchObject({
      ...{ BillingAccountId: "northgrid", InvoiceIssuerName: "Grid Operator", ResourceId: "" },
      ...{ SubAccountId: "research", SubAccountType: "Department" },
    });
    expect(JSON.parse(rows[0]?.["ContractApplied"] ?? "")).toEqual({
      Elements: [
        {
          ...{ ContractId: "pack-1", ContractCommitmentId: "pack-1" },
          ...{ ContractCommitmentAppliedQuantity: 40, ContractCommitmentAppliedUnit: "Tokens" },
        },
      ],
    });
  });

  test("what is paid by the month is on the month's invoice, what is not closed on none", () => {
    const first = (made: Statement) => readCsv(csv(made, hours())).rows[0];
    expect(first(statement({ isPayable: false }))).toMatchObject({
      ...{ InvoiceId: "vendor:northgrid:monthly:2026-11:0" },
      ...{ BillingPeriodStart: "2026-10-31T16:00:00Z", BillingPeriodEnd: "2026-11-30T16:00:00Z" },
    });
    expect(first(statement({ kind: "interim" }))).toMatchObject({ InvoiceId: "" });
  });

  test("the checker bites", () => {
    const { header, rows } = readCsv(csv(statement(), hours()));
    const [first = {}] = rows;
    const planted: readonly [string, Record<string, string>][] = [
      ["BilledCost is 1", { BilledCost: "1" }],
      ["ChargePeriodStart is 2026-11-20", { ChargePeriodStart: "2026-11-20" }],
      ["ChargeCategory is Refund", { ChargeCategory: "Refund" }],
      ["list cost is price times quantity", { ListCost: "9.0" }],
      ["without a SKU price there is no price", { SkuPriceId: "" }],
      ["HostProviderName is null", { HostProviderName: "" }],
    ];
    for (const [mistake, change] of planted) {
      const found = focusMistakes(header, [{ ...first, ...change }], "1.4");
      expect(found.join("\n")).toContain(mistake);
    }
    expect(focusMistakes(header.toReversed(), [], "1.4")).toEqual([
      expect.stringMatching(/sorted/),
    ]);
  });

  test("every column that is not ours has a rule, and one kind of cell", () => {
    const names = focusVersions.flatMap((version) => focusColumns(version));
    expect(
      names.filter((name) => columnRules[name] === undefined && !name.startsWith("x_")),
    ).toEqual([]);
    for (const { made, used } of Object.values(cases)) {
      for (const row of rowsOf(made, used, "1.4")) {
        const wrong = names.filter((name) => !["null", focusKind(name)].includes(row[name].kind));
        expect(wrong).toEqual([]);
      }
    }
  });
});

// prettier-ignore
const decimals: readonly [value: bigint, digits: number, text: string][] = [
  [8_400_000n, 6, "8.4"],
  [0n,         9, "0.0"],
  [5n,         9, "0.000000005"],
  [-5n,        9, "-0.000000005"],
  [100n,       0, "100.0"],
  [-12_345n,   2, "-123.45"],
];

for (const [value, digits, text] of decimals) {
  test(`decimalText() of ${value} with ${digits} digits is ${text}`, () => {
    expect(decimalText(value, digits)).toBe(text);
  });
}

test("decimalText() loses nothing, and scaled() neither", () => {
  fc.assert(
    fc.property(fc.bigInt(-(10n ** 30n), 10n ** 30n), fc.nat(focusScale), (value, digits) => {
      expect(toInteger(decimalText(value, digits), digits + 1)).toBe(value * 10n);
      expect(scaled(value, digits)).toBe(toInteger(decimalText(value, digits), focusScale));
    }),
  );
});

function sum(all: readonly bigint[]): bigint {
  return all.reduce((total, each) => total + each, 0n);
}
