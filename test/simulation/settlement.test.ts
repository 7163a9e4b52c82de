/**
 * Gateways with their spools, a bus, the ledger with its logs and statements, vendors with their claims and witnesses, on
 * one virtual clock, from one seed. What is used is the product's own: `Spool`, `shipUsage`, `QuotaKeeper`, `Ingest`,
 * `SqlLedger` over SQLite, `Sealer`, `LogFollower`, `Claims`, `Disputes`, `Packages`, `Statements`. Virtual are time, disks,
 * network, and what people and engines do.
 *
 * Where each invariant of the reference (settlement.md, section 20) is looked at:
 *
 * | After every commit (`settlement-invariants.ts`) | I1 I3 I5 I6 I9 I10 I11 I12 I14 I15 I16 I17 I18 I20 I21 I22 I24 I29 I33 I36 |
 * | What a witness signs, before it says so (`settlement-vendor.ts`) | I21 I24 |
 * | Every sum of the ledger made again, at checkpoints (`settlement-checks.ts`) | I2 I3 I5 I6 I7 I18 I21 I22 I23 |
 * | Statements, when the days are closed | I8 I29 I32 I36 |
 * | Against the same records without a crash | I11 I13 |
 * | At the end (`settlement-liveness.ts`, `settlement-world.ts`) | I7 I13 I15 I17 I18 I21 I24 I27 I30 I31 I34 I35 |
 *
 * I4, I19, I25, I26 and I28 are of arithmetic, tokenizers and formats: their tests are properties and golden vectors.
 *
 * Do they bite? One planted at a time, with the seeds from 1 on:
 *
 * | Planted | Caught by |
 * | records are confirmed before they are committed | I13, a record that was promised is nowhere |
 * | the spool is trimmed when the bus has taken a batch | I13, the same |
 * | leaves are committed after their records | I22 |
 * | checkpoints are signed before they are kept | I24, a witness signs what is not kept |
 * | a hold that expired stays open and expires again | the ledger's own key, else I11 |
 * | a second winner of a request is billed too | I18 |
 * | a record that is there already is posted again | I13: the ledger's key refuses the batch, and the spool never empties |
 * | a witness signs a log that is smaller than before | I21 |
 */

import { expect, test } from "vitest";
import { testSeeds } from "./settlement-seeds.ts";
import { simulate } from "./settlement-world.ts";

testSeeds(1, 100);

test("simulate() with the same seed does the same, with another something else", async () => {
  const [first, other] = [await simulate(7), await simulate(8)];
  expect(await simulate(7)).toEqual(first);
  expect(other.digest).not.toBe(first.digest);
});
