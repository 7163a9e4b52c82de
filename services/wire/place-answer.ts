import type { PlaceOutcome, Placement } from "../core/lease.ts";
import type { AttemptId, LeaseId } from "../core/units.ts";
import { unplaceableReasonWords } from "./placement.ts";
import type { BytesWriter } from "./protobuf-bytes.ts";

/* Answers of the fast lane, written without the messages in between. `place-codec.ts` reads what is asked. */

/** The fields of a `PlaceResponse`. */
export function writePlaceOutcome(writer: BytesWriter, outcome: PlaceOutcome): void {
  if (outcome.kind === "placed") {
    writer.inside(1, () => writePlacement(writer, outcome.placement));
    return;
  }
  writer.inside(2, () => {
    writer.uint(1, unplaceableReasonWords.fromWord(outcome.reason));
    for (const [filter, count] of outcome.poolsByFilter) {
      writer.inside(2, () => {
        writer.text(1, filter);
        writer.uint(2, count);
      });
    }
    writer.uint(3, outcome.retryAfterMs);
    writer.text(4, outcome.policyRow ?? "");
    writer.text(5, outcome.detail ?? "");
  });
}

function writePlacement(writer: BytesWriter, placement: Placement): void {
  const { lease, pool, fence, ttlMs } = placement;
  writer.inside(1, () => writeLease(writer, { lease, pool, fence, ttlMs }));
  writer.text(2, placement.vendor);
  writer.text(3, placement.engineModelName);
  writer.text(4, placement.priceBook);
  writer.uint(5, placement.priceVersion);
  writer.int(6, placement.costNano);
  writer.double(7, placement.ttftMsExpected);
  writer.text(8, placement.policyRow);
  writer.uint(9, placement.snapshotRevision);
  writer.uint(10, placement.policyRevision);
  writer.double(11, placement.joulesExpected);
  writer.double(12, placement.gramsCo2Expected);
  writer.text(13, placement.model ?? "");
}

/** A lease as its holder gets it. */
export type HeldLease = Pick<Placement, "lease" | "pool" | "fence" | "ttlMs">;

function writeLease(writer: BytesWriter, { lease, pool, fence, ttlMs }: HeldLease): void {
  writer.text(1, lease);
  writer.text(2, pool);
  writer.uint(3, fence);
  writer.uint(4, ttlMs);
}

/** One of the `places` of a `PlaceStreamResponse`. */
export function writePlaceResult(
  writer: BytesWriter,
  attempt: AttemptId,
  outcome: PlaceOutcome,
): void {
  writer.inside(1, () => {
    writer.text(1, attempt);
    writer.inside(2, () => writePlaceOutcome(writer, outcome));
  });
}

/** One of the `renewals` of a `PlaceStreamResponse`; a lease that is gone is undefined. */
export function writeRenewal(
  writer: BytesWriter,
  asked: LeaseId,
  renewed: HeldLease | undefined,
): void {
  writer.inside(2, () => {
    if (renewed === undefined) writer.inside(2, () => writer.text(1, asked));
    else writer.inside(1, () => writeLease(writer, renewed));
  });
}
