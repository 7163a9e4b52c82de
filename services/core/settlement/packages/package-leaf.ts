import type { TenantId } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import type { Purchase, Refund, Sku } from "./token-package.ts";

/** What a tenant is billed for a package, on the day that it was bought. */
export function purchaseLeafText(purchase: Purchase, sku: Sku, booking: string): string {
  const { id, tenant, atUs, expiresUs } = purchase;
  return canonicalJson({
    ...{ type: "purchase", v: "1", package_id: id, tenant_id: tenant, at_us: atUs, booking },
    ...{ sku_id: sku.id, sku_version: sku.version, quantity: sku.quantity },
    ...{ expires_us: expiresUs, amount_nano: sku.priceNano, currency: "CNY" },
  });
}

/** What a tenant gets back for unused units, on the day that it gave them back. */
export function refundLeafText(
  refund: Refund,
  of: { readonly tenant: TenantId; readonly sku: Sku; readonly booking: string },
): string {
  const { id, package: packageId, atUs, units, refundNano, keptNano } = refund;
  const { tenant, sku, booking } = of;
  return canonicalJson({
    ...{ type: "refund", v: "1", refund_id: id, package_id: packageId, tenant_id: tenant },
    ...{ at_us: atUs, booking, sku_id: sku.id, sku_version: sku.version, units },
    ...{ amount_nano: -refundNano, kept_nano: keptNano, currency: "CNY" },
  });
}
