import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { UsageClaim } from "../../services/core/settlement/claims/claim.ts";
import type { VendorId } from "../../services/core/units.ts";
import { ClaimFile, claimColumns, focusClaimColumns } from "../../services/io/claim-file.ts";
import { CsvReader } from "../../services/io/csv.ts";
import { friday } from "../core/settlement/fixtures.ts";
import { priceHash, usageClaim } from "../core/settlement/counted.ts";

function read(text: string, size = text.length): UsageClaim[] {
  const [reader, file] = [new CsvReader(), new ClaimFile("northgrid" as VendorId)];
  const claims: UsageClaim[] = [];
  for (let from = 0; from < text.length; from += size) {
    for (const row of reader.push(text.slice(from, from + size))) claims.push(...file.push(row));
  }
  reader.end();
  return [...claims, ...file.end()];
}

const header = `${claimColumns.join(",")}\n`;
const opened = "2026-11-20T14:00:00+08:00";

function row(changes: Partial<Record<string, string>> = {}): string {
  const cells: Partial<Record<string, string>> = {
    ...{ attempt_id: "a1", pool_id: "p1", model_id: "qwen3-32b" },
    ...{ in_uncached: "60", in_cache_read: "40", in_cache_write: "0" },
    ...{ out_response: "50", out_reasoning: "0", price_hash: priceHash, slot: "any" },
    ...{ opened_at: opened, closed_at: "2026-11-20T06:00:02Z", ...changes },
  };
  return `${claimColumns.map((name) => cells[name]).join(",")}\n`;
}

const one = [usageClaim("a1")];

describe("a file of claims", () => {
  const good: Readonly<Record<string, string>> = {
    "as it is documented": header + row(),
    "with a byte order mark": `\ufeff${header}${row()}`,
    "with CRLF": (header + row()).replaceAll("\n", "\r\n"),
    "with every cell in quotes": (header + row()).replaceAll(/[^,\n]+/g, '"$&"'),
    "with its instants in microseconds":
      header + row({ opened_at: `${friday}`, closed_at: `${friday + 2_000_000n}` }),
    "with fractions of a second": header + row({ opened_at: "2026-11-20 14:00:00.000000+08:00" }),
    "with a column for revisions": `rev,${header}0,${row()}`,
    "with a revision left empty": `rev,${header},${row()}`,
  };

  for (const [name, text] of Object.entries(good)) {
    test(`${name} is read, in pieces of any size`, () => {
      expect(read(text)).toEqual(one);
      for (const size of [1, 2, 7]) expect(read(text, size)).toEqual(one);
    });
  }

  test("without attempts has a name for each row, the same every time", () => {
    const text = header + row({ attempt_id: "" }) + row({ attempt_id: "", out_response: "51" });
    const names = read(text).map(({ attempt }) => attempt);
    expect(names).toEqual(read(text).map(({ attempt }) => attempt));
    expect(new Set(names).size).toBe(2);
    for (const name of names) expect(name).toMatch(/^~[0-9a-f]{32}$/);
  });

  const first = "attempt_id,pool_id";
  const bad: Readonly<Record<string, readonly [text: string, says: string]>> = {
    "that is empty": ["", "1:1: expected a header, found an empty file"],
    "that is a mark alone": ["\ufeff", "1:1: expected a header, found an empty file"],
    "that was cut in a row": [header + row().slice(0, 40), "expected a line break, found the end"],
    "that was cut in a cell of its last row": [header + row().slice(0, -5), "the file may be cut"],
    "that was cut in a quote": [`${header}"a1`, "2:1: expected a closing quote, found the end"],
    "that was cut after a carriage return": [`${header.trim()}\r`, "found the end"],
    "with a row that is too short": [`${header}a1,p1\n`, "2:1: expected 12 cells, found 2"],
    "with a row that is too long": [
      `${header}${row().trim()},x\n`,
      "2:1: expected 12 cells, found 13",
    ],
    "with an empty line": [`${header}\n${row()}`, "2:1: expected 12 cells, found 1"],
    "with a doubled row": [header + row() + row(), "3:1: expected a1:0 once, found it in line 2"],
    "with a doubled row without a name": [
      header + row({ attempt_id: "" }) + row({ attempt_id: "" }),
      "3:1: expected ~",
    ],
    "with an attempt twice": [header + row() + row({ slot: "x" }), "3:1: expected a1:0 once"],
    "with local time": [
      header + row({ opened_at: "2026-11-20T14:00:00" }),
      `2:${row().indexOf(opened) + 1}: opened_at: expected an instant with its zone`,
    ],
    "with a day that does not exist": [
      header + row({ opened_at: "2026-02-30T14:00:00Z" }),
      "opened_at: expected an instant such as",
    ],
    "with a day that does not exist in its zone": [
      header + row({ opened_at: "2026-02-29T23:00:00-08:00" }),
      "opened_at: expected an instant such as",
    ],
    "with a date": [header + row({ closed_at: "2026-11-20" }), "closed_at: expected an instant"],
    "with a decimal": [header + row({ out_response: "50.0" }), "out_response: expected a whole"],
    "with a sign": [header + row({ out_response: "-5" }), 'found "-5"'],
    "with a blank": [header + row({ out_response: " 5" }), 'found " 5"'],
    "with thousands": [header + row({ out_response: '"1,000"' }), 'found "1,000"'],
    "with an exponent": [header + row({ out_response: "1e3" }), 'found "1e3"'],
    "with no count": [header + row({ out_response: "" }), 'found ""'],
    "without a pool": [header + row({ pool_id: "" }), "2:4: pool_id: expected a value, found none"],
    "with a column that nobody knows": [
      header.replace(first, "attempt,attempt_id,pool_id"),
      "1:1: expected one of attempt_id, pool_id,",
    ],
    "with a column twice": [
      header.replace(first, "pool_id,pool_id"),
      "1:9: expected column pool_id once",
    ],
    "without a column": [header.replace("slot,", ""), "1:1: expected columns slot"],
    "with a quote inside a cell": [`${header}a"1,`, "2:2: expected no quote inside a cell"],
    "with text behind a quote": [`${header}"a"1,`, "2:4: expected a comma or a line break"],
    "with a lone carriage return": [`${header}a1\rp1`, "2:4: expected a line feed after"],
    "with a cell without end": [`${header}"${"x".repeat(10_001)}`, "2:1: expected at most 10000"],
    "with cells without end": [",".repeat(501), "expected at most 500 cells"],
    "with semicolons": [header.replaceAll(",", ";"), "1:1: expected columns attempt_id"],
  };

  for (const [name, [text, says]] of Object.entries(bad)) {
    test(`${name} is refused, and it is said where`, () => {
      expect(() => read(text)).toThrow(says);
      expect(() => read(text, 1)).toThrow(says);
    });
  }
});

