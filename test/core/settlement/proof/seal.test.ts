import fc from "fast-check";
import { expect, test } from "vitest";
import type { Unit } from "../../../../services/core/settlement/ledger/ledger.ts";
import { verifyInclusion } from "../../../../services/core/settlement/proof/merkle.ts";
import { sealLine, sealOf, sealText } from "../../../../services/core/settlement/proof/seal.ts";
import {
  foldRight,
  inclusionPlan,
  perfectRoot,
} from "../../../../services/core/settlement/proof/tiles.ts";
import type { PairId } from "../../../../services/core/units.ts";
import { tree } from "../proof-fixtures.ts";

const book = { pair: "vendor:northgrid" as PairId, period: "2026-09" };
const amount = fc.bigInt({ min: 0n, max: 10n ** 18n });
const balances = fc.uniqueArray(
  fc.record({
    unit: fc.constantFrom<Unit>("CNY:nano", "POINT:milli", "TOK-a:1"),
    account: fc.stringMatching(/^[a-z:-]{1,12}$/),
    balance: fc.record({ debit: amount, credit: amount, heldDebit: amount, heldCredit: amount }),
  }),
  { selector: ({ unit, account }) => `${unit} ${account}`, minLength: 1, maxLength: 30 },
);

test("sealOf() does not depend on the order of the balances, and any one can be shown alone", () => {
  fc.assert(
    fc.property(balances, fc.nat(), (some, which) => {
      const seal = sealOf(book, some, tree);
      expect(sealOf(book, some.toReversed(), tree)).toEqual(seal);
      const leaves = seal.lines.map((line) => tree.leaf(line));
      const shown = some[which % some.length];
      const line = shown === undefined ? "" : sealLine(shown);
      const index = BigInt(seal.lines.indexOf(line));
      const size = BigInt(leaves.length);
      const path = inclusionPlan(index, size).map((trees) =>
        foldRight(
          trees.map((each) => {
            const from = Number(each.index) * 2 ** each.height;
            return perfectRoot(leaves.slice(from, from + 2 ** each.height), tree);
          }),
          tree,
        ),
      );
      const inclusion = { index, size, leaf: tree.leaf(line), root: seal.root, path };
      expect(verifyInclusion(inclusion, tree)).toBe(true);
    }),
  );
});

test("sealText() is canonical and names pair, period, root and how many accounts", () => {
  const balance = { debit: 5n, credit: 0n, heldDebit: 0n, heldCredit: 0n };
  const seal = sealOf(book, [{ unit: "CNY:nano", account: "cash", balance }], tree);
  expect(seal.lines).toEqual([
    '{"account":"cash","credit":"0","debit":"5","held_credit":"0","held_debit":"0","unit":"CNY:nano"}',
  ]);
  expect(sealText(seal)).toBe(
    `{"accounts":"1","pair_id":"vendor:northgrid","period":"2026-09","root":"${seal.root}","type":"seal","v":"1"}`,
  );
});

test("a seal without balances is that of an empty tree", () => {
  expect(sealOf(book, [], tree).root).toBe(tree.empty);
});
