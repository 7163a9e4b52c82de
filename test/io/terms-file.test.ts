import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { canonicalJson } from "../../services/core/settlement/canonical.ts";
import { readCanonical } from "../../services/core/settlement/terms/shape.ts";
import {
  termsKinds,
  type KindRules,
  type TermsByKind,
  type TermsKind,
} from "../../services/core/settlement/terms/terms-kinds.ts";
import { placed } from "../../services/io/policy-mistakes.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { us } from "../core/settlement/fixtures.ts";
import { parseTerms } from "../../services/io/terms-file.ts";

const example = (name: string): string => readFileSync(`deploy/config/${name}.yaml`, "utf8");

/** All that is wrong with an example after a change, as people are told. */
function mistakesAfter(
  name: string,
  type: string,
  [from, to]: readonly [string, string],
): string[] {
  const text = example(name);
  expect(text.split(from).length).toBe(2);
  const parsed = parseTerms(text.replace(from, to), type);
  return "mistakes" in parsed ? parsed.mistakes.map(placed) : [];
}

// prettier-ignore
const wrong: readonly [file: string, type: string, change: readonly [string, string], told: RegExp][] = [
  ["sell-book", "price_version", ["cny_per_million: 2.00", "cny_per_million: 2.0000001"],
    /^\d+:\d+: lines\[1\]\.cny_per_million: expected decimal text with at most 6 decimals/],
  ["sell-book", "price_version", ["cny_per_million: 0.40", "cny_per_million: 4e-1"], /lines\[2\]\.cny_per_million: .*found "4e-1"/],
  ["sell-book", "price_version", ["cny_per_million: 0.40", "pico_per_token: 0.5"], /pico_per_token: expected a whole number from 0/],
  ["sell-book", "price_version", ["discount_ppm: 50000", "discount_ppm: 333333"],
    /^\d+:\d+: lines\[2\]\.cny_per_million: expected a price that 333333 ppm less is a whole number of pico \(a contract's/],
  ["sell-book", "price_version", ["out_to: 32768", "out_to: 32767"],
    /lines: gap: qwen3-32b reasoning in slot peak from 0 input and 32768 output tokens on has no line/],
  ["sell-book", "price_version", ["out_from: 32769", "out_from: 32768"], /lines: overlap: .* has reasoning-short and reasoning-long/],
  ["sell-book", "price_version", ["start_min: 1080", "start_min: 1081"], /slots: gap: workday 18:00 to 18:01 is in no slot/],
  ["sell-book", "price_version", ["tier_from: 1000000000", "tier_from: 0"], /lines\[5\]\.tiers\[1\]\.tier_from: expected more than 0, found 0/],
  ["sell-book", "price_version", ["side: sell", "side: buy"], /pair_id: expected vendor:<id> of a buy book, found tenant:\*/],
  ["sell-book", "price_version", ["base_slot: off-peak", "base_slot: night"], /^\d+:\d+: base_slot: expected a slot of the book, found night/],
  ["sell-book", "price_version", ["calendar_id: cn-2026", "calendar_id: cn-2031"], /calendar_id: expected a calendar that is installed, found "cn-2031"/],
  ["sell-book", "price_version", ["currency: CNY", "currency: CNY\nannounced_us: 2027-12-01T00:00:00+08:00"], /^\d+:\d+: announced_us: retroactive: expected at most/],
  ["sell-book", "price_version", ["variant: explicit", "variant: minimum"], /lines\[3\]\.variant: expected a variant of cacheRead, found minimum/],
  ["sell-book", "price_version", ["effective_from_us: 2027-01-01T00:00:00+08:00", "effective_from_us: 2027-01-01"], /effective_from_us: expected microseconds since 1970 or/],
  ["sell-book", "price_version", ["book_id:", "book:"], /unknown key book; did you mean book_id\?/],
  ["contract", "contract", ["cancel_policy: bill_generated", "cancel_policy: bill_genrated"],
    /^\d+:\d+: cancel_policy: expected one of bill_generated, bill_full, no_bill, found "bill_genrated"; did you mean bill_generated\?/],
  ["contract", "contract", ["open_days: 45", "open_days: 45.5"], /open_days: expected a whole number from 1 to 3650, found "45.5"/],
  ["contract", "contract", ["pair_id: vendor:northgrid", "pair_id: northgrid"], /pair_id: expected vendor:, tenant:, model: or channel:/],
  ["contract", "contract", ["50000.00 CNY", "50000.0000000001 CNY"], /minimum_nano: expected CNY with at most 9 decimals/],
  ["contract", "contract", ["empty: { vendor: prompt_only }", "nothing: { vendor: prompt_only }"], /owed\.nothing: unknown key nothing/],
  ["contract", "contract", ["type: contract", "type: treaty"], /^\d+:\d+: type: expected one of contract, price_version/],
  ["contract", "contract", ["tz: Asia/Shanghai", "tz: Asia/Tokyo"], /tz: expected one of Asia\/Shanghai, UTC/],
  ["split-rule", "split_rule", ["ppm: 625000", "ppm: 625001"], /parts: expected shares that add up to 1000000 ppm, found 1000001/],
  ["split-rule", "split_rule", ["part: platform", "part: channel"], /parts: expected one platform with a share, found 0 platforms/],
  ["split-rule", "split_rule", ["way: rate", "way: rate, ppm: 5"], /parts\[1\]\.ppm: expected 0, found 5/],
];

for (const [file, type, change, told] of wrong) {
  test(`parseTerms() of ${file}.yaml with ${JSON.stringify(change[1])} says where and what`, () => {
    expect(mistakesAfter(file, type, change).join("\n")).toMatch(told);
  });
}

test("parseTerms() of what is no YAML says where", () => {
  const parsed = parseTerms("lines: [", "contract");
  expect("mistakes" in parsed && parsed.mistakes[0]?.line).toBe(1);
});

const documents: readonly [name: string, type: string, yaml: string][] = [
  ["a vendor's contract", "contract", example("contract")],
  ["a book", "price_version", example("sell-book")],
  ["a split rule", "split_rule", example("split-rule")],
  [
    "a tenant's contract",
    "contract",
    "{contract_id: acme, version: 1, pair_id: 'tenant:acme', effective_from_us: 1, sell_book: retail, channel: 'channel:west'}",
  ],
  [
    "a model owner's contract",
    "contract",
    "{contract_id: deepseek, version: 1, pair_id: 'model:deepseek', effective_from_us: 1, models: [deepseek-v4-pro], licence_book: ds}",
  ],
  [
    "a calendar",
    "calendar",
    "{calendar_id: cn-2027, version: 1, tz: Asia/Shanghai, covers_from_us: 2027-01-01T00:00:00+08:00, covers_to_us: 2028-01-01T00:00:00+08:00, offsets: [{minutes: 480}], days: [{date: '2027-01-01', kind: holiday}]}",
  ],
  [
    "a table of standard tokens",
    "standard_tokens",
    `{table_id: standard, version: 1, effective_from_us: 1, basis: relative_price, rows: [${["uncached_input", "cache_read", "cache_write", "response", "reasoning"].map((each) => `{model_id: m, token_class: ${each}, num: 7, den: 3}`).join(", ")}]}`,
  ],
  [
    "a reprice",
    "reprice",
    "{reprice_id: r1, pair_id: 'vendor:northgrid', first_index: 5, end_index: 9, book_id: b, version: 2, calendar_id: cn-2027, calendar_version: 1, reason: 'the calendar came late'}",
  ],
];

describe("an example that begins when it is said", () => {
  const starts = ["2026-12-01", "2028-02-29", "2099-12-31"].map((day) =>
    us(`${day}T00:00:00+08:00`),
  );

  for (const name of ["contract", "sell-book", "split-rule"]) {
    test(`is right whenever that is: ${name}.yaml`, () => {
      for (const fromUs of starts) {
        const parsed = parseTerms(example(name), "contract", undefined, fromUs);
        expect(parsed).toMatchObject({ value: { effectiveFromUs: fromUs } });
      }
    });
  }

  test("begins by no date where it has none", () => {
    const parsed = parseTerms("{calendar_id: x}", "calendar", undefined, 1n);
    const told = "mistakes" in parsed ? parsed.mistakes.map(placed).join("\n") : "";
    expect(told).toContain("unknown key effective_from_us");
  });
});

describe("canonical text", () => {
  for (const [name, type, yaml] of documents) {
    test(`of ${name} is read as what it was written from`, () => {
      const parsed = parseTerms(yaml, type);
      expect("mistakes" in parsed ? parsed.mistakes : []).toEqual([]);
      const { kind, text, value } = parsed as Exclude<typeof parsed, { mistakes: unknown }>;
      expect(readAgain(kind, text)).toEqual({ value });
    });
  }

  test("every kind of terms has a case above", () => {
    const kinds = documents.map(([, type, yaml]) => {
      const parsed = parseTerms(yaml, type);
      return "kind" in parsed ? parsed.kind : "";
    });
    expect(new Set(kinds)).toEqual(new Set(Object.keys(termsKinds)));
  });
});

function readAgain<Kind extends TermsKind>(kind: Kind, text: string) {
  const rules: KindRules<TermsByKind[Kind]> = termsKinds[kind];
  const shape = rules.shape(() => loadCalendar());
  const read = readCanonical(shape, text);
  expect("value" in read && canonicalJson(shape.write(read.value))).toBe(text);
  return read;
}
