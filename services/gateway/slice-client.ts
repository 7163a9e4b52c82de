import { randomUUID } from "node:crypto";
import { createClient, type Transport } from "@connectrpc/connect";
import type { GatewayId, RegionId } from "../core/units.ts";
import { Admission, QuotaService } from "../wire/gen/tokengrid/v1/package_pb.js";
import { fromAskedTokens, toBurnBook } from "../wire/package.ts";
import type { SliceAsk, SliceSource } from "./quota.ts";

/** What an answer may take; a request waits for it. */
const answerMsMax = 2_000;

/** Slices from the ledger. Asked again after a lost answer, it is another question: the first slice ends by itself. */
export function openSliceSource(options: {
  readonly transport: Transport;
  readonly gateway: GatewayId;
  readonly region: RegionId;
}): SliceSource {
  const { gateway: gatewayId, region: regionId } = options;
  const client = createClient(QuotaService, options.transport);
  const within = { timeoutMs: answerMsMax };
  return {
    async acquire({ key, model, tokens, times }: SliceAsk) {
      const { tenant: tenantId, department, project, scenario } = key;
      const asked = { ...fromAskedTokens(tokens), modelId: model, times, key: randomUUID() };
      const who = { gatewayId, regionId, tenantId, department, project, scenario };
      const { admission, reason, slices } = await client.acquireSlice({ ...who, ...asked }, within);
      if (admission === Admission.UNLIMITED) return { kind: "unlimited" };
      if (admission === Admission.REFUSED) return { kind: "refused", reason };
      const given = slices.map(({ sliceId: id, units, burn, ttlMs }) => {
        return { id, units, ttlMs: Number(ttlMs), burn: burn && toBurnBook(burn) };
      });
      const usable = given.flatMap(({ burn, ...slice }) => (burn ? [{ ...slice, burn }] : []));
      return { kind: "granted", slices: usable };
    },
    async renew(sliceIds) {
      const { slices } = await client.renewSlice({ gatewayId, sliceIds: [...sliceIds] }, within);
      return new Map(slices.map(({ sliceId, ttlMs }) => [sliceId, Number(ttlMs)]));
    },
    async giveBack(usedById) {
      const slices = [...usedById].map(([sliceId, used]) => ({ sliceId, used }));
      await client.returnSlice({ gatewayId, slices }, within);
    },
  };
}
