import { expect, test } from "vitest";
import type { LedgerEntry } from "../../../services/core/settlement/ledger/ledger.ts";
import { newSigningKey } from "../../../services/io/signing.ts";
import { LogReader } from "../../../services/settlement/logs/log-reader.ts";
import { north, openProcess, startUs, usage } from "../log-fixtures.ts";

test("entries that are refused take no place in a log: the next leaf has it", async () => {
  const { store, writer } = await openProcess(":memory:", newSigningKey());
  const nothing: LedgerEntry = {
    id: "usage:a0:0",
    txn: "usage:a0:0",
    kind: "usage",
    phase: "posted",
    cause: "a0:0",
    atUs: startUs,
    unit: "CNY:nano",
    debit: "cost:cogs:northgrid:m",
    credit: "liab:payable:vendor:northgrid:accrued",
    amount: 0n,
    corrects: "",
  };
  const refused = { leaves: usage(north, 0, 3), entries: [nothing] };
  await expect(writer.write(async () => ({ change: refused, result: 0 }))).rejects.toThrow(
    "an amount is above 0",
  );
  await writer.write(async () => ({ change: { leaves: usage(north, 7, 2) }, result: 0 }));
  expect((await store.leaves(north, 0n, 10)).map(({ index, ref }) => [index, ref])).toEqual([
    [0n, "a7:0"],
    [1n, "a8:0"],
  ]);
  expect(await new LogReader(store).root(north, 2n)).toMatch(/^[0-9a-f]{64}$/);
});
