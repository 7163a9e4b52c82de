import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bounds, type BoundReason } from "../../../../services/core/settlement/counting/bounds.ts";
import {
  defaultOwed,
  endings,
  type Contract,
  type Ending,
} from "../../../../services/core/settlement/terms/contract.ts";
import {
  settleCounts,
  type CountBasis,
} from "../../../../services/core/settlement/counting/count-rule.ts";
import {
  noTokens,
  type EngineCounts,
  type Tokens,
  type TokenVariant,
  type UsageRecord,
} from "../../../../services/core/settlement/counting/usage.ts";
import type { ModelId } from "../../../../services/core/units.ts";
import { contract, engineCounts, evidence, usageRecord } from "../fixtures.ts";

const noCounts: EngineCounts = {
  source: "none",
  input: undefined,
  cacheRead: undefined,
  cacheWrite: undefined,
  output: undefined,
  reasoning: undefined,
};
const unheard = { source: "none", input: undefined, output: undefined } as const;

interface Shape {
  readonly record: Partial<UsageRecord>;
  readonly tokens: Partial<Tokens>;
  readonly flags?: readonly string[];
}

const all = new Set(["cache-report", "reasoning-count"] as const);
const none = new Set<never>();

/** What each engine's usage says, and what it means. */
const shapes: Readonly<Record<string, Shape>> = {
  "OpenAI: cached and reasoning are parts of the totals": {
    record: {
      engine: "openai",
      engineCounts: engineCounts({ input: 100n, cacheRead: 40n, output: 50n, reasoning: 20n }),
    },
    tokens: { uncachedInput: 60n, cacheRead: 40n, response: 30n, reasoning: 20n },
  },
  "vLLM that reports its cache leaves it out when it is 0": {
    record: {
      engine: "vllm",
      capabilities: all,
      engineCounts: engineCounts({ cacheRead: undefined, reasoning: undefined }),
    },
    tokens: { uncachedInput: 100n, response: 50n },
  },
  "vLLM that reports neither: unknown, by contract uncached and response": {
    record: {
      engine: "vllm",
      capabilities: none,
      engineCounts: engineCounts({ cacheRead: undefined, reasoning: undefined }),
    },
    tokens: { uncachedInput: 100n, response: 50n },
    flags: ["cache-unknown", "reasoning-unknown"],
  },
  "SGLang without cache report but with reasoning": {
    record: {
      engine: "sglang",
      capabilities: new Set(["reasoning-count"]),
      engineCounts: engineCounts({ cacheRead: undefined, reasoning: 10n }),
    },
    tokens: { uncachedInput: 100n, response: 40n, reasoning: 10n },
    flags: ["cache-unknown"],
  },
  "TensorRT-LLM says nothing of reasoning": {
    record: {
      engine: "trtllm",
      capabilities: new Set(["cache-report"]),
      engineCounts: engineCounts({ reasoning: undefined }),
    },
    tokens: { uncachedInput: 60n, cacheRead: 40n, response: 50n },
    flags: ["reasoning-unknown"],
  },
  "llama.cpp in one piece": {
    record: {
      engine: "llamacpp",
      capabilities: new Set(["cache-report"]),
      engineCounts: engineCounts({ source: "non-stream", cacheRead: 99n, reasoning: 0n }),
    },
    tokens: { uncachedInput: 1n, cacheRead: 99n, response: 50n },
  },
  "Anthropic's input leaves both caches out": {
    record: {
      engine: "anthropic",
      endpoint: "messages",
      engineCounts: engineCounts({ input: 10n, cacheRead: 40n, cacheWrite: 50n }),
    },
    tokens: { uncachedInput: 10n, cacheRead: 40n, cacheWrite: 50n, response: 50n },
  },
  "a Messages answer of another engine has Anthropic's shape": {
    record: {
      engine: "llamacpp",
      endpoint: "messages",
      capabilities: all,
      engineCounts: engineCounts({ input: 10n, cacheRead: 40n }),
    },
    tokens: { uncachedInput: 10n, cacheRead: 40n, response: 50n },
  },
};

