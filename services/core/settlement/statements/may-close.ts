import type { GatewayId, InstantUs } from "../../units.ts";
import type { Period } from "./period.ts";

/** A log that its counterparty has not witnessed for so long may not be closed over. */
export const unwitnessedMaxUs = 3_600_000_000n;

/** How long after its end a period waits for gateways. What comes of them later goes into the next one. */
export const closeGraceUs = 3_600_000_000n;

/** A gateway that may still have attempts of the period. */
export interface BehindGateway {
  readonly gateway: GatewayId;
  /** Up to when nothing of it is missing; undefined: it has not said. */
  readonly completeUntilUs: InstantUs | undefined;
}

/** What there is to know before a period is closed. */
export interface ClosingState {
  readonly period: Period;
  readonly nowUs: InstantUs;
  readonly behind: readonly BehindGateway[];
  /** Gateways of whose records some are missing and not given up. */
  readonly holes: readonly { readonly gateway: GatewayId; readonly epoch: bigint }[];
  /**
   * Since when the log has leaves that the counterparty's witness has not signed. Undefined: it has signed all, or the
   * pair has no witness.
   */
  readonly unwitnessedSinceUs: InstantUs | undefined;
  /** Days of a month that are not closed. */
  readonly openDays: readonly string[];
  /** The day before, if it is not closed: days are closed one after the other. */
  readonly dayBefore: string | undefined;
}

export type ClosingObjection =
  "not-over" | "day-before-open" | "days-open" | "open-attempts" | "producer-gap" | "unwitnessed";

/** The first that says something gives the reason. */
export const closingObjections = {
  "not-over": ({ period, nowUs }) =>
    nowUs < period.toUs ? `expected the period to end before now, found ${period.toUs}` : undefined,
  "day-before-open": ({ dayBefore }) =>
    dayBefore === undefined ? undefined : `expected ${dayBefore} to be closed first`,
  "days-open": ({ openDays }) =>
    openDays.length === 0
      ? undefined
      : `expected all days of the month to be closed, found ${openDays.length} open from ${openDays[0]} on`,
  "open-attempts": ({ behind, period, nowUs }) =>
    behind.length === 0 || nowUs >= period.toUs + closeGraceUs
      ? undefined
      : `expected every attempt of the period to be here, found ${behind.map(behindText).join(", ")}`,
  "producer-gap": ({ holes }) =>
    holes[0] === undefined
      ? undefined
      : `expected every record to be here, found gaps of ${holes.map(({ gateway, epoch }) => `${gateway}/${epoch}`).join(", ")}`,
  unwitnessed: ({ unwitnessedSinceUs: since, nowUs }) =>
    since === undefined || nowUs - since <= unwitnessedMaxUs
      ? undefined
      : `expected the counterparty's witness within ${unwitnessedMaxUs / 60_000_000n} minutes, found none for ${(nowUs - since) / 60_000_000n}`,
} as const satisfies Record<ClosingObjection, (state: ClosingState) => string | undefined>;

function behindText({ gateway, completeUntilUs }: BehindGateway): string {
  return completeUntilUs === undefined
    ? `no word of ${gateway}`
    : `${gateway} complete until ${completeUntilUs} alone`;
}

export type MayClose =
  | { readonly kind: "yes" }
  | { readonly kind: "no"; readonly reason: ClosingObjection; readonly detail: string };

/** Whether a period can be closed now, or why not. */
export function mayClose(state: ClosingState): MayClose {
  for (const [reason, objection] of Object.entries(closingObjections)) {
    const detail = objection(state);
    if (detail !== undefined) return { kind: "no", reason: reason as ClosingObjection, detail };
  }
  return { kind: "yes" };
}
