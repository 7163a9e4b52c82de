import type { ConnectRouter } from "@connectrpc/connect";
import type { Netting } from "../../core/settlement/claims/netting.ts";
import type { PairId } from "../../core/units.ts";
import { NettingService, type RunNettingRequest } from "../../wire/gen/tokengrid/v1/claim_pb.js";
import { requireOperator } from "../caller.ts";
import type { NettingAsked, NettingRuns } from "./netting.ts";

export function serveNetting(
  router: ConnectRouter,
  { netting }: { readonly netting: NettingRuns },
): void {
  router.service(NettingService, {
    async runNetting(request, { values }) {
      requireOperator(values);
      const asked = toAsked(request);
      if (request.dryRun) {
        const { netting: shown, texts } = await netting.preview(asked);
        const toSign = [...texts].map(([pairId, textJson]) => ({ pairId, textJson }));
        return { ...fromNetting(shown), canonicalJson: "", toSign };
      }
      const { consents, atUs } = request;
      const jwsByPair = new Map(consents.map(({ pairId, jws }) => [pairId as PairId, jws]));
      const { netting: done, text } = await netting.run(asked, { atUs, jwsByPair });
      return { ...fromNetting(done), canonicalJson: text };
    },
  });
}

function toAsked({ nettingId, parties, obligations }: RunNettingRequest): NettingAsked {
  return {
    id: nettingId,
    parties: parties.map(({ party, items }) => ({
      party,
      items: items.map(({ pairId, amountNano }) => ({ pair: pairId as PairId, amountNano })),
    })),
    obligations: obligations.map((each) => ({
      id: each.obligationId,
      from: each.fromPairId as PairId,
      to: each.toPairId as PairId,
      amountNano: each.amountNano,
    })),
  };
}

function fromNetting({ id, atUs, positions, operatorNano, setOffs }: Netting) {
  return {
    nettingId: id,
    atUs,
    positions: [...positions],
    operatorNano,
    setOffs: setOffs.map(({ party, payable, receivable, amountNano }) => ({
      party,
      payablePairId: payable,
      receivablePairId: receivable,
      amountNano,
    })),
  };
}