for (const [name, { record, tokens, flags = [] }] of Object.entries(shapes)) {
  test(`settleCounts() of ${name}`, () => {
    const usage = settleCounts(usageRecord(record), contract());
    expect(usage).toMatchObject({ kind: "settled", tokens: { ...noTokens, ...tokens }, flags });
  });
}

/** Each has only what its name says. */
const witnesses: Readonly<Record<Exclude<CountBasis, "vendor-claim">, Partial<UsageRecord>>> = {
  "engine-final": {},
  "engine-continuous": { engineCounts: engineCounts({ source: "continuous" }) },
  "engine-query": { engineCounts: engineCounts({ source: "query" }) },
  "token-ids": { engineCounts: noCounts, idsInput: 100n, idsOutput: 50n, gatewayCounts: unheard },
  "gateway-tokenizer": {
    engineCounts: noCounts,
    gatewayCounts: { source: "tokenizer", input: 100n, output: 50n },
  },
  "gateway-heuristic": {
    engineCounts: noCounts,
    gatewayCounts: { source: "heuristic", input: 100n, output: 50n },
  },
  "nothing-seen": {
    end: "client-cancel",
    engineCounts: noCounts,
    gatewayCounts: { source: "heuristic", input: 100n, output: undefined },
    evidence: evidence({ outBytes: 0n, chunks: 0n }),
  },
  "not-owed": { end: "not-dispatched" },
};

for (const [basis, record] of Object.entries(witnesses)) {
  test(`settleCounts() goes by ${basis} where nothing stronger is known`, () => {
    expect(settleCounts(usageRecord(record), contract())).toMatchObject({ kind: "settled", basis });
  });
}

describe("the count rules", () => {
  const differing: Partial<UsageRecord> = {
    engineCounts: engineCounts({ input: 100n, cacheRead: 0n, output: 50n }),
    idsInput: 101n,
    idsOutput: 48n,
    gatewayCounts: { source: "tokenizer", input: 99n, output: 49n },
  };
  const rules: readonly [Contract["countRule"], input: bigint, output: bigint, CountBasis][] = [
    ["engine-final", 100n, 50n, "engine-final"],
    ["ids-first", 101n, 48n, "token-ids"],
    ["lower-of-witnesses", 99n, 48n, "gateway-tokenizer"],
    ["claim-in-tolerance", 100n, 50n, "engine-final"],
  ];
  for (const [countRule, uncachedInput, response, basis] of rules) {
    test(`${countRule} chooses ${uncachedInput} and ${response}`, () => {
      const usage = settleCounts(usageRecord(differing), contract({ countRule }));
      expect(usage).toMatchObject({ tokens: { uncachedInput, response }, basis });
    });
  }

  test("lower-of-witnesses does not lower a count to an estimate", () => {
    const record = usageRecord({ gatewayCounts: { source: "heuristic", input: 1n, output: 1n } });
    const usage = settleCounts(record, contract({ countRule: "lower-of-witnesses" }));
    expect(usage).toMatchObject({ tokens: { response: 50n }, basis: "engine-final" });
  });

  const claimed: Tokens = {
    uncachedInput: 60n,
    cacheRead: 40n,
    cacheWrite: 0n,
    response: 50n,
    reasoning: 0n,
  };
  const claims: Readonly<Record<string, [Partial<Tokens>, CountBasis, response: bigint]>> = {
    "as near as the tolerance": [{ response: 53n }, "vendor-claim", 53n],
    "lower by the tolerance": [{ response: 47n }, "vendor-claim", 47n],
    "further away": [{ response: 54n }, "engine-final", 50n],
    "of the same sum in other classes": [
      { uncachedInput: 65n, cacheRead: 35n },
      "engine-final",
      50n,
    ],
  };
  for (const [name, [change, basis, response]] of Object.entries(claims)) {
    test(`claim-in-tolerance goes by ${basis} where the claim is ${name}`, () => {
      const terms = contract({ countRule: "claim-in-tolerance" });
      const usage = settleCounts(usageRecord(), terms, { ...claimed, ...change });
      expect(usage).toMatchObject({ basis, tokens: { response } });
    });
  }

  const parts: Readonly<Record<string, [Partial<Tokens>, explicit: bigint]>> = {
    "what we counted": [{}, 40n],
    "less than our parts": [{ cacheRead: 38n }, 38n],
  };
  for (const [name, [change, explicit]] of Object.entries(parts)) {
    test(`a claim of ${name} has the parts that the engine told, within its classes`, () => {
      const terms = contract({ countRule: "claim-in-tolerance" });
      const variant = { tokenClass: "cacheRead", variant: "explicit" } as const;
      const record = usageRecord({ variants: [{ ...variant, tokens: 40n }] });
      expect(settleCounts(record, terms, { ...claimed, ...change })).toMatchObject({
        basis: "vendor-claim",
        variants: [{ ...variant, tokens: explicit }],
      });
    });
  }

  test("a claim decides nothing where the contract does not go by it", () => {
    const usage = settleCounts(usageRecord(), contract(), { ...claimed, response: 51n });
    expect(usage).toMatchObject({ basis: "engine-final", tokens: { response: 50n } });
  });

  test("an estimate never exceeds what was reserved", () => {
    const record = usageRecord({
      engineCounts: noCounts,
      gatewayCounts: { source: "heuristic", input: 100n, output: 5_000n },
      outputTokensMax: 64n,
    });
    expect(settleCounts(record, contract())).toMatchObject({ tokens: { response: 64n } });
  });

  test("without any count an answer is doubtful, not free", () => {
    const record = usageRecord({ engineCounts: noCounts, gatewayCounts: unheard });
    expect(settleCounts(record, contract())).toMatchObject({ reason: "no-count" });
  });

  test("a contract may refuse what is unknown", () => {
    const record = usageRecord({
      capabilities: none,
      engineCounts: engineCounts({ cacheRead: undefined, reasoning: undefined }),
    });
    const strict = contract({ onCacheUnknown: "quarantine" });
    expect(settleCounts(record, strict)).toMatchObject({ reason: "cache-unknown" });
    const reasoning = contract({ onReasoningUnknown: "quarantine" });
    expect(settleCounts(record, reasoning)).toMatchObject({ reason: "reasoning-unknown" });
  });
});

