import { Registry } from "prom-client";
import { expect, onTestFinished, test } from "vitest";
import { toAcceptedText } from "../../services/core/settlement/claims/claim-batch-text.ts";
import { disputeEntries } from "../../services/core/settlement/claims/dispute-money.ts";
import type { Dispute, DisputeState } from "../../services/core/settlement/claims/dispute.ts";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import type {
  GatewayId,
  ModelId,
  PackageId,
  PairId,
  RegionId,
  TenantId,
} from "../../services/core/units.ts";
import { BookMetrics } from "../../services/settlement/book-metrics.ts";
import { Quota } from "../../services/settlement/packages/quota.ts";
import { Overage, PackageUnit } from "../../services/wire/gen/tokengrid/v1/package_pb.js";
import { friday } from "../core/settlement/fixtures.ts";
import { openPackageServer } from "./package-server.ts";

const pair = "vendor:northgrid" as PairId;
const cny = 1_000_000_000n;

function dispute(state: DisputeState, changes: Partial<Dispute> = {}): Dispute {
  return {
    ...{ id: `d-${state}`, pair, statement: "s", opener: "counterparty", reason: "QTY_OUTPUT" },
    ...{
      items: [{ account: "exp:leakage:unmetered", amountNano: 3n * cny }],
      amountNano: 3n * cny,
      ...{ known: { heldNano: 0n, evidenceNano: 0n }, nettedNano: 0n },
    },
    ...{ state, transitions: 2, lastHash: "", openedUs: friday, acknowledgedUs: undefined },
    ...{ heard: [], bundles: [], approvedNano: undefined, ...changes },
  };
}

function metrics(disputes: readonly Dispute[] = [], slices: () => number = () => 0) {
  const registry = new Registry();
  const books = new BookMetrics(registry, { disputes: () => disputes, slices });
  /** By label, without those that are 0. */
  const of = async (name: string): Promise<Record<string, number>> => {
    const metric = await registry.getSingleMetric(`tokengrid_${name}`)?.get();
    const values = (metric?.values ?? []).filter(({ value }) => value !== 0);
    return Object.fromEntries(
      values.map(({ labels, value }) => [Object.values(labels).join(" "), value]),
    );
  };
  return { books, of };
}

test("packages are counted in yuan as they are bought, given back and run out, and slices as they are held", async () => {
  const server = await openPackageServer();
  onTestFinished(server.close);
  const { writer, packages, clock, store } = server;
  const { books, of } = metrics([], () => writer.holds.all().length);
  writer.onCommitted((batch) => books.onCommitted(batch));
  await server.clientOf().publishSku({
    sku: {
      ...{ skuId: "trial", version: 1n, unit: PackageUnit.TOKENS, quantity: 1_000n },
      ...{ priceNano: 10n * cny, validityUs: 1_000_000n, overage: Overage.STOP, priority: 1 },
      ...{
        refundPpm: 500_000,
        burn: { denominator: 1n, rates: [{ modelId: "*", numerator: 1n }] },
      },
    },
  });
  const tenantId = "acme";
  await server.clientOf().purchase({ packageId: "p1", tenantId, skuId: "trial" });
  await server.clientOf().purchase({ packageId: "p2", tenantId, skuId: "trial" });
  // Half of the value of 200 of 1000 units; the rest of it is kept, and is no refund.
  await packages.refund("p1" as PackageId, "r1", 200n);
  const nowUs = (): bigint => clock.nowUs;
  const quota = new Quota({
    ...{ store, writer, holds: writer.holds, catalog: packages.catalog, nowUs },
    onRefused: () => books.onQuotaRefused(),
  });
  const ask = (key: string, responseTokens: bigint) =>
    server.quotaOf().acquireSlice({
      ...{ gatewayId: "g1", regionId: "r1", tenantId, modelId: "m", key, responseTokens },
    });
  await ask("k1", 100n);
  expect(await of("settlement_quota_slices")).toEqual({ "": 1 });
  const tooMuch = {
    ...{ gateway: "g1" as GatewayId, region: "r1" as RegionId, tenant: tenantId as TenantId },
    ...{ model: "m" as ModelId, key: "k2" },
    ...{ department: "", project: "", scenario: "", times: 1n },
    tokens: { ...noTokens, response: 99_999n },
  };
  expect(await quota.acquire(tooMuch)).toMatchObject({ kind: "refused" });
  expect(await of("settlement_quota_refusals_total")).toEqual({ "": 1 });
  clock.nowUs += 2_000_000n;
  await quota.sweep();
  await packages.sweep();
  expect(await of("settlement_packages_cny_total")).toEqual({
    purchase: 20,
    refund: 1,
    expire: 18,
  });
});

test("claims are counted by what became of them", async () => {
  const { books, of } = metrics();
  const refused = [{ claim: "c1", reason: "no" }];
  const body = toAcceptedText({ text: "{}", jws: "", receivedUs: friday, refused });
  const document = { kind: "claim-batch", id: "b", pair, atUs: friday, body, seq: 1n, hash: "" };
  const other = { ...document, kind: "dispute", body: "{}" };
  books.onCommitted({ entries: [], claims: [], documents: [document, other] });
  expect(await of("settlement_claims_total")).toEqual({ returned: 1 });
});

test("disputes are counted while somebody waits for somebody, by state", async () => {
  const states = ["opened", "opened", "evidence", "lapsed", "withdrawn", "settled"] as const;
  const { of } = metrics(states.map((state) => dispute(state)));
  expect(await of("settlement_disputes_open")).toEqual({ opened: 2, evidence: 1 });
});

test("usage that nobody metered and that is owed by a decision is leakage, whoever wrote it", async () => {
  const { books, of } = metrics();
  const decided = dispute("accepted-by-operator", { approvedNano: 2n * cny });
  const entries = disputeEntries(dispute("evidence"), decided, friday);
  books.onCommitted({ entries, claims: [], documents: [] });
  expect(await of("ledger_leakage_cny_total")).toEqual({ unmetered: 2 });
});
