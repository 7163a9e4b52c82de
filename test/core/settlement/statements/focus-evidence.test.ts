import { expect, test } from "vitest";
import { EvidenceSum } from "../../../../services/core/settlement/statements/focus-evidence.ts";
import type { FocusHour } from "../../../../services/core/settlement/statements/focus.ts";
import { usPerHour } from "../../../../services/core/settlement/statements/period.ts";
import type { PoolId, RegionId } from "../../../../services/core/units.ts";
import { friday } from "../fixtures.ts";

const line = "northgrid-list:1:response";
const hour: FocusHour = {
  ...{ hourUs: friday, line, pool: "p1" as PoolId, region: "zhongwei" as RegionId },
  ...{ model: "qwen3-32b", tokenClass: "response", slot: "any", department: "" },
  ...{ tokens: 100n, pico: 0n, amountNano: 0n, attempts: 2n },
  ...{ coveredNano: 0n, releasedNano: 0n, draws: [] },
};

function leaf(changes: {
  readonly basis?: string;
  readonly digest?: string | null;
  readonly takenBack?: boolean;
  readonly openedUs?: bigint;
}): string {
  const { basis = "engine", digest = "ab", takenBack = false, openedUs = friday } = changes;
  const charges = [{ line_id: line }, { line_id: "northgrid-list:1:reasoning" }];
  return JSON.stringify({
    type: "usage",
    settled: { count_basis: basis, charges, taken_back: takenBack ? charges : [] },
    witness: {
      ...{ opened_us: String(openedUs), pool_id: "p1", region_id: "zhongwei" },
      ...{ out_bytes: "200", tool_bytes: "30", reasoning_bytes: "1000", tokenizer_digest: digest },
    },
  });
}

function evidence(leaves: readonly string[], of: FocusHour = hour) {
  const sum = new EvidenceSum();
  for (const each of leaves) sum.add(each);
  return sum.of(of);
}

// prettier-ignore
const cases: readonly [what: string, leaves: readonly string[], expected: unknown][] = [
  ["what all have", [leaf({}), leaf({})],
    { countBasis: "engine", outputBytes: 460n, tokenizerDigest: "ab" }],
  ["nothing of what they differ in", [leaf({}), leaf({ basis: "ids", digest: "cd" })],
    { countBasis: undefined, outputBytes: 460n, tokenizerDigest: undefined }],
  ["no digest that only some have", [leaf({}), leaf({ digest: null })],
    { countBasis: "engine", outputBytes: 460n, tokenizerDigest: undefined }],
  ["no digest that nobody has", [leaf({ digest: null })],
    { countBasis: "engine", outputBytes: 230n, tokenizerDigest: undefined }],
  ["no bytes where a correction is: those that it takes back are not in its leaf",
    [leaf({}), leaf({ takenBack: true })],
    { countBasis: "engine", outputBytes: undefined, tokenizerDigest: "ab" }],
  ["nothing of another hour", [leaf({ openedUs: friday + usPerHour })], undefined],
  ["nothing of what is no usage", ['{"type":"seal","v":"1"}'], undefined],
];

for (const [what, leaves, expected] of cases) {
  test(`a row has ${what}`, () => {
    expect(evidence(leaves)).toEqual(expected);
  });
}

test("rows of reasoning have its bytes, rows of what was asked have none", () => {
  const reasoning = {
    ...hour,
    line: "northgrid-list:1:reasoning",
    tokenClass: "reasoning",
  } as const;
  expect(evidence([leaf({})], reasoning)).toMatchObject({ outputBytes: 1_000n });
  const input = { ...hour, tokenClass: "uncachedInput" } as const;
  expect(evidence([leaf({})], input)).toMatchObject({ outputBytes: undefined });
});
