import fc from "fast-check";
import { expect, test } from "vitest";
import {
  end,
  gatewayOf,
  OpenHolds,
  renewed,
  reserve,
  settle,
  sliceId,
  type Hold,
} from "../../../../services/core/settlement/packages/hold.ts";
import {
  balanceText,
  movements,
  type LedgerEntry,
} from "../../../../services/core/settlement/ledger/ledger.ts";
import type { GatewayId } from "../../../../services/core/units.ts";

const ask = {
  id: "a1:r0",
  unit: "POINT:milli",
  debit: "wallet:acme::p",
  credit: "used:acme::p",
  amount: 100n,
  expiresUs: 50n,
} as const;

function held(): { hold: Hold; entries: readonly LedgerEntry[] } {
  const reserved = reserve(ask, 100n, 10n);
  expect(reserved.kind).toBe("held");
  return reserved as { hold: Hold; entries: readonly LedgerEntry[] } & typeof reserved;
}

function walletAfter(entries: readonly LedgerEntry[]) {
  return movements(entries).get(balanceText({ unit: ask.unit, account: ask.debit }));
}

test("reserve() of more than is free is refused and says so", () => {
  expect(reserve(ask, 99n, 10n)).toEqual({
    kind: "refused",
    reason: "wallet:acme::p: expected at least 100 free, found 99",
  });
  expect(reserve({ ...ask, expiresUs: 10n }, 100n, 10n).kind).toBe("refused");
});

test("settle() of more than was held posts all of it, the rest as a linked overage", () => {
  const { hold } = held();
  const { hold: after, entries } = settle(hold, 130n, 20n);
  expect(after).toMatchObject({ state: "posted", left: 0n });
  expect(entries.map(({ id, phase, txn, amount }) => [id, phase, txn, amount])).toEqual([
    ["settle:a1:r0:free", "released", "settle:a1:r0", 100n],
    ["settle:a1:r0", "posted", "settle:a1:r0", 100n],
    ["settle:a1:r0:over", "posted", "settle:a1:r0", 30n],
  ]);
});

test("settle() of nothing frees all of it", () => {
  const { hold, entries } = settle(held().hold, 0n, 20n);
  expect(hold.state).toBe("void");
  expect(entries.map(({ phase }) => phase)).toEqual(["released"]);
});

const endings = {
  settle: (hold: Hold, used: bigint) => settle(hold, used, 20n),
  void: (hold: Hold) => end(hold, "void", 20n),
  expire: (hold: Hold) => end(hold, "expired", 60n),
} as const;

for (const [name, finish] of Object.entries(endings)) {
  test(`a hold that has ended by ${name} ends no second time, and leaves nothing held`, () => {
    fc.assert(
      fc.property(fc.bigInt(0n, 300n), (used) => {
        const { hold, entries } = held();
        const first = finish(hold, used);
        expect(walletAfter([...entries, ...first.entries])?.heldDebit).toBe(0n);
        for (const again of Object.values(endings)) {
          expect(() => again(first.hold, used)).toThrow(/once/);
        }
      }),
    );
  });
}

test("renewed() never shortens", () => {
  const { hold } = held();
  expect([renewed(hold, 70n).expiresUs, renewed(hold, 20n).expiresUs]).toEqual([70n, 50n]);
});

test("gatewayOf() reads the gateway of a slice, and of nothing else", () => {
  const id = sliceId("g1" as GatewayId, "k:7");
  expect([gatewayOf({ id }), gatewayOf(ask)]).toEqual(["g1", undefined]);
});

test("OpenHolds keeps what is open, by account", () => {
  const holds = new OpenHolds();
  const { hold } = held();
  holds.apply([hold, { ...hold, id: "b", debit: "other" }]);
  expect(holds.on(ask.debit).map(({ id }) => id)).toEqual(["a1:r0"]);
  holds.apply([end(hold, "void", 20n).hold]);
  expect([holds.on(ask.debit), holds.all().length, holds.hold("a1:r0")]).toEqual([
    [],
    1,
    undefined,
  ]);
});
