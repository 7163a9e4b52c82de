import { toJsonString } from "@bufbuild/protobuf";
import { createClient, createRouterTransport, type Interceptor } from "@connectrpc/connect";
import { Registry as Metrics } from "prom-client";
import { dayOf } from "../../services/core/settlement/statements/period.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { UsageRecord } from "../../services/core/settlement/counting/usage.ts";
import type { InstantUs } from "../../services/core/units.ts";
import { identityKey, localOperator, type Identity } from "../../services/io/grpc-identity.ts";
import { validation } from "../../services/io/grpc-validation.ts";
import { openLog } from "../../services/io/log.ts";
import { loadCalendar } from "../../services/io/preset.ts";
import { signDetached } from "../../services/core/settlement/proof/jws.ts";
import { termsJwsType } from "../../services/core/settlement/terms/consent.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import { newSigningKey } from "../../services/io/signing.ts";
import { openSettlement } from "../../services/settlement/main.ts";
import {
  ClaimService,
  ReconcileService,
  type Discrepancy,
} from "../../services/wire/gen/tokengrid/v1/claim_pb.js";
import { ContractService } from "../../services/wire/gen/tokengrid/v1/contract_pb.js";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { UsageService } from "../../services/wire/gen/tokengrid/v1/usage_pb.js";
import { fromPriceBook } from "../../services/wire/price.ts";
import { fromUsageRecord } from "../../services/wire/usage.ts";
import { friday, priceBook } from "../core/settlement/fixtures.ts";

export const kid = "vendor:northgrid/test";
const vendorId = "northgrid";

/** What becomes of a call on its way: it may be lost, or its answer. */
export type Fate = "answered" | "lost" | "answer-lost";

/** Settlement in a folder of its own, and a vendor that it knows the key of. */
export async function openSettlementServer(folder: string) {
  const registry = await openSqliteRegistry(`${folder}/registry.sqlite`);
  const log = openLog({ role: "test", level: "silent" });
  const stop = new AbortController();
  const clock = { nowUs: (friday + 3_600_000_000n) as InstantUs };
  const publish = async (book: PriceBook): Promise<void> => {
    const value = toJsonString(PriceBookSchema, fromPriceBook(book));
    const key = `${book.id}@${book.version}`;
    const { vendor: author } = book;
    await registry.set({ kind: "price-book", key, baseRevision: 0, value, author, comment: "" });
  };
  await publish(priceBook({ calendar: loadCalendar() }));
  const settlement = await openSettlement({
    ...{ registry, ledger: `${folder}/ledger.sqlite`, log, metrics: new Metrics() },
    ...{ clock: { now: () => Number(clock.nowUs / 1_000n) }, signal: stop.signal },
    ...{ domain: "grid.example", secretsPath: `${folder}/secrets` },
  });
  const fates: Fate[] = [];
  const calls: string[] = [];
  const fate: Interceptor = (next) => async (request) => {
    calls.push(request.method.name);
    const word =
      request.method.name === "SubmitClaims" ? (fates.shift() ?? "answered") : "answered";
    if (word === "lost") throw new Error("the link was cut before the call");
    const answer = await next(request);
    if (word === "answer-lost") throw new Error("the link was cut before the answer");
    return answer;
  };
  const transportOf = (caller: Identity) =>
    createRouterTransport((router) => settlement.routes(router), {
      transport: { interceptors: [fate] },
      router: {
        interceptors: [validation],
        requestGate: ({ values }) => {
          values.set(identityKey, caller);
        },
      },
    });
  const transport = transportOf({ kind: "vendor", subject: vendorId });
  const operator = transportOf(localOperator);
  const key = newSigningKey();
  const contracts = createClient(ContractService, transport);
  await contracts.registerPartyKey({
    ...{ partyId: `vendor:${vendorId}`, kid, publicKey: key.publicKey },
  });
  /** Whatever waits for the vendor's signature. */
  const signAll = async (): Promise<void> => {
    for (const { kind, termsId, missingParties } of (await contracts.listTerms({})).terms) {
      if (!missingParties.includes(`vendor:${vendorId}`)) continue;
      const { terms } = await contracts.getTerms({ kind, termsId });
      const { canonicalJson = "", hash = "" } = terms ?? {};
      const jws = signDetached(canonicalJson, { kid, typ: termsJwsType }, key.sign);
      await contracts.signTerms({ kind, termsId, hash, jws });
    }
  };
  const day = dayOf(friday, "Asia/Shanghai");
  const claims = createClient(ClaimService, transport);
  return {
    ...{ clock, fates, calls, transport, key, log, publish, signAll },
    post: async (records: readonly UsageRecord[]): Promise<void> => {
      const usage = createClient(UsageService, operator);
      await usage.record({ records: records.map((each) => fromUsageRecord(each)) });
    },
    chain: async () => claims.getClaimChain({ vendorId }),
    listed: async () => (await claims.listClaims({ vendorId, period: day, limit: 1_000 })).claims,
    reconcile: async () => {
      const found: Discrepancy[] = [];
      const counts: Record<string, string> = {};
      const asked = { vendorId, period: day };
      for await (const { part } of createClient(ReconcileService, operator).reconcile(asked)) {
        if (part.case === "discrepancies") found.push(...part.value.discrepancies);
        for (const { bucket, ours, theirs } of part.case === "report" ? part.value.buckets : []) {
          const [a, b] = [ours?.items ?? 0n, theirs?.items ?? 0n];
          if (a + b > 0n) counts[bucket] = `${a}+${b}`;
        }
      }
      return { found, counts };
    },
    close: async () => {
      stop.abort();
      await settlement.close();
      await registry.close();
    },
  };
}

export type SettlementServer = Awaited<ReturnType<typeof openSettlementServer>>;
