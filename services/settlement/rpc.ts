import { create } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import type { InstantUs, RequestId, TenantId, VendorId } from "../core/units.ts";
import type { LedgerStore, StoredUsage, UsageFilter, UsagePlace } from "../io/ledger-store.ts";
import { toConnectError } from "../wire/errors.ts";
import {
  SettlementService,
  StatementSchema,
  type Statement as WireStatement,
} from "../wire/gen/tokengrid/v1/settlement_pb.js";
import { UsageService, type UsageServiceListRequest } from "../wire/gen/tokengrid/v1/usage_pb.js";
import { required } from "../wire/field.ts";
import {
  fromOutcome,
  fromPosted,
  fromStatement,
  fromWaiting,
  toPeriod,
} from "../wire/settlement.ts";
import { toUsageRecord } from "../wire/usage.ts";
import { requireOperator, requireVendor, vendorOf } from "./caller.ts";
import type { Ingest } from "./ingest.ts";
import type { Statements } from "./statements.ts";

/** Items of a list that does not say how many it wants. */
const listItemsDefault = 100;

interface Parts {
  readonly store: LedgerStore;
  readonly ingest: Ingest;
  readonly statements: Statements;
  /** Everybody who may be owed something. */
  vendors(): Promise<ReadonlySet<string>>;
  nowUs(): InstantUs;
}

/** UsageService and SettlementService. */
export function serveSettlement(router: ConnectRouter, parts: Parts): void {
  const { store, ingest, statements } = parts;
  router.service(UsageService, {
    async record({ records }, { values }) {
      requireOperator(values);
      const outcomes = await ingest.record(records.map(toUsageRecord));
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
    async closeStatement({ vendorId, period }, { values }) {
      const vendor = required("vendor_id", vendorId) as VendorId;
      requireVendor(values, vendor);
      const asked = toPeriod(required("period", period));
      if (!(await parts.vendors()).has(vendor)) {
        throw toConnectError("NOT_FOUND", `vendor_id: nobody has heard of ${vendor}`);
      }
      const nowUs = parts.nowUs();
      if (asked.fromUs > nowUs) {
        const message = `period: expected one that has begun, found ${asked.fromUs} at ${nowUs}`;
        throw toConnectError("BAD_REQUEST", message, { metadata: { field: "period" } });
      }
      return { statement: fromStatement(await statements.close(vendor, asked)) };
    },
    async getStatement({ statementId }, { values }) {
      const statement = await store.statement(required("statement_id", statementId));
      // To a vendor, another's statement is as unknown as none.
      const own = vendorOf(values);
      if (statement === undefined || (own !== undefined && own !== statement.vendor)) {
        throw toConnectError("NOT_FOUND", `statement_id: there is no ${statementId}`);
      }
      return { statement: fromStatement(statement) };
    },
    async list({ vendorId, limit }, { values }) {
      const own = vendorOf(values);
      if (vendorId !== "") requireVendor(values, vendorId);
      const vendor = vendorId === "" ? own : vendorId;
      const found = await store.statements(
        vendor as VendorId | undefined,
        limit === 0 ? listItemsDefault : limit,
      );
      return { statements: found.map((each) => withoutLines(fromStatement(each))) };
    },
    async listVendors(_request, { values }) {
      const own = vendorOf(values);
      const vendors = [...(await parts.vendors())].toSorted();
      return { vendorIds: vendors.filter((each) => own === undefined || each === own) };
    },
  });
}

function toFilter(request: UsageServiceListRequest): UsageFilter {
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

function withoutLines(statement: WireStatement): WireStatement {
  return create(StatementSchema, { ...statement, lines: [], canonicalJson: "" });
}