/** A record of each ending, and what the vendor gets of 60 uncached, 40 cached and 50 output tokens. */
const ended: Readonly<Record<Ending, [Partial<UsageRecord>, Partial<Tokens>]>> = {
  "not-dispatched": [{ end: "not-dispatched" }, {}],
  checked: [
    { role: "canary", isWinner: false },
    { uncachedInput: 60n, cacheRead: 40n, response: 50n },
  ],
  crashed: [
    {
      end: "gateway-crash",
      engineCounts: engineCounts({ source: "continuous", output: 7n }),
      evidence: evidence({ chunks: 7n }),
    },
    { uncachedInput: 60n, cacheRead: 40n, response: 7n },
  ],
  refused: [{ end: "upstream-error", httpStatus: 503, firstByteUs: undefined }, {}],
  cut: [{ end: "upstream-cut" }, { uncachedInput: 60n, cacheRead: 40n, response: 50n }],
  lost: [
    { end: "gateway-cancel", cancelCause: "hedge-lost", role: "hedge", isWinner: false },
    { uncachedInput: 60n, cacheRead: 40n, response: 50n },
  ],
  "client-left": [
    { end: "client-cancel", engineCounts: engineCounts({ source: "continuous" }) },
    { uncachedInput: 60n, cacheRead: 40n, response: 50n },
  ],
  stopped: [
    { end: "gateway-cancel", cancelCause: "deadline" },
    { uncachedInput: 60n, cacheRead: 40n, response: 50n },
  ],
  empty: [
    {
      finishReason: undefined,
      engineCounts: engineCounts({ output: 0n }),
      evidence: evidence({ outBytes: 0n, chunks: 0n }),
    },
    {},
  ],
  complete: [{}, { uncachedInput: 60n, cacheRead: 40n, response: 50n }],
};

for (const [ending, [record, tokens]] of Object.entries(ended)) {
  test(`settleCounts() of an attempt that is ${ending}`, () => {
    const usage = settleCounts(usageRecord(record), contract());
    expect(usage).toMatchObject({ kind: "settled", ending, tokens: { ...noTokens, ...tokens } });
  });
}

