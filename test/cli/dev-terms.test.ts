import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { afterAll, expect, test } from "vitest";
import { proposeRetail, retailOf, signAsParties } from "../../services/cli/dev/dev-terms.ts";
import { checkPrices } from "../../services/core/settlement/pricing/price-check.ts";
import type { PairId } from "../../services/core/units.ts";
import { identityKey, type Identity } from "../../services/io/grpc-identity.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { newSigningKey } from "../../services/io/signing.ts";
import { Documents } from "../../services/settlement/documents.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { serveTerms } from "../../services/settlement/terms/terms-rpc.ts";
import { Terms } from "../../services/settlement/terms/terms.ts";
import { ContractService } from "../../services/wire/gen/tokengrid/v1/contract_pb.js";
import { priceBook, us } from "../core/settlement/fixtures.ts";

const now = us("2026-11-20T10:00:00+08:00");
const folder = mkdtempSync(join(tmpdir(), "dev-terms-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const listed = priceBook({ calendar: loadCalendar() });

test("retailOf() sells each class at the dearest price of any vendor, without a gap", () => {
  const dearer = priceBook({
    lines: listed.lines.map((line) => ({
      ...line,
      tiers: line.tiers.map((tier) => ({
        ...tier,
        pricePicoPerToken: 2n * tier.pricePicoPerToken,
      })),
    })),
  });
  const retail = retailOf([listed, dearer]);
  expect(retail && checkPrices(retail)).toEqual([]);
  expect(retail?.lines.map(({ tiers }) => tiers)).toEqual(dearer.lines.map(({ tiers }) => tiers));
  expect(retailOf([])).toBeUndefined();
});

test("at the first start of dev all parties sign, and at the next nobody has anything to sign", async () => {
  const store = await openSqliteLedger(":memory:");
  const log = openLog({ role: "test", level: "silent" });
  const writer = new LedgerWriter({ store, log });
  const documents = new Documents();
  const key = newSigningKey();
  const operator = { kid: "operator", publicKey: key.publicKey, sign: key.sign };
  const calendars = [loadCalendar()];
  const terms = new Terms({ documents, writer, operator, calendars, nowUs: () => now, log });
  await documents.follow(store, writer);
  await terms.start();
  await terms.adopt(listed, undefined);
  const as = (identity: Identity) =>
    createClient(
      ContractService,
      createRouterTransport((router) => serveTerms(router, { terms }), {
        router: {
          interceptors: [
            (next) => async (request) => {
              request.contextValues.set(identityKey, identity);
              return next(request);
            },
          ],
        },
      }),
    );
  const start = async (): Promise<number> => {
    await proposeRetail({
      operator: as({ kind: "operator", subject: "operator" }),
      tenant: "dev",
      buyBooks: [listed],
      nowUs: now,
    });
    return signAsParties(
      (["vendor:northgrid", "tenant:dev"] as const).map((pair) => {
        const [kind, subject] = pair.split(":") as ["vendor" | "tenant", string];
        return { pair, contracts: as({ kind, subject }), keyPath: join(folder, `${subject}.pem`) };
      }),
    );
  };
  expect(await start()).toBe(2);
  expect(terms.waiting).toEqual([]);
  expect(terms.state.bookVersion(listed.id, 1n)).toEqual(listed);
  expect(terms.state.contractAt("tenant:dev" as PairId, now + 5_000_000n)).toMatchObject({
    sellBook: "dev-retail",
  });
  expect(await start()).toBe(0);
  await store.close();
});