describe("FOCUS rows", () => {
  const head = `x_Other,${focusClaimColumns.join(",")}\n`;
  const usage = (changes: Partial<Record<string, string>> = {}): string => {
    const cells: Partial<Record<string, string>> = {
      ...{
        ChargeCategory: "Usage",
        ChargePeriodStart: opened,
        ChargePeriodEnd: "2026-11-20T06:00:02Z",
      },
      ...{ ConsumedQuantity: "50.0", ConsumedUnit: "Tokens", ResourceId: "p1" },
      ...{ SkuId: "qwen3-32b/response", x_AttemptId: "a1", x_PriceHash: priceHash },
      ...{ x_PriceSlot: "any", x_TokenClass: "response", ...changes },
    };
    return `?,${focusClaimColumns.map((name) => cells[name]).join(",")}\n`;
  };
  const input = usage({
    ConsumedQuantity: "60",
    SkuId: "qwen3-32b/uncached_input",
    x_TokenClass: "uncached_input",
  });
  const cached = usage({
    ConsumedQuantity: "40.",
    SkuId: "qwen3-32b/cache_read",
    x_TokenClass: "cache_read",
  });

  test("of one attempt are one claim, whatever their order; what is no usage is left out", () => {
    const rounding = usage({ ChargeCategory: "Adjustment", x_AttemptId: "" });
    expect(read(head + usage() + rounding + input + cached)).toEqual(one);
    expect(read(head + cached + input + usage())).toEqual(one);
  });

  const bad: Readonly<Record<string, readonly [text: string, says: string]>> = {
    "by the hour, without attempts": [
      head.replace("x_AttemptId,", ""),
      "expected columns x_AttemptId",
    ],
    "of a class twice": [
      head + usage() + usage(),
      "3:1: expected a1:response once, found it in line 2",
    ],
    "of another pool": [
      head + usage() + input.replace(",p1,", ",p2,"),
      "ResourceId: expected p1 as in",
    ],
    "of parts of a token": [
      head + usage({ ConsumedQuantity: "50.5" }),
      "expected a whole number of tokens",
    ],
    "of millions of tokens": [
      head + usage({ ConsumedUnit: "1000000 Tokens" }),
      "ConsumedUnit: expected Tokens",
    ],
    "of an unknown class": [
      head + usage({ x_TokenClass: "input" }),
      "x_TokenClass: expected uncached_input",
    ],
  };

  for (const [name, [text, says]] of Object.entries(bad)) {
    test(`${name} are refused, and it is said where`, () => {
      expect(() => read(text)).toThrow(says);
    });
  }
});

test("any table of any text is read back, however it is cut into pieces", () => {
  const cell = fc.string({ unit: fc.constantFrom("a", "é", "漢", '"', ",", "\n", "\r", " ") });
  const table = fc.integer({ min: 1, max: 4 }).chain((width) =>
    fc.array(fc.array(cell, { minLength: width, maxLength: width }), {
      minLength: 1,
      maxLength: 5,
    }),
  );
  fc.assert(
    fc.property(
      table,
      fc.constantFrom("\n", "\r\n"),
      fc.integer({ min: 1, max: 9 }),
      (rows, end, size) => {
        const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
        const text = rows.map((cells) => `${cells.map(quoted).join(",")}${end}`).join("");
        const reader = new CsvReader();
        const found: string[][] = [];
        for (let from = 0; from < text.length; from += size) {
          const made = reader.push(text.slice(from, from + size));
          found.push(...made.map((cells) => cells.map((each) => each.text)));
        }
        reader.end();
        expect(found).toEqual(rows);
      },
    ),
    { numRuns: 500 },
  );
});