test("every ending has a case above, and every cell a default", () => {
  expect(Object.keys(ended)).toEqual(Object.keys(endings));
  expect(Object.keys(defaultOwed)).toEqual(Object.keys(endings));
});

describe("an attempt that broke", () => {
  const left = usageRecord({
    end: "client-cancel",
    engineCounts: engineCounts({ source: "continuous", output: 50n }),
    outputTokensMax: 60n,
  });

  test("gets the grace that the contract grants, up to what was asked for", () => {
    const generous = contract({ cancelGraceTokens: 8n });
    expect(settleCounts(left, generous)).toMatchObject({ tokens: { response: 58n } });
    const lavish = contract({ cancelGraceTokens: 80n });
    expect(settleCounts(left, lavish)).toMatchObject({ tokens: { response: 60n } });
  });

  test("gets no grace on top of a final count", () => {
    const final = { ...left, engineCounts: engineCounts({ source: "final" }) };
    const generous = contract({ cancelGraceTokens: 8n });
    expect(settleCounts(final, generous)).toMatchObject({ tokens: { response: 50n } });
  });

  test("is owed nothing before its first byte", () => {
    const early = { ...left, firstByteUs: undefined, lastByteUs: undefined };
    expect(settleCounts(early, contract())).toMatchObject({ basis: "not-owed", tokens: noTokens });
  });

  test("is owed the prompt alone if the contract says so", () => {
    const owed = {
      ...defaultOwed,
      "client-left": { ...defaultOwed["client-left"], vendor: "prompt-only" as const },
    };
    expect(settleCounts(left, contract({ owed }))).toMatchObject({
      tokens: { uncachedInput: 60n, cacheRead: 40n, response: 0n },
    });
  });
});

function explicitRead(tokens: bigint): TokenVariant {
  return { tokenClass: "cacheRead", variant: "explicit", tokens };
}

/** Breaks each bound alone. */
const broken: Readonly<Record<BoundReason, [Partial<UsageRecord>, Partial<Contract>]>> = {
  "count-negative": [{ engineCounts: engineCounts({ output: -1n }) }, {}],
  "count-over-limit": [{ engineCounts: engineCounts({ input: 100_000_001n }) }, {}],
  "cached-over-prompt": [{ engineCounts: engineCounts({ input: 100n, cacheRead: 101n }) }, {}],
  "reasoning-over-output": [{ engineCounts: engineCounts({ output: 50n, reasoning: 51n }) }, {}],
  "prompt-over-bytes": [{ promptBytes: 89n }, { promptSlackTokens: 10n }],
  "output-over-bytes": [{ engineCounts: engineCounts({ output: 233n }) }, {}],
  "output-over-max": [{ outputTokensMax: 49n }, {}],
  "chunks-over-output": [{ engineCounts: engineCounts({ output: 17n }) }, {}],
  "prompt-off-recount": [{ gatewayCounts: { source: "tokenizer", input: 96n, output: 50n } }, {}],
  "output-over-rate": [{}, { rateTokensPerSecondMax: 9n }],
  "settled-over-reserved": [{ reservedTokens: 113n }, {}],
  "output-under-watermark": [{ watermarkOutput: 51n }, {}],
  "variants-over-class": [{ variants: [explicitRead(41n)] }, {}],
  "usage-decreased": [{ flags: ["usage-decreased"] }, {}],
  "usage-malformed": [{ flags: ["usage-malformed"] }, {}],
  "instants-disordered": [{ closedUs: 1n }, {}],
};

