import type { AttemptOutcome, PlaceOutcome, Placement } from "../core/lease.ts";
import type { PlacementRequest } from "../core/placement/request.ts";
import type { LeaseId } from "../core/units.ts";
import type { Log } from "../io/log.ts";

/** No control replica answers now: decide alone, or refuse. */
export class UnavailableError extends Error {
  override name = "UnavailableError";
}

/** Placement as a gateway wants it: a call per attempt, whatever travels beneath. */
export interface PlacementClient {
  /** Throws `UnavailableError` if no replica answers, and the signal's reason if it is aborted. */
  place(request: PlacementRequest, signal: AbortSignal): Promise<PlaceOutcome>;
  /** Throws `UnavailableError` if no replica answers. */
  renew(lease: LeaseId, fence: number): Promise<{ readonly ttlMs: number } | "gone">;
  /** Never waits: queued, sent with the next batch, and forgotten beyond the bound, as leases expire by themselves. */
  release(placement: Placement, outcome: AttemptOutcome | undefined): void;
  /** Sends what is queued, then leaves. */
  close(): Promise<void>;
}

export async function openPlacementClient(_options: {
  readonly rpcUrl: string;
  readonly credential?: string | undefined;
  readonly log: Log;
  readonly signal: AbortSignal;
}): Promise<PlacementClient> {
  throw new UnavailableError("the placement stream is not connected");
}
