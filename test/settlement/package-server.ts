import { createClient, createRouterTransport } from "@connectrpc/connect";
import { settleSale } from "../../services/core/settlement/packages/sale.ts";
import { saleEntries } from "../../services/core/settlement/packages/sale-entries.ts";
import { defaultSplitRule } from "../../services/core/settlement/packages/split.ts";
import { noTokens } from "../../services/core/settlement/counting/usage.ts";
import { accountsOf, Wallets } from "../../services/core/settlement/packages/wallet.ts";
import type {
  AttemptId,
  GatewayId,
  InstantUs,
  ModelId,
  PairId,
  RequestId,
  TenantId,
} from "../../services/core/units.ts";
import { identityKey, localOperator, type Identity } from "../../services/io/grpc-identity.ts";
import { validation } from "../../services/io/grpc-validation.ts";
import { openSqliteLedger } from "../../services/io/ledger-sqlite.ts";
import { openLog } from "../../services/io/log.ts";
import { LedgerWriter } from "../../services/settlement/ingest/ledger-writer.ts";
import { servePackages } from "../../services/settlement/packages/packages-rpc.ts";
import { Packages } from "../../services/settlement/packages/packages.ts";
import { serveQuota } from "../../services/settlement/packages/quota-rpc.ts";
import { Quota } from "../../services/settlement/packages/quota.ts";
import { PackageService, QuotaService } from "../../services/wire/gen/tokengrid/v1/package_pb.js";

/** What a record in the ledger took. */
export interface Posted {
  readonly tenant?: string;
  readonly tokens: bigint;
  readonly gateway?: string;
  readonly department?: string;
}

/** PackageService and QuotaService over a ledger in a file or in memory, with a clock that is set. */
export async function openPackageServer(path = ":memory:") {
  const clock = { nowUs: 1_000_000n as InstantUs };
  const store = await openSqliteLedger(path);
  const writer = new LedgerWriter({ store, log: openLog({ role: "test", level: "silent" }) });
  await writer.loadHolds();
  const nowUs = (): InstantUs => clock.nowUs;
  const parts = { store, writer, holds: writer.holds, nowUs };
  const packages = new Packages({ ...parts, bookingOf: () => "2026-11-20", expiryGraceUs: 10n });
  await packages.load();
  writer.onCommitted((batch) => packages.onCommitted(batch));
  const quota = new Quota({ ...parts, catalog: packages.catalog, sliceTtlUs: 1_000n });
  const transportOf = (caller: Identity) =>
    createRouterTransport(
      (router) => {
        servePackages(router, { packages, nowUs });
        serveQuota(router, { quota, nowUs });
      },
      {
        router: {
          interceptors: [validation],
          requestGate: ({ values }) => {
            values.set(identityKey, caller);
          },
        },
      },
    );
  let attempts = 0;
  const sell = async ({ tenant = "acme", tokens, gateway = "g1", department = "" }: Posted) => {
    const name = `a${++attempts}`;
    return writer.write(async () => {
      const key = { department, project: "", scenario: "", gateway: gateway as GatewayId };
      const valid = packages.catalog.valid(tenant as TenantId, clock.nowUs);
      const wallets = new Wallets(await store.balancesOf(accountsOf(valid)), writer.holds);
      const of = { tenant: tenant as TenantId, openedUs: clock.nowUs };
      const sale = settleSale({
        ...{ record: `${name}:0`, attempt: name as AttemptId, rev: 0n, request: name as RequestId },
        ...{ tenant: of.tenant, model: "m" as ModelId },
        tokens: { ...noTokens, response: tokens },
        charges: [
          { line: "s:1:m", tokens, pico: tokens * 4_000_000n, amountNano: tokens * 4_000n },
        ],
        packages: valid.map((each) => wallets.stateOf(each, { ...key, ...of })),
        rateParts: [],
        rule: defaultSplitRule,
        parties: { computing: "vendor:v" as PairId, model: undefined, channel: undefined },
      });
      const change = { entries: saleEntries(sale, clock.nowUs), holds: wallets.drawn(sale) };
      return { change, result: sale };
    });
  };
  return {
    ...{ clock, store, writer, packages, quota, sell },
    clientOf: (caller: Identity = localOperator) =>
      createClient(PackageService, transportOf(caller)),
    quotaOf: (caller: Identity = localOperator) => createClient(QuotaService, transportOf(caller)),
    close: async () => {
      await writer.drain();
      await store.close();
    },
  };
}
