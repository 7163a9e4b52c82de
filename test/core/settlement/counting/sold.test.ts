import fc from "fast-check";
import { expect, test } from "vitest";
import {
  defaultOwed,
  type TenantPays,
} from "../../../../services/core/settlement/terms/contract.ts";
import { settleCounts } from "../../../../services/core/settlement/counting/count-rule.ts";
import {
  noTokens,
  tokenClasses,
  type Tokens,
  type UsageRecord,
} from "../../../../services/core/settlement/counting/usage.ts";
import { contract, engineCounts, evidence, usageRecord } from "../fixtures.ts";

const whole = { uncachedInput: 60n, cacheRead: 40n };
const left: Partial<UsageRecord> = {
  end: "client-cancel",
  engineCounts: engineCounts({ source: "continuous" }),
};
const cut: Partial<UsageRecord> = { end: "upstream-cut" };
const crash: Partial<UsageRecord> = {
  end: "gateway-crash",
  engineCounts: engineCounts({ source: "continuous" }),
};

/** Of 60 uncached, 40 cached and 50 output tokens in 200 bytes of text. */
const cases: Readonly<Record<string, [Partial<UsageRecord>, Partial<Tokens>]>> = {
  "complete: all": [{}, { ...whole, response: 50n }],
  "complete, but another attempt won": [{ isWinner: false }, {}],
  "a canary, whose bytes went nowhere": [{ role: "canary" }, {}],
  "an audit that says it won": [{ role: "audit" }, {}],
  "a hedge that lost": [{ end: "gateway-cancel", cancelCause: "hedge-lost" }, {}],
  "the client left: what was made until then": [left, { ...whole, response: 50n }],
  "the client left, the pool was read on: what had come when it left": [
    { ...left, engineCounts: engineCounts(), bytesAtCancel: 100n },
    { ...whole, response: 25n },
  ],
  "the client left before any text, the pool was read on": [
    { ...left, engineCounts: engineCounts(), bytesAtCancel: 0n },
    { ...whole, response: 0n },
  ],
  "parts are rounded down": [
    { ...left, engineCounts: engineCounts(), bytesAtCancel: 99n },
    { ...whole, response: 24n },
  ],
  "what was cut off is response first": [
    { ...left, engineCounts: engineCounts({ reasoning: 20n }), bytesAtCancel: 100n },
    { ...whole, response: 5n, reasoning: 20n },
  ],
  "and then reasoning": [
    { ...left, engineCounts: engineCounts({ reasoning: 40n }), bytesAtCancel: 100n },
    { ...whole, response: 0n, reasoning: 25n },
  ],
  "cut: all, if the client took all": [
    { ...cut, sentBytes: 400n, evidence: evidence({ deliveredBytes: 400n }) },
    { ...whole, response: 50n },
  ],
  "cut: what the client took": [
    { ...cut, sentBytes: 400n, evidence: evidence({ deliveredBytes: 160n }) },
    { ...whole, response: 20n },
  ],
  "cut: nothing, if the client took nothing": [
    { ...cut, sentBytes: 400n, evidence: evidence({ deliveredBytes: 0n }) },
    {},
  ],
  "cut: by the text's bytes where nobody knows what was sent": [
    { ...cut, evidence: evidence({ deliveredBytes: 100n }) },
    { ...whole, response: 25n },
  ],
  "a crash: at most what was delivered by the last watermark": [
    { ...crash, sentBytes: 300n, evidence: evidence({ deliveredBytes: 30n }) },
    { ...whole, response: 5n },
  ],
};

for (const [name, [record, tokens]] of Object.entries(cases)) {
  test(`a tenant pays for an attempt that was ${name}`, () => {
    expect(settleCounts(usageRecord(record), contract())).toMatchObject({
      kind: "settled",
      sold: { ...noTokens, ...tokens },
    });
  });
}

test("the grace for the way of a cancel is the vendor's, and not sold", () => {
  const generous = contract({ cancelGraceTokens: 8n });
  expect(settleCounts(usageRecord(left), generous)).toMatchObject({
    tokens: { response: 58n },
    sold: { response: 50n },
  });
});

test("what the vendor is not paid for is not sold", () => {
  const owed = { ...defaultOwed, "client-left": { ...defaultOwed["client-left"] } };
  const free = { ...owed, "client-left": { ...owed["client-left"], vendor: "nothing" as const } };
  expect(settleCounts(usageRecord(left), contract({ owed: free }))).toMatchObject({
    sold: noTokens,
  });
});

test("sold is never more of a class than settled, and never below 0 (I15, I18)", () => {
  const size = fc.bigInt(0n, 300n);
  const anyRecord = fc.record({
    end: fc.constantFrom<UsageRecord["end"][]>(
      "complete",
      "client-cancel",
      "upstream-cut",
      "gateway-crash",
      "gateway-cancel",
    ),
    isWinner: fc.boolean(),
    sentBytes: fc.option(size, { nil: undefined }),
    bytesAtCancel: fc.option(size, { nil: undefined }),
    output: fc.bigInt(18n, 200n),
    reasoning: fc.bigInt(0n, 18n),
    source: fc.constantFrom("final" as const, "continuous" as const),
    deliveredBytes: size,
    grace: fc.bigInt(0n, 50n),
    pays: fc.constantFrom<TenantPays[]>("counts", "generated", "delivered", "nothing"),
  });
  fc.assert(
    fc.property(
      anyRecord,
      ({ output, reasoning, source, deliveredBytes, grace, pays, ...rest }) => {
        const record = usageRecord({
          ...rest,
          engineCounts: engineCounts({ output, reasoning, source }),
          evidence: evidence({ deliveredBytes }),
        });
        const owed = Object.fromEntries(
          Object.entries(defaultOwed).map(([ending, each]) => [ending, { ...each, tenant: pays }]),
        ) as typeof defaultOwed;
        const finding = settleCounts(record, contract({ owed, cancelGraceTokens: grace }));
        const { tokens, sold } =
          finding.kind === "settled" ? finding : { tokens: noTokens, sold: noTokens };
        expect(finding.kind).toBe("settled");
        for (const each of tokenClasses) {
          expect(sold[each] >= 0n && sold[each] <= tokens[each]).toBe(true);
        }
      },
    ),
  );
});
