import { create } from "@bufbuild/protobuf";
import type { ConnectRouter } from "@connectrpc/connect";
import type { ContextValues } from "@connectrpc/connect";
import type { MoneyEffect } from "../../core/settlement/claims/dispute-money.ts";
import {
  fromTransitionRecord,
  parseTransition,
} from "../../core/settlement/claims/dispute-record.ts";
import type { Dispute } from "../../core/settlement/claims/dispute.ts";
import type { InstantUs } from "../../core/units.ts";
import { toConnectError } from "../../wire/errors.ts";
import { required } from "../../wire/field.ts";
import {
  DisputeSchema,
  DisputeService,
  MoneyMoveSchema,
  type Dispute as WireDispute,
  type MoneyMove,
} from "../../wire/gen/tokengrid/v1/claim_pb.js";
import { requireVendor, vendorOf } from "../caller.ts";
import type { Disputes } from "./disputes.ts";

/** Disputes of a list that does not say how many it wants. */
const listDisputesDefault = 100;

export function serveDisputes(
  router: ConnectRouter,
  { disputes }: { readonly disputes: Disputes },
): void {
  const wire = (dispute: Dispute): WireDispute => fromDispute(dispute, disputes.dueUs(dispute));
  router.service(DisputeService, {
    async moveDispute({ transitionJson: text, jws }, { values }) {
      // A stranger is told nothing, not even what is wrong with a text.
      vendorOf(values);
      // Whose dispute it is stands in what is signed; who may not see a pair may not move it either.
      const transition = parseTransition(text);
      if (typeof transition !== "string") requirePair(values, transition.pair);
      const { dispute, moved } = await disputes.move(text, jws);
      return { dispute: wire(dispute), moved: moved.map(fromMove) };
    },
    async getDispute({ disputeId }, { values }) {
      vendorOf(values);
      const dispute = disputes.find(required("dispute_id", disputeId));
      // To a vendor, another's dispute is as unknown as none.
      if (dispute === undefined || !maySee(values, dispute.pair)) {
        throw toConnectError("NOT_FOUND", `dispute_id: there is no ${disputeId}`);
      }
      const documents = await disputes.transitions(disputeId);
      return {
        dispute: wire(dispute),
        transitions: documents.map(({ body }) => {
          const { text, jws, takenUs, moved } = fromTransitionRecord(body);
          return {
            transitionJson: text,
            jws: [...jws],
            atUs: takenUs,
            moved: moved.map(fromMove),
          };
        }),
      };
    },
    listDisputes({ pairId, state, limit }, { values }) {
      if (pairId !== "") requirePair(values, pairId);
      const found = disputes
        .list()
        .filter(({ pair }) => maySee(values, pair) && (pairId === "" || pair === pairId))
        .filter((dispute) => state === "" || dispute.state === state);
      const most = limit === 0 ? listDisputesDefault : limit;
      return { disputes: found.slice(0, most).map(wire) };
    },
  });
}

function maySee(values: ContextValues, pair: string): boolean {
  const own = vendorOf(values);
  return own === undefined || pair === `vendor:${own}`;
}

function requirePair(values: ContextValues, pair: string): void {
  if (!maySee(values, pair)) requireVendor(values, pair.replace(/^vendor:/, ""));
}

function fromDispute(dispute: Dispute, dueUs: InstantUs | undefined): WireDispute {
  const { approvedNano } = dispute;
  return create(DisputeSchema, {
    disputeId: dispute.id,
    pairId: dispute.pair,
    statementId: dispute.statement,
    opener: dispute.opener,
    reason: dispute.reason,
    state: dispute.state,
    amountNano: dispute.amountNano,
    ...(approvedNano === undefined ? {} : { approvedNano }),
    openedUs: dispute.openedUs,
    ...(dueUs === undefined ? {} : { dueUs }),
    transitions: dispute.transitions,
    lastHash: dispute.lastHash,
    items: dispute.items.map(({ account, amountNano }) => ({ account, amountNano })),
  });
}

function fromMove({ from, to, amountNano }: MoneyEffect): MoneyMove {
  return create(MoneyMoveSchema, { fromAccount: from, toAccount: to, amountNano });
}
