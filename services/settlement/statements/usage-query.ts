import { create } from "@bufbuild/protobuf";
import { usPerHour } from "../../core/settlement/statements/period.ts";
import {
  hiddenFrom,
  marginNano,
  UsageSums,
  usageRowsMax,
  type Places,
  type UsageDimension,
  type UsageSum,
} from "../../core/settlement/statements/usage-sums.ts";
import { tokenClasses, tokenClassNames } from "../../core/settlement/counting/usage.ts";
import type { PairId, TenantId, VendorId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import { toConnectError } from "../../wire/errors.ts";
import {
  QueryUsageResponseSchema,
  UsageDimension as WireDimension,
  UsageSumSchema,
  type QueryUsageRequest,
  type QueryUsageResponse,
} from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import { required } from "../../wire/field.ts";
import { toPeriod } from "../../wire/settlement.ts";

/** Hours of the cube that are read at once. */
const hoursPerRead = 24n;

/** Adds up what was used. `own` is the pair of a caller that is no operator: it sees its own, and not the other side. */
export async function queryUsage(
  request: QueryUsageRequest,
  own: PairId | undefined,
  { store, places }: { readonly store: Pick<LedgerStore, "consumption">; readonly places: Places },
): Promise<QueryUsageResponse> {
  const period = toPeriod(required("period", request.period));
  const dimensions = request.groupBy.map((each) => wireDimensions[each]);
  const side = sideOf(own);
  refuseHidden(dimensions, side);
  const { tenant, vendor } = asked(request, own);
  const sums = new UsageSums(dimensions, { places, timeZone: period.timeZone });
  for (let at = period.fromUs; at < period.toUs; at += hoursPerRead * usPerHour) {
    const end = at + hoursPerRead * usPerHour;
    const rows = await store.consumption(tenant, at, end < period.toUs ? end : period.toUs);
    for (const { key, total } of rows) {
      const isAsked =
        (vendor === undefined || places.vendorOf(key.pool) === vendor) &&
        (request.modelId === "" || key.model === request.modelId);
      if (isAsked && !sums.add(key, total)) {
        throw toConnectError(
          "BAD_REQUEST",
          `group_by: expected at most ${usageRowsMax} rows, found more`,
        );
      }
    }
  }
  return create(QueryUsageResponseSchema, {
    rows: sums.rows.map((sum) => fromSum(sum, side)),
    hasSale: side !== "vendor",
    hasCost: side !== "tenant",
  });
}

type Side = "operator" | "tenant" | "vendor";

function sideOf(own: PairId | undefined): Side {
  if (own === undefined) return "operator";
  if (own.startsWith("vendor:")) return "vendor";
  if (own.startsWith("tenant:")) return "tenant";
  // Owners of models and channels are shown their leaves and statements, and nothing of tenants and vendors.
  throw toConnectError("NOT_ALLOWED", `expected the key of a tenant or a vendor, found ${own}`);
}

function refuseHidden(dimensions: readonly UsageDimension[], side: Side): void {
  if (side === "operator") return;
  const hidden = dimensions.find((each) => hiddenFrom[side].includes(each));
  if (hidden !== undefined) {
    throw toConnectError("NOT_ALLOWED", `group_by: a ${side} is not shown ${hidden}`);
  }
}

function asked(
  { tenantId, vendorId }: QueryUsageRequest,
  own: PairId | undefined,
): { readonly tenant: TenantId | undefined; readonly vendor: VendorId | undefined } {
  const [kind, id = ""] = own?.split(/:(.*)/s) ?? [];
  const wanted = { tenant: tenantId, vendor: vendorId };
  for (const [name, value] of Object.entries(wanted)) {
    const isOther = own !== undefined && value !== "" && (name !== kind || value !== id);
    if (isOther) throw toConnectError("NOT_ALLOWED", `${name}_id: expected none but your own`);
  }
  const tenant = kind === "tenant" ? id : tenantId;
  const vendor = kind === "vendor" ? id : vendorId;
  return {
    tenant: tenant === "" ? undefined : (tenant as TenantId),
    vendor: vendor === "" ? undefined : (vendor as VendorId),
  };
}

const wireDimensions: Readonly<Record<WireDimension, UsageDimension>> = {
  // Refused before it comes here.
  [WireDimension.UNSPECIFIED]: "tenant",
  [WireDimension.TENANT]: "tenant",
  [WireDimension.DEPARTMENT]: "department",
  [WireDimension.PROJECT]: "project",
  [WireDimension.SCENARIO]: "scenario",
  [WireDimension.MODEL]: "model",
  [WireDimension.POOL]: "pool",
  [WireDimension.REGION]: "region",
  [WireDimension.HUB]: "hub",
  [WireDimension.VENDOR]: "vendor",
  [WireDimension.HOUR]: "hour",
  [WireDimension.DAY]: "day",
  [WireDimension.MONTH]: "month",
};

function fromSum(sum: UsageSum, side: Side) {
  const { saleNano, coveredNano, billedNano, releasedNano, costNano } = sum;
  return create(UsageSumSchema, {
    keys: [...sum.keys],
    requests: sum.requests,
    tokensByClass: Object.fromEntries(
      tokenClasses.map((each) => [tokenClassNames[each], sum.tokens[each]]),
    ),
    ...(side === "vendor" ? {} : { saleNano, coveredNano, billedNano, releasedNano }),
    ...(side === "tenant" ? {} : { costNano }),
    ...(side === "operator" ? { marginNano: marginNano(sum) } : {}),
  });
}
