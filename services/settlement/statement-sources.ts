import { defaultContract } from "../core/settlement/contract.ts";
import { signDetached } from "../core/settlement/jws.ts";
import { statementJwsType } from "../core/settlement/statement-check.ts";
import { contractText } from "../core/settlement/terms-text.ts";
import { sha256, type SigningKey } from "../io/signing.ts";
import type { SettlementParts } from "./parts.ts";
import type { Sealer } from "./sealer.ts";
import type { StatementSources } from "./statements.ts";
import type { TwoSides } from "./two-sides.ts";

/** What statements take from the other parts of settlement. */
export function sourcesOf(
  { agreements }: SettlementParts,
  others: {
    readonly sides: TwoSides;
    readonly sealer: Sealer;
    readonly key: SigningKey;
    readonly kid: string;
  },
): StatementSources {
  const { sides, sealer, key, kid } = others;
  return {
    termsOf: (pair) => {
      const contract = agreements.contractOf(pair, latestUs) ?? defaultContract;
      return { ...contract, hash: sha256(contractText(contract)) };
    },
    sign: (payload) => signDetached(payload, { kid, typ: statementJwsType }, key.sign),
    trueUps: async () => ({ trueUps: [], entries: [] }),
    recon: async (pair, period) => sides.recon(pair, period),
    openAttempts: async () => 0n,
    unwitnessedSinceUs: (pair) => sealer.unwitnessedSinceUs(pair),
    calendars: () => [],
  };
}

/** After every instant that a version can start at. */
const latestUs = 2n ** 62n;
