import { defaultContract } from "../../core/settlement/terms/contract.ts";
import { signDetached } from "../../core/settlement/proof/jws.ts";
import { statementJwsType } from "../../core/settlement/statements/statement-check.ts";
import { contractText } from "../../core/settlement/terms/terms-text.ts";
import { sha256, type SigningKey } from "../../io/signing.ts";
import type { PairTerms } from "../../core/settlement/terms/pair-terms.ts";
import type { InstantUs, PairId } from "../../core/units.ts";
import type { SettlementParts } from "../parts.ts";
import type { Sealer } from "../logs/sealer.ts";
import { calendarsFrom } from "./statement-calendars.ts";
import type { StatementSources } from "./statements.ts";
import { trueUpsFrom } from "./true-ups.ts";
import type { TwoSides } from "../claims/two-sides.ts";

/** What statements take from the other parts of settlement. */
export function sourcesOf(
  parts: Pick<SettlementParts, "agreements" | "store" | "closed" | "gateways" | "nowUs">,
  others: {
    readonly sides: TwoSides;
    readonly sealer: Sealer;
    readonly key: SigningKey;
    readonly kid: string;
  },
): StatementSources {
  const { agreements, store, closed, gateways, nowUs } = parts;
  const { sides, sealer, key, kid } = others;
  const contractAt = (pair: PairId, us: InstantUs) =>
    agreements.contractOf(pair, us) ?? defaultContract;
  const termsOf = (pair: PairId, us: InstantUs): PairTerms => contractAt(pair, us);
  const { lineOf, ruleOf, bookingOf } = agreements;
  return {
    termsOf: (pair, us) => {
      const contract = contractAt(pair, us);
      return { ...contract, hash: sha256(contractText(contract)) };
    },
    sign: (payload) => signDetached(payload, { kid, typ: statementJwsType }, key.sign),
    trueUps: trueUpsFrom({ store, closed, lineOf, ruleOf, bookingOf, termsOf, nowUs }),
    recon: async (pair, period) => sides.recon(pair, period),
    gatewaysBehind: (us) => gateways.behind(us),
    unwitnessedSinceUs: (pair) => sealer.unwitnessedSinceUs(pair),
    calendars: calendarsFrom((book, version) => agreements.bookOf(book, version)),
  };
}
