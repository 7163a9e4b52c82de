import { z } from "zod";
import { cancelPolicies, type Contract } from "../core/settlement/terms/contract.ts";

/** What a gateway must know of the contract with a vendor: what to do with a pool whose client has gone. */
export type CancelTerms = Pick<Contract, "cancelPolicy" | "drainLimit">;

const drainBounds = { seconds: 3_600, tokens: 10_000_000, concurrent: 10_000 } as const;

/** As the registry keeps them under `contract-terms`, by vendor. */
const schema = z.strictObject({
  cancelPolicy: z.enum(cancelPolicies),
  drainLimit: z.strictObject({
    seconds: z.int().min(0).max(drainBounds.seconds),
    tokens: z.int().min(0).max(drainBounds.tokens),
    concurrent: z.int().min(0).max(drainBounds.concurrent),
  }),
});

/** Throws for what is no such text. */
export function parseCancelTerms(text: string): CancelTerms {
  const { cancelPolicy, drainLimit } = schema.parse(JSON.parse(text));
  return { cancelPolicy, drainLimit: { ...drainLimit, tokens: BigInt(drainLimit.tokens) } };
}

export function cancelTermsText({ cancelPolicy, drainLimit }: CancelTerms): string {
  const { seconds, tokens, concurrent } = drainLimit;
  return JSON.stringify({
    cancelPolicy,
    drainLimit: { seconds, tokens: Number(tokens), concurrent },
  });
}
