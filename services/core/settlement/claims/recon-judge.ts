import type { InstantUs } from "../../units.ts";
import {
  inputOf,
  isEqual,
  isNothing,
  isWithin,
  outputOf,
  type Counted,
  type Tolerance,
} from "./counted.ts";
import type { DisputeReason } from "./dispute-reason.ts";
import { tokenClasses } from "../counting/usage.ts";

/** Where a record and a claim end up: each in exactly one. */
export const buckets = [
  "matched",
  /** Two counts of the same that differ by no more than the contract lets pass. */
  "in-tolerance",
  "quantity",
  /** Ours alone. */
  "missing-vendor",
  /** Theirs alone. */
  "missing-operator",
  /** One more of an attempt: the first counts. */
  "duplicate",
  "price",
  /** Moved: one party has it just inside the period, the other just outside. */
  "period",
  /** Right, but after the books were closed. */
  "late",
  /** Looked at only for the sake of its counterpart: of the hour around the period. */
  "outside",
] as const;

export type Bucket = (typeof buckets)[number];

/** `severe` is given back, the rest passes; `warning` is written down. What refuses a whole batch or statement is `fatal`. */
export type Severity = "fatal" | "severe" | "warning";

/** The record that a claim without one belongs to is open, crashed or in quarantine; or there is none at all. */
export type Orphan = "orphan" | "phantom";

export interface Verdict {
  readonly bucket: Bucket;
  readonly severity: Severity | undefined;
  /** What a dispute about it would say. */
  readonly reason: DisputeReason | undefined;
}

/** Includes its start and excludes its end. */
export interface Span {
  readonly fromUs: InstantUs;
  readonly toUs: InstantUs;
}

/** Two counts of one attempt. The same whichever party is first, but for whose the difference is. */
export function judgePair(a: Counted, b: Counted, tolerance: Tolerance, span: Span): Verdict {
  const inside = Number(isInside(a, span)) + Number(isInside(b, span));
  if (inside === 0) return outside;
  const price = priceReason(a, b);
  if (price !== undefined) return { bucket: "price", severity: "severe", reason: price };
  const isSame = isEqual(a.tokens, b.tokens);
  if (!isSame && !mayPass(a, b, tolerance)) {
    return { bucket: "quantity", severity: "severe", reason: quantityReason(a, b) };
  }
  if (inside === 1) return { bucket: "period", severity: "warning", reason: "PERIOD" };
  if (a.isLate || b.isLate) return { bucket: "late", severity: "warning", reason: "PERIOD" };
  return isSame ? matched : inTolerance;
}

/** Nobody answers for it on the other side. */
export function judgeAlone(
  item: Counted,
  side: "ours" | "theirs",
  options: { readonly span: Span; readonly orphan: Orphan },
): Verdict {
  if (!isInside(item, options.span)) return outside;
  // Who counted nothing owes and claims nothing: nobody has to answer.
  if (isNothing(item.tokens)) return matched;
  if (side === "ours") {
    return { bucket: "missing-vendor", severity: "warning", reason: undefined };
  }
  return options.orphan === "orphan"
    ? { bucket: "missing-operator", severity: "warning", reason: undefined }
    : { bucket: "missing-operator", severity: "severe", reason: "PHANTOM" };
}

export function judgeDuplicate(item: Counted, span: Span): Verdict {
  return isInside(item, span)
    ? { bucket: "duplicate", severity: "severe", reason: "DUPLICATE" }
    : outside;
}

export function isInside({ openedUs }: Counted, { fromUs, toUs }: Span): boolean {
  return openedUs >= fromUs && openedUs < toUs;
}

const outside: Verdict = { bucket: "outside", severity: undefined, reason: undefined };
const matched: Verdict = { bucket: "matched", severity: undefined, reason: undefined };
const inTolerance: Verdict = { bucket: "in-tolerance", severity: undefined, reason: undefined };

/** Counts of one stream are equal; recounts may differ by a little. */
function mayPass(a: Counted, b: Counted, tolerance: Tolerance): boolean {
  if (a.isExact && b.isExact) return false;
  for (const each of tokenClasses) {
    if (!isWithin(a.tokens[each], b.tokens[each], tolerance)) return false;
  }
  return true;
}

function priceReason(a: Counted, b: Counted): DisputeReason | undefined {
  if (a.model !== b.model || a.pool !== b.pool) return "MODEL_SUBSTITUTED";
  if (differ(a.slot, b.slot)) return "TOU";
  return differ(a.priceHash, b.priceHash) ? "PRICE" : undefined;
}

/** Both say something, and not the same. */
function differ(a: string, b: string): boolean {
  return a !== b && a !== "" && b !== "";
}

function quantityReason({ tokens: a }: Counted, { tokens: b }: Counted): DisputeReason {
  if (outputOf(a) !== outputOf(b)) return "QTY_OUTPUT";
  if (inputOf(a) !== inputOf(b)) return "QTY_INPUT";
  return a.reasoning !== b.reasoning ? "REASONING_UNSEEN" : "CACHE_CLASS";
}
