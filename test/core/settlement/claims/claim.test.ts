import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  parseBatch,
  fromAcceptedText,
  toAcceptedText,
} from "../../../../services/core/settlement/claims/claim-batch-text.ts";
import {
  batchOf,
  checkBatch,
  statusOf,
  toBatchText,
} from "../../../../services/core/settlement/claims/claim-batch.ts";
import {
  checkClaim,
  fromClaimText,
  toClaimText,
  type UsageClaim,
} from "../../../../services/core/settlement/claims/claim.ts";
import { valueOf } from "../../../../services/core/settlement/claims/claim-price.ts";
import type {
  AttemptId,
  ModelId,
  PairId,
  RegionId,
  VendorId,
} from "../../../../services/core/units.ts";
import { friday, priceBook, priceLine, sha256 } from "../fixtures.ts";
import { tokens, usageClaim } from "../counted.ts";

const pair = "vendor:northgrid" as PairId;
const options = { vendor: "northgrid" as VendorId, nowUs: friday, place: "claims[0]" };

describe("a claim", () => {
  test("is this text, and is read back from it", () => {
    const text = toClaimText(usageClaim("a1"));
    expect(text).toBe(
      `{"attempt_id":"a1","claim_id":"northgrid:a1:0","closed_us":"${friday + 2_000_000n}","in_cache_read":"40",` +
        '"in_cache_write":"0","in_uncached":"60","model_id":"qwen3-32b",' +
        `"opened_us":"${friday}","out_reasoning":"0","out_response":"50","pool_id":"p1",` +
        `"price_hash":"${"11".repeat(32)}","rev":"0","slot":"any","type":"claim","v":"1"}`,
    );
    fc.assert(
      fc.property(fc.bigInt({ min: 0n, max: 10n ** 15n }), fc.nat(), (response, rev) => {
        const claim = usageClaim("a1", { rev: BigInt(rev), tokens: tokens({ response }) });
        expect(fromClaimText(toClaimText(claim))).toEqual(claim);
      }),
    );
  });

  const wrong: Readonly<Record<string, readonly [Partial<UsageClaim>, string]>> = {
    "claims[0].claim_id": [{ id: "south:a1:0" }, "expected northgrid:a1:0, found south:a1:0"],
    "claims[0].attempt_id": [
      { attempt: "a:1" as AttemptId, id: "northgrid:a:1:0" },
      "without blanks and colons",
    ],
    "claims[0].pool_id": [{ pool: "" as UsageClaim["pool"] }, 'found ""'],
    "claims[0].model_id": [{ model: "模型" as ModelId }, "of ASCII"],
    "claims[0].slot": [{ slot: "x".repeat(129) }, "1 to 128 characters"],
    "claims[0].rev": [{ rev: -1n, id: "northgrid:a1:-1" }, "expected 0 to 999999999, found -1"],
    "claims[0].in_cache_read": [{ tokens: tokens({ cacheRead: -1n }) }, "found -1"],
    "claims[0].out_response": [{ tokens: tokens({ response: 100_000_001n }) }, "to 100000000"],
    "claims[0].price_hash": [{ priceHash: "AB".repeat(32) }, "lower-case hex"],
    "claims[0].closed_us": [{ closedUs: friday - 1n }, "expected at least opened_us"],
    "claims[0].opened_us": [
      { openedUs: friday + 3_600_000_001n, closedUs: friday * 2n },
      `expected 0 < opened_us <= ${friday + 3_600_000_000n}`,
    ],
  };

  for (const [place, [changes, says]] of Object.entries(wrong)) {
    test(`is refused at ${place}`, () => {
      const found = checkClaim(usageClaim("a1", changes), options);
      expect(found.map((each) => each.place)).toEqual([place]);
      expect(found[0]?.message).toContain(says);
    });
  }

  test("that is right is not refused, and one that is all wrong is told all of it", () => {
    expect(checkClaim(usageClaim("a1", { model: "qwen3:32b" as ModelId }), options)).toEqual([]);
    const all = Object.assign({}, ...Object.values(wrong).map(([changes]) => changes));
    expect(checkClaim(usageClaim("a1", all), options).length).toBeGreaterThan(7);
  });

  test("that comes again exists, with other bytes it is a conflict", () => {
    expect(statusOf("a", undefined)).toBe("accepted");
    expect(statusOf("a", "a")).toBe("exists");
    expect(statusOf("a", "b")).toBe("conflict");
  });
});

