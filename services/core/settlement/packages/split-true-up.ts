import type { InstantUs, ModelId, PairId } from "../../units.ts";
import { canonicalJson } from "../canonical.ts";
import type { Sale } from "./sale.ts";
import {
  splitParts,
  splitTrueUp,
  type SplitAmount,
  type SplitParties,
  type SplitRule,
} from "./split.ts";

/** Sales that were divided by one rule among the same parties. */
interface Group {
  readonly rule: SplitRule;
  readonly parties: SplitParties;
  readonly sums: Map<string, SplitAmount>;
}

export type RuleOf = (rule: string, model: ModelId) => SplitRule | undefined;

/** What a party to a split gets or gives back because shares were rounded record by record. */
export interface SplitCorrection {
  readonly rule: string;
  readonly share: SplitAmount & { readonly party: PairId };
}

/** Adds up the shares of a period's sales, and says what they are off the split of their sums. */
export class SplitSums {
  readonly #ruleOf: RuleOf;
  readonly #groups = new Map<string, Group>();

  constructor(ruleOf: RuleOf) {
    this.#ruleOf = ruleOf;
  }

  add({ splitRule, model, parts }: Pick<Sale, "splitRule" | "model" | "parts">): void {
    const shares = parts.filter(({ way }) => way === "share");
    // Where the rates were more than was earned, there was nothing to divide.
    if (shares.length < 2 || shares.some(({ amountNano }) => amountNano < 0n)) return;
    const rule = this.#ruleOf(splitRule, model);
    if (rule === undefined) return;
    const names = shares.map(nameOf).toSorted();
    const key = [splitRule, rule.model, ...names].join("\n");
    const group = this.#groups.get(key) ?? { rule, parties: partiesOf(shares), sums: new Map() };
    this.#groups.set(key, group);
    for (const share of shares) {
      const before = group.sums.get(nameOf(share))?.amountNano ?? 0n;
      group.sums.set(nameOf(share), { ...share, amountNano: before + share.amountNano });
    }
  }

  /** Of all but the platform, which has the rest. One for a part of a rule, with whomever it was divided. */
  get corrections(): SplitCorrection[] {
    const merged = new Map<string, SplitCorrection>();
    for (const { rule: of, parties, sums } of this.#groups.values()) {
      const rule = `${of.id}:${of.version}/${of.model}`;
      for (const { party, ...share } of splitTrueUp([...sums.values()], { rule: of, parties })) {
        if (party === "internal") continue;
        const key = [rule, share.part, party].join("\n");
        const amountNano = share.amountNano + (merged.get(key)?.share.amountNano ?? 0n);
        merged.set(key, { rule, share: { ...share, party, amountNano } });
      }
    }
    return [...merged.values()].filter(({ share }) => share.amountNano !== 0n);
  }
}

/** In the party's log, which names no tenant. */
export function splitCorrectionText(
  { rule, share }: SplitCorrection,
  { booking, atUs }: { readonly booking: string; readonly atUs: InstantUs },
): string {
  return canonicalJson({
    ...{ type: "share", v: "1", amount_nano: share.amountNano, taken_back_nano: 0n },
    ...{ booking, currency: "CNY", opened_us: atUs, part: share.part },
    ...{ reason: "true-up", split_rule: rule },
  });
}

function nameOf({ part, party }: SplitAmount): string {
  return `${part} ${party}`;
}

function partiesOf(shares: readonly SplitAmount[]): SplitParties {
  const of = (part: (typeof splitParts)[number]): PairId | undefined => {
    const party = shares.find((share) => share.part === part)?.party;
    return party === "internal" ? undefined : party;
  };
  return {
    computing: of("computing") ?? ("vendor:" as PairId),
    model: of("model"),
    channel: of("channel"),
  };
}