/** The same, at the last value that is allowed. */
const kept: Readonly<Record<BoundReason, [Partial<UsageRecord>, Partial<Contract>]>> = {
  "count-negative": [{ engineCounts: engineCounts({ output: 18n }) }, {}],
  "count-over-limit": [
    { engineCounts: engineCounts({ input: 100_000_000n }), promptBytes: 100_000_000n },
    {},
  ],
  "cached-over-prompt": [{ engineCounts: engineCounts({ input: 100n, cacheRead: 100n }) }, {}],
  "reasoning-over-output": [{ engineCounts: engineCounts({ output: 50n, reasoning: 50n }) }, {}],
  "prompt-over-bytes": [{ promptBytes: 90n }, { promptSlackTokens: 10n }],
  "output-over-bytes": [{ engineCounts: engineCounts({ output: 232n }) }, {}],
  "output-over-max": [{ outputTokensMax: 50n }, {}],
  "chunks-over-output": [{ engineCounts: engineCounts({ output: 18n }) }, {}],
  "prompt-off-recount": [{ gatewayCounts: { source: "tokenizer", input: 97n, output: 50n } }, {}],
  "output-over-rate": [{}, { rateTokensPerSecondMax: 10n }],
  "settled-over-reserved": [{ reservedTokens: 114n }, {}],
  "output-under-watermark": [{ watermarkOutput: 50n }, {}],
  "variants-over-class": [{ variants: [explicitRead(40n)] }, {}],
  "usage-decreased": [{ flags: ["double-final"] }, {}],
  "usage-malformed": [{ flags: ["total-mismatch"] }, {}],
  "instants-disordered": [{ lastByteUs: undefined }, {}],
};

for (const [reason, [record, terms]] of Object.entries(broken)) {
  test(`settleCounts() doubts a record that is ${reason}, and says what it found`, () => {
    const finding = settleCounts(usageRecord(record), contract(terms));
    expect(finding).toMatchObject({ kind: "doubtful", reason });
    expect(finding).toHaveProperty("detail", expect.stringMatching(/^expected .+, found .+$/));
  });
}

for (const [reason, [record, terms]] of Object.entries(kept)) {
  test(`settleCounts() believes a record at the edge of ${reason}`, () => {
    expect(settleCounts(usageRecord(record), contract(terms))).toMatchObject({ kind: "settled" });
  });
}

test("a prompt of two letters is not paid as 5,000 tokens, and one with a picture is bounded by no bytes", () => {
  const inflated = { engineCounts: engineCounts({ input: 5_000n }), promptBytes: 120n };
  expect(settleCounts(usageRecord(inflated), contract())).toEqual({
    kind: "doubtful",
    reason: "prompt-over-bytes",
    detail: "expected at most 1144 prompt tokens for its bytes, found 5000",
  });
  const seen = { ...inflated, promptBytes: undefined };
  expect(settleCounts(usageRecord(seen), contract())).toMatchObject({ kind: "settled" });
});

test("a model's own rate bounds its streams, whatever the contract says for all", () => {
  const slow = new Map([["qwen3-32b" as ModelId, 9n]]);
  const terms = { rateTokensPerSecondMax: 1_000n, rateTokensPerSecondMaxByModel: slow };
  expect(settleCounts(usageRecord(), contract(terms))).toMatchObject({
    reason: "output-over-rate",
  });
  const other = new Map([["glm-5" as ModelId, 9n]]);
  const elsewhere = { ...terms, rateTokensPerSecondMaxByModel: other };
  expect(settleCounts(usageRecord(), contract(elsewhere))).toMatchObject({ kind: "settled" });
});

test("more than reserved is paid where the rest was charged beyond the reservation", () => {
  const record = usageRecord({ reservedTokens: 10n, flags: ["overage"] });
  expect(settleCounts(record, contract())).toMatchObject({ kind: "settled" });
});

test("a prompt that we took for shorter than it is does not break its reservation", () => {
  const record = usageRecord({
    engineCounts: engineCounts({ input: 900n }),
    gatewayCounts: { source: "heuristic", input: 100n, output: 45n },
    promptBytes: 3_000n,
    reservedTokens: 150n,
  });
  expect(settleCounts(record, contract())).toMatchObject({ tokens: { uncachedInput: 860n } });
});

test("a recount of the texts alone leaves room for what the template writes, and none below", () => {
  const counted = (input: bigint) =>
    settleCounts(
      usageRecord({
        engineCounts: engineCounts({ input }),
        promptBytes: 9_000n,
        gatewayCounts: { source: "tokenizer", input: 100n, output: 50n },
        flags: ["template-unknown"],
      }),
      contract({ promptSlackTokens: 20n }),
    );
  expect(counted(123n)).toMatchObject({ kind: "settled" });
  expect(counted(124n)).toMatchObject({ reason: "prompt-off-recount" });
  expect(counted(96n)).toMatchObject({ reason: "prompt-off-recount" });
});

