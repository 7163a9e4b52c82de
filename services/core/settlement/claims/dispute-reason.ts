/** What a dispute is about. */
export const disputeReasons = [
  "QTY_OUTPUT",
  "QTY_INPUT",
  "CACHE_CLASS",
  "REASONING_UNSEEN",
  "ABORT_POLICY",
  "HEDGE",
  "DUPLICATE",
  "PHANTOM",
  "PRICE",
  "TIER",
  "TOU",
  "PERIOD",
  "MODEL_SUBSTITUTED",
  "TOKENIZER_CHANGED",
  "SLA_CREDIT",
  "SPLIT",
] as const;

export type DisputeReason = (typeof disputeReasons)[number];
