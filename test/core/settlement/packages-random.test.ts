import fc from "fast-check";
import { expect, test } from "vitest";
import type { AllotmentAsk } from "../../../services/core/settlement/packages/departments.ts";
import type { GatewayId } from "../../../services/core/units.ts";
import { PackageLedger, sku } from "./package-ledger.ts";

const departments = ["", "research", "sales"];
const paths = ["research", "research/chat", "sales", "sales//batch"];
const gateways = ["g1", "g2"] as GatewayId[];

/** Small packages of odd prices, so that roundings and ends are met often. */
const skus = [
  sku({ id: "odd", quantity: 7n, priceNano: 10n, validityUs: 60n, priority: 2 }),
  sku({ id: "free", quantity: 30n, priceNano: 0n, validityUs: 40n, priority: 1 }),
  sku({ id: "big", quantity: 1_000n, priceNano: 159_900_000_001n, validityUs: 90n }),
  sku({
    ...{ id: "points", kind: "points", quantity: 977n, priceNano: 3_333n, validityUs: 80n },
    burn: { den: 7n, rates: [{ model: "*", tokenClass: "*", num: 3n }] },
    refundPpm: 333_333n,
  }),
];

interface Step {
  readonly what: "buy" | "sell" | "correct" | "allocate" | "refund" | "slice" | "end";
  readonly a: number;
  readonly b: number;
  readonly c: number;
}

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom(
    ...(["buy", "sell", "sell", "sell", "correct", "allocate", "refund", "slice", "end"] as const),
  ),
  a: fc.nat(1_000),
  b: fc.nat(1_000),
  c: fc.nat(1_000),
});

function pick<Value>(from: readonly Value[], at: number): Value | undefined {
  return from[at % Math.max(1, from.length)];
}

function key(at: number, openedUs: bigint) {
  const department = departments[at % 3] ?? "";
  const project = ["", "chat", ""][at % 5] ?? "";
  const scenario = at % 7 === 0 ? "batch" : "";
  return { department, project, scenario, gateway: gateways[at % 2], openedUs };
}

function asks({ a, b, c }: Step): AllotmentAsk[] {
  const modes = ["hard", "cap", "guarantee"] as const;
  return paths.slice(0, 1 + (a % 4)).map((path, index) => {
    const isPart = (b + index) % 2 === 0;
    return {
      path,
      mode: modes[(c + index) % 3] ?? "hard",
      units: isPart ? undefined : BigInt((b * (index + 1)) % 40),
      ppm: isPart ? BigInt((c * 997) % 300_000) : undefined,
    };
  });
}

/** What each kind of step does; time goes on by one with each. */
const actions: Readonly<
  Record<Step["what"], (on: PackageLedger, by: Step, nowUs: bigint) => void>
> = {
  buy: (on, { a }, nowUs) => void on.buy(`p${nowUs}`, skus[a % skus.length] ?? sku(), nowUs),
  sell: (on, { a, b, c }, nowUs) => {
    const tokens = BigInt(a % 23);
    const used = { attempt: `a${nowUs}`, tokens, saleNano: tokens * 7n, rateNano: BigInt(b % 90) };
    on.sell({ ...used, key: key(c, nowUs) });
  },
  correct: (on, { a, b, c }) => {
    const before = pick([...on.sales.values()], a);
    const tokens = BigInt(b % 23);
    const attempt = before?.attempt ?? "a0";
    const openedUs = BigInt(attempt.slice(1));
    on.sell({ attempt, tokens, saleNano: tokens * 7n, key: key(c, openedUs) });
  },
  allocate: (on, by, nowUs) => {
    const each = pick(on.packages.packages(), by.a);
    if (each !== undefined) on.allocate(each.id, asks(by), nowUs);
  },
  refund: (on, { a, b }, nowUs) => {
    const each = pick(on.packages.packages(), a);
    const ask = { units: BigInt(1 + (b % 9)), atUs: nowUs };
    if (each !== undefined) on.refund(each.id, `r${nowUs}`, ask);
  },
  slice: (on, { a, b, c }, nowUs) => {
    const each = pick(on.packages.packages(), a);
    if (each === undefined || each.expiresUs <= nowUs) return;
    const path = pick(each.paths, b) ?? "";
    const gateway = gateways[c % 2] ?? ("g1" as GatewayId);
    on.slice(each.id, { path, gateway, key: `s${nowUs}`, units: BigInt(1 + (c % 9)), atUs: nowUs });
  },
  end: (on, { a }, nowUs) => {
    const hold = pick(on.holds.all(), a);
    if (hold !== undefined) on.endSlice(hold, nowUs);
  },
};

/** Slices and packages whose time is over, as the sweeper does. */
function sweep(on: PackageLedger, nowUs: bigint): void {
  for (const hold of on.holds.all()) if (hold.expiresUs <= nowUs) on.endSlice(hold, nowUs);
  for (const { id, expiresUs } of on.packages.packages())
    if (expiresUs <= nowUs) on.expire(id, nowUs);
}

test("purchases, draws, corrections, allocations, refunds, slices and expiries in any order keep every sum", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 5, maxLength: 60 }), (steps) => {
      const ledger = new PackageLedger();
      ledger.buy("p0", skus[2] ?? sku(), 0n);
      for (const [index, each] of steps.entries()) {
        const nowUs = BigInt(index + 1);
        actions[each.what](ledger, each, nowUs);
        if (each.c % 4 === 0) sweep(ledger, nowUs);
        ledger.check();
      }
      sweep(ledger, 1_000n);
      ledger.check();
      // All that was sold is used, given back or expired, and all that was paid has been earned or given back.
      for (const each of ledger.packages.packages()) {
        const left = each.paths.map((path) => `wallet:acme:${path}:${each.id}`);
        for (const account of left) expect(ledger.units(each.unit, account)).toBe(0n);
      }
      const ended = ledger.ended.map(({ id }) => id);
      expect(new Set(ended).size).toBe(ended.length);
      expect(ledger.holds.all()).toEqual([]);
    }),
    { numRuns: 300 },
  );
});