describe("reasoning that nobody saw", () => {
  const hidden = engineCounts({ output: 5_050n, reasoning: 5_000n });
  const record = usageRecord({ engineCounts: hidden, outputTokensMax: undefined });

  test("is doubted for its missing bytes where the contract says nothing of it", () => {
    expect(settleCounts(record, contract())).toMatchObject({ reason: "output-over-bytes" });
  });

  test("is paid up to the contract's cap, and the response as it is", () => {
    expect(settleCounts(record, contract({ maxReasoningTokens: 1_000n }))).toMatchObject({
      tokens: { response: 50n, reasoning: 1_000n },
    });
    expect(settleCounts(record, contract({ maxReasoningTokens: 9_000n }))).toMatchObject({
      tokens: { response: 50n, reasoning: 5_000n },
    });
  });

  test("is no reason to pay a response that has no bytes", () => {
    const lie = { ...record, engineCounts: { ...hidden, output: 6_000n } };
    expect(settleCounts(lie, contract({ maxReasoningTokens: 1_000n }))).toMatchObject({
      reason: "output-over-bytes",
    });
  });

  test("has no cap once it was seen, as text or as ids", () => {
    const shown = evidence({ reasoningBytes: 20_000n });
    const capped = contract({ maxReasoningTokens: 1_000n });
    for (const seen of [{ evidence: shown }, { idsOutput: 5_050n, evidence: shown }]) {
      expect(settleCounts({ ...record, ...seen }, capped)).toMatchObject({
        tokens: { reasoning: 5_000n },
      });
    }
  });
});

test("kinds within a class are told on as far as the engine's counts decided, and are owed", () => {
  const variants: TokenVariant[] = [
    explicitRead(40n),
    { tokenClass: "cacheWrite", variant: "write_5m", tokens: 0n },
    { tokenClass: "response", variant: "audio", tokens: 5n },
  ];
  const record = usageRecord({ variants });
  expect(settleCounts(record, contract())).toMatchObject({ variants: [variants[0], variants[2]] });
  const promptOnly = contract({
    owed: { ...defaultOwed, complete: { ...defaultOwed.complete, vendor: "prompt-only" } },
  });
  expect(settleCounts(record, promptOnly)).toMatchObject({ variants: [variants[0]] });
  const byIds = { ...record, idsInput: 100n, idsOutput: 50n };
  expect(settleCounts(byIds, contract({ countRule: "ids-first" }))).toMatchObject({ variants: [] });
});

test("every bound has a case above", () => {
  expect(Object.keys(broken)).toEqual(Object.keys(bounds));
  expect(Object.keys(kept)).toEqual(Object.keys(bounds));
});

test("classes are never negative and add up to the chosen totals", () => {
  const count = fc.option(fc.bigInt(0n, 300n), { nil: undefined });
  const counts = fc.record({
    source: fc.constantFrom("final", "continuous", "query", "none" as const),
    input: count,
    cacheRead: count,
    cacheWrite: count,
    output: count,
    reasoning: count,
  });
  fc.assert(
    fc.property(counts, fc.boolean(), (engine, isReporting) => {
      const capabilities = isReporting ? all : none;
      const finding = settleCounts(usageRecord({ engineCounts: engine, capabilities }), contract());
      const tokens = finding.kind === "settled" ? finding.tokens : noTokens;
      expect(Object.values(tokens).every((each) => each >= 0n)).toBe(true);
      const isChosen = finding.kind === "settled" && finding.basis.startsWith("engine-");
      const { uncachedInput, cacheRead, cacheWrite, response, reasoning } = tokens;
      const totals = [uncachedInput + cacheRead + cacheWrite, response + reasoning];
      expect(isChosen ? totals : [engine.input, engine.output]).toEqual([
        engine.input,
        engine.output,
      ]);
    }),
  );
});