describe("a batch", () => {
  const claims = [usageClaim("a1"), usageClaim("a2")];
  const made = (head?: { number: bigint; hash: string }) =>
    batchOf(claims, { pair, head, submittedUs: friday, sha256 });
  const known = { pair, head: undefined, acceptedHash: undefined, claims, sha256 };

  test("is read back from its canonical text alone", () => {
    const text = toBatchText(made());
    expect(parseBatch(text)).toEqual(made());
    for (const spoilt of ["", "1", "{}", `${text}\n`, text.replace('"claims":"2"', '"claims":2')]) {
      expect(typeof parseBatch(spoilt)).toBe("string");
    }
    fc.assert(
      fc.property(
        fc.nat({ max: text.length - 1 }),
        fc.string({ minLength: 1, maxLength: 1 }),
        (at, by) => {
          const changed = text.slice(0, at) + by + text.slice(at + 1);
          const batch = parseBatch(changed);
          // Whatever is read is what was signed, to the byte.
          expect(typeof batch === "string" ? changed : toBatchText(batch)).toBe(changed);
        },
      ),
    );
  });

  test("fits its claims and follows on the one before, or is refused", () => {
    const head = { number: 1n, hash: "ab".repeat(32) };
    expect(checkBatch(made(), known)).toEqual({ kind: "fits" });
    expect(checkBatch(made(head), { ...known, head })).toEqual({ kind: "fits" });
    const refusals = [
      [{ pair: "vendor:southgrid" as PairId }, "pair"],
      [{ claims: claims.slice(1) }, "size"],
      [{ claims: claims.toReversed() }, "digest"],
      [{ head }, "chain"],
      [{ acceptedHash: "ab".repeat(32) }, "overlap"],
    ] as const;
    for (const [changes, reason] of refusals) {
      expect(checkBatch(made(), { ...known, ...changes })).toMatchObject({
        kind: "refused",
        reason,
      });
    }
    const lying = { ...made(), tokens: tokens() };
    expect(checkBatch(lying, known)).toMatchObject({ reason: "digest" });
    const again = { ...known, acceptedHash: sha256(toBatchText(made())) };
    expect(checkBatch(made(), again)).toEqual({ kind: "exists" });
  });

  test("as it was taken is read back", () => {
    const taken = {
      ...{ text: toBatchText(made()), jws: "e30..AA", receivedUs: friday },
      refused: [{ claim: "northgrid:a1:0", reason: "late" }],
    };
    expect(fromAcceptedText(toAcceptedText(taken))).toEqual(taken);
  });
});

describe("valueOf()", () => {
  const at = { model: "qwen3-32b" as ModelId, region: "zhongwei" as RegionId, slot: "any" };

  test("adds up the first tiers, and rounds once", () => {
    // 60 × 1,999,500 + 40 × 200,250 + 50 × 8,000,000 pico.
    expect(valueOf(tokens(), priceBook(), at)).toBe(527_980n);
  });

  test("has no value where there is no price", () => {
    const book = priceBook({ lines: [priceLine("response", 1_000n)] });
    expect(valueOf(tokens(), book, at)).toBeUndefined();
    expect(valueOf(tokens({ uncachedInput: 0n, cacheRead: 0n }), book, at)).toBe(50n);
    expect(valueOf(tokens(), priceBook(), { ...at, model: "qwen3-8b" as ModelId })).toBeUndefined();
  });
});
