import { setTimeout } from "node:timers/promises";
import type { ConnectRouter } from "@connectrpc/connect";
import type { Places } from "../core/settlement/statements/usage-sums.ts";
import type { GatewayId, RequestId, TenantId, VendorId } from "../core/units.ts";
import type { LedgerStore, StoredUsage, UsageFilter, UsagePlace } from "../io/ledger-store.ts";
import { toConnectError } from "../wire/errors.ts";
import { SettlementService } from "../wire/gen/tokengrid/v1/settlement_pb.js";
import {
  UsageService,
  type ProducerMark,
  type UsageServiceListRequest,
} from "../wire/gen/tokengrid/v1/usage_pb.js";
import { fromOutcome, fromPosted, fromWaiting } from "../wire/settlement.ts";
import { toUsageRecord } from "../wire/usage.ts";
import { pairOf, requireOperator, vendorOf } from "./caller.ts";
import type { GatewayMark, Gateways } from "./ingest/gateways.ts";
import type { Ingest } from "./ingest/ingest.ts";
import { statementHandlers, type StatementRpcParts } from "./statements/statement-rpc.ts";
import { queryUsage } from "./statements/usage-query.ts";

/** Items of a list that does not say how many it wants. */
const listItemsDefault = 100;
const tailLimits = { intervalMs: 500, records: 1_000 } as const;

interface Parts extends StatementRpcParts {
  readonly ingest: Ingest;
  readonly gateways: Gateways;
  readonly places: Places;
  /** Everybody who may be owed something. */
  vendors(): Promise<ReadonlySet<string>>;
}

/** UsageService and SettlementService. */
export function serveSettlement(router: ConnectRouter, parts: Parts): void {
  const { store, ingest, gateways } = parts;
  router.service(UsageService, {
    async record({ records, mark }, { values }) {
      requireOperator(values);
      if (records.length === 0 && mark === undefined) {
        throw toConnectError("BAD_REQUEST", "records: expected one, or a mark, found neither");
      }
      const own = records.map(toUsageRecord);
      const outcomes = own.length === 0 ? [] : await ingest.record(own);
      for (const gateway of new Set(own.map((record) => record.gateway))) gateways.heard(gateway);
      if (mark !== undefined) gateways.note(toMark(mark));
      return { results: outcomes.map(fromOutcome) };
    },
    async list(request, { values }) {
      requireOperator(values);
      const limit = request.limit === 0 ? listItemsDefault : request.limit;
      const after = toPlace(request.pageToken);
      const usages = await store.usages(toFilter(request), { after, limit });
      const last = usages.length < limit ? undefined : usages.at(-1);
      return { usages: usages.map(fromUsage), nextPageToken: fromPlace(last) };
    },
  });
  router.service(SettlementService, {
    ...statementHandlers(parts),
    async listVendors(_request, { values }) {
      const own = vendorOf(values);
      const vendors = [...(await parts.vendors())].toSorted();
      return { vendorIds: vendors.filter((each) => own === undefined || each === own) };
    },
    async queryUsage(request, { values }) {
      return queryUsage(request, pairOf(values), parts);
    },
    async *tailUsage(request, { values, signal }) {
      requireOperator(values);
      yield* tailed(store, toFilter({ ...request, fromUs: 0n, toUs: 0n }), signal);
    },
  });
}

function toMark({ gatewayId, epoch, completeUntilUs }: ProducerMark): GatewayMark {
  return { gateway: gatewayId as GatewayId, epoch, completeUntilUs };
}

/** Looks again and again; what it has told it knows by the record's id. */
async function* tailed(store: LedgerStore, filter: UsageFilter, signal: AbortSignal) {
  const newest = async () => store.usages(filter, { after: undefined, limit: tailLimits.records });
  let seen = new Set((await newest()).map(({ record }) => record));
  // Says at once that it listens.
  yield { usages: [], leftOut: 0n };
  while (!signal.aborted) {
    await pause(tailLimits.intervalMs, signal);
    const found = await newest();
    const fresh = found.filter(({ record }) => !seen.has(record));
    const isCut = fresh.length === tailLimits.records;
    if (fresh.length > 0) {
      yield { usages: fresh.toReversed().map(fromUsage), leftOut: isCut ? 1n : 0n };
    }
    seen = new Set(found.map(({ record }) => record));
  }
}

/** Ends early, without a word, when the signal says stop. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  try {
    await setTimeout(ms, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}

function toFilter(
  request: Pick<UsageServiceListRequest, "vendorId" | "tenantId" | "requestId" | "fromUs" | "toUs">,
): UsageFilter {
  const { vendorId, tenantId, requestId, fromUs, toUs } = request;
  return {
    ...(vendorId === "" ? {} : { vendor: vendorId as VendorId }),
    ...(tenantId === "" ? {} : { tenant: tenantId as TenantId }),
    ...(requestId === "" ? {} : { request: requestId as RequestId }),
    ...(fromUs === 0n ? {} : { fromUs }),
    ...(toUs === 0n ? {} : { toUs }),
  };
}

function fromUsage(usage: StoredUsage) {
  return usage.state === "posted" ? fromPosted(usage) : fromWaiting(usage);
}

/** `<opened_us>:<rev>:<attempt>`; empty at the end of the list. */
function fromPlace(place: UsagePlace | undefined): string {
  return place === undefined ? "" : `${place.openedUs}:${place.rev}:${place.attempt}`;
}

function toPlace(token: string): UsagePlace | undefined {
  if (token === "") return undefined;
  const [, openedUs, rev, attempt] = /^(-?\d{1,18}):(\d{1,9}):(.+)$/s.exec(token) ?? [];
  if (openedUs === undefined || rev === undefined || attempt === undefined) {
    throw toConnectError("BAD_REQUEST", `page_token: expected one of an answer, found ${token}`);
  }
  return { openedUs: BigInt(openedUs), rev: BigInt(rev), attempt };
}
