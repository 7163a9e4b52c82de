import type { ConnectRouter, ContextValues } from "@connectrpc/connect";
import type { InstantUs, PackageId, TenantId } from "../../core/units.ts";
import { toConnectError } from "../../wire/errors.ts";
import { required } from "../../wire/field.ts";
import { PackageService } from "../../wire/gen/tokengrid/v1/package_pb.js";
import {
  fromPackageReport,
  fromSku,
  fromWalletReport,
  toAllotmentAsk,
  toSku,
} from "../../wire/package.ts";
import { requireOperator, tenantOf } from "../caller.ts";
import type { Packages } from "./packages.ts";

/** PackageService. Tenants see their own packages; only the operator sells, allocates and refunds. */
export function servePackages(
  router: ConnectRouter,
  parts: { readonly packages: Packages; readonly nowUs: () => InstantUs },
): void {
  const { packages, nowUs } = parts;
  router.service(PackageService, {
    listSkus(_request, { values }) {
      tenantOf(values);
      return { skus: packages.catalog.skusAt(nowUs()).map(fromSku) };
    },
    async publishSku({ sku }, { values }) {
      requireOperator(values);
      return { sku: fromSku(await packages.publish(toSku(required("sku", sku), nowUs()))) };
    },
    async purchase({ packageId, tenantId, skuId, skuVersion }, { values }) {
      requireOperator(values);
      const { id } = await packages.purchase({
        id: required("package_id", packageId) as PackageId,
        tenant: required("tenant_id", tenantId) as TenantId,
        sku: required("sku_id", skuId),
        skuVersion,
      });
      return { package: fromPackageReport(await packages.report(id)) };
    },
    async allocate({ packageId, allocationId, allotments }, { values }) {
      requireOperator(values);
      const id = required("package_id", packageId) as PackageId;
      await packages.allocate(id, allocationId, allotments.map(toAllotmentAsk));
      return { package: fromPackageReport(await packages.report(id)) };
    },
    async refund({ packageId, refundId, units }, { values }) {
      requireOperator(values);
      const id = required("package_id", packageId) as PackageId;
      const refund = await packages.refund(id, refundId, units);
      const { refundNano, keptNano } = refund;
      const report = fromPackageReport(await packages.report(id));
      return { package: report, units: refund.units, refundNano, keptNano };
    },
    async listPackages({ tenantId }, { values }) {
      const reports = await packages.reports(asked(values, tenantId));
      return { packages: reports.map(fromPackageReport) };
    },
    async getWallets({ packageId, tenantId }, { values }) {
      const id = packageId === "" ? undefined : (packageId as PackageId);
      const reports = await packages.walletsOf(asked(values, tenantId), id);
      return { wallets: reports.map(fromWalletReport) };
    },
  });
}

/** The tenant whose packages are shown; undefined for all. */
function asked(values: ContextValues, tenantId: string): TenantId | undefined {
  const own = tenantOf(values);
  if (own !== undefined && tenantId !== "" && tenantId !== own) {
    throw toConnectError(
      "NOT_ALLOWED",
      `expected the key of tenant ${tenantId}, found that of tenant ${own}`,
    );
  }
  const tenant = own ?? tenantId;
  return tenant === "" ? undefined : (tenant as TenantId);
}
