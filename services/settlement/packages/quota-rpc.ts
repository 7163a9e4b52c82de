import type { ConnectRouter } from "@connectrpc/connect";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { GatewayId, InstantUs, ModelId, RegionId, TenantId } from "../../core/units.ts";
import {
  Admission,
  QuotaService,
  type AcquireSliceResponseSchema,
  type SliceSchema,
} from "../../wire/gen/tokengrid/v1/package_pb.js";
import { fromBurnBook, toAskedTokens } from "../../wire/package.ts";
import { requireOperator } from "../caller.ts";
import type { Grant, GrantedSlice, Quota } from "./quota.ts";

/** QuotaService, for the operator's gateways alone. */
export function serveQuota(
  router: ConnectRouter,
  parts: { readonly quota: Quota; readonly nowUs: () => InstantUs },
): void {
  const { quota, nowUs } = parts;
  router.service(QuotaService, {
    async acquireSlice(request, { values }) {
      requireOperator(values);
      const { key, department, project, scenario, times } = request;
      const grant = await quota.acquire({
        gateway: request.gatewayId as GatewayId,
        region: request.regionId as RegionId,
        tenant: request.tenantId as TenantId,
        model: request.modelId as ModelId,
        tokens: toAskedTokens(request),
        times: times === 0 ? 1n : BigInt(times),
        ...{ key, department, project, scenario },
      });
      return fromGrant(grant, nowUs());
    },
    async renewSlice({ gatewayId, sliceIds }, { values }) {
      requireOperator(values);
      const slices = await quota.renew(gatewayId as GatewayId, sliceIds);
      return { slices: slices.map((each) => fromSlice(each, nowUs())) };
    },
    async returnSlice({ gatewayId, slices }, { values }) {
      requireOperator(values);
      const used = new Map(slices.map((each) => [each.sliceId, each.used]));
      await quota.giveBack(gatewayId as GatewayId, used);
      return {};
    },
  });
}

function fromGrant(
  grant: Grant,
  nowUs: InstantUs,
): MessageInitShape<typeof AcquireSliceResponseSchema> {
  switch (grant.kind) {
    case "unlimited":
      return { admission: Admission.UNLIMITED };
    case "granted": {
      const slices = grant.slices.map((each) => fromSlice(each, nowUs));
      return { admission: Admission.GRANTED, slices };
    }
    case "refused":
      return { admission: Admission.REFUSED, reason: grant.reason };
  }
}

function fromSlice(
  { hold, package: each }: GrantedSlice,
  nowUs: InstantUs,
): MessageInitShape<typeof SliceSchema> {
  return {
    sliceId: hold.id,
    packageId: each.id,
    units: hold.amount,
    left: hold.left,
    ttlMs: (hold.expiresUs - nowUs) / 1_000n,
    burn: fromBurnBook(each.sku.burn),
  };
}
