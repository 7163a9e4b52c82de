import type { InstantUs, ModelId, Nano, PairId } from "../../units.ts";
import { payableAccount, type AccountId } from "../ledger/ledger.ts";
import { largestRemainder } from "../ratio.ts";

/** What one token sold is divided into. */
export const splitParts = ["platform", "computing", "model", "channel"] as const;
export type SplitPartName = (typeof splitParts)[number];

/**
 * By contract and model. `rate` is owed by a book of its own, whatever the sale was; `share` is a part of what remains, in
 * millionths that add up to 1,000,000 over the shares, the platform's included.
 */
export interface SplitPart {
  readonly part: SplitPartName;
  /** `vendor:…`, `model:…`, `channel:…`; for `platform` the operator: `internal`. `*` is who took part: the pool's vendor, the model's owner, the tenant's channel. */
  readonly party: PairId | "internal" | "*";
  readonly way: "rate" | "share";
  /** 0 for `rate`. */
  readonly ppm: bigint;
}

export interface SplitRule {
  readonly id: string;
  readonly version: bigint;
  /** `*` is every model without a rule of its own. */
  readonly model: ModelId | "*";
  readonly effectiveFromUs: InstantUs;
  readonly parts: readonly SplitPart[];
}

/** A part of the split as it came out. */
export interface SplitAmount {
  readonly part: SplitPartName;
  readonly party: PairId | "internal";
  readonly way: "rate" | "share";
  readonly amountNano: Nano;
}

/** Who took part in a sale. Undefined: nobody, and its share is the platform's. */
export interface SplitParties {
  readonly computing: PairId;
  readonly model: PairId | undefined;
  readonly channel: PairId | undefined;
}

/** Millionths of a split. */
export const ppmWhole = 1_000_000n;

/** Everything to the platform, and the vendor by its own book. */
export const defaultSplitRule: SplitRule = {
  id: "house-default",
  version: 1n,
  model: "*",
  effectiveFromUs: 0n,
  parts: [
    { part: "platform", party: "internal", way: "share", ppm: ppmWhole },
    { part: "computing", party: "*", way: "rate", ppm: 0n },
    { part: "model", party: "*", way: "rate", ppm: 0n },
  ],
};

/**
 * Divides what was earned. What is owed by rate comes first; the rest goes to the shares by largest remainder, equal ones
 * in the order of their parts' names and accounts. Where the rates are more than was earned, the platform bears the difference: its
 * part is below 0. The parts always add up to what was earned.
 */
export function splitEarned(
  earnedNano: Nano,
  rateParts: readonly SplitAmount[],
  { rule, parties }: { readonly rule: SplitRule; readonly parties: SplitParties },
): SplitAmount[] {
  const rest = earnedNano - sumOf(rateParts);
  const shares = sharesOf(rule, parties);
  const amounts =
    rest < 0n
      ? shares.map(({ part }) => (part === "platform" ? rest : 0n))
      : largestRemainder(
          rest,
          shares.map(({ ppm }) => ppm),
        );
  const divided = shares.map(({ part, party }, index) => {
    return { part, party, way: "share", amountNano: amounts[index] ?? 0n } as const;
  });
  return [...rateParts, ...divided].toSorted(
    (a, b) => splitParts.indexOf(a.part) - splitParts.indexOf(b.part),
  );
}

/**
 * What shares that were rounded record by record are off the split of their sum: to be added at close, together 0.
 * `booked` are the shares of records without a subsidy, by part and party. Shares are never telescoped: with one nano more
 * to divide, a part may be one less.
 */
export function splitTrueUp(
  booked: readonly SplitAmount[],
  by: { readonly rule: SplitRule; readonly parties: SplitParties },
): SplitAmount[] {
  const wanted = splitEarned(sumOf(booked), [], by);
  const nameOf = ({ part, party }: SplitAmount): string => `${part} ${party}`;
  const had = new Map<string, Nano>();
  for (const each of booked) {
    had.set(nameOf(each), (had.get(nameOf(each)) ?? 0n) + each.amountNano);
  }
  return wanted.map((each) => {
    return { ...each, amountNano: each.amountNano - (had.get(nameOf(each)) ?? 0n) };
  });
}

/** Where the money of a share goes. */
export function shareAccount({ part, party }: Pick<SplitAmount, "part" | "party">): AccountId {
  return part === "platform" || party === "internal"
    ? "rev:platform"
    : payableAccount(party, "accrued");
}

/** What is wrong with a rule; empty if nothing. */
export function splitRuleMistakes({ parts }: SplitRule): string[] {
  const mistakes: string[] = [];
  const shares = parts.filter(({ way }) => way === "share");
  const sum = shares.reduce((all, { ppm }) => all + ppm, 0n);
  if (sum !== ppmWhole) {
    mistakes.push(`parts: expected shares that add up to ${ppmWhole} ppm, found ${sum}`);
  }
  const platforms = parts.filter(({ part }) => part === "platform");
  if (platforms.length !== 1 || platforms[0]?.way !== "share") {
    mistakes.push(`parts: expected one platform with a share, found ${platforms.length} platforms`);
  }
  for (const [index, { part, party, way, ppm }] of parts.entries()) {
    const where = `parts[${index}]`;
    if (ppm < 0n || (way === "rate" && ppm !== 0n)) {
      mistakes.push(`${where}.ppm: expected ${way === "rate" ? "0" : "0 or more"}, found ${ppm}`);
    }
    if (!isPartyOf(part, party)) {
      mistakes.push(`${where}.party: expected ${partyForms[part]}, found ${party}`);
    }
    const first = parts.findIndex((each) => each.part === part && each.party === party);
    if (first !== index) mistakes.push(`${where}: ${part} of ${party} is also parts[${first}]`);
  }
  return mistakes;
}

const partyForms: Readonly<Record<SplitPartName, string>> = {
  platform: "internal",
  computing: "* or vendor:<id>",
  model: "* or model:<id>",
  channel: "* or channel:<id>",
};

const pairKinds: Readonly<Record<Exclude<SplitPartName, "platform">, string>> = {
  computing: "vendor:",
  model: "model:",
  channel: "channel:",
};

function isPartyOf(part: SplitPartName, party: string): boolean {
  if (part === "platform") return party === "internal";
  return (
    party === "*" || (party.startsWith(pairKinds[part]) && party.length > pairKinds[part].length)
  );
}

interface Share {
  readonly part: SplitPartName;
  readonly party: PairId | "internal";
  readonly ppm: bigint;
}

/** In the order of their names, as the example of the reference has it, then of their accounts. The share of nobody is the platform's. */
function sharesOf({ parts }: SplitRule, parties: SplitParties): Share[] {
  let platformPpm = 0n;
  const shares: Share[] = [];
  for (const { part, party, way, ppm } of parts) {
    if (way === "rate") continue;
    const owner = part === "platform" ? undefined : party === "*" ? parties[part] : party;
    if (part === "platform" || owner === undefined) platformPpm += ppm;
    else shares.push({ part, party: owner, ppm });
  }
  shares.push({ part: "platform", party: "internal", ppm: platformPpm });
  const nameOf = (each: Share): string => `${each.part} ${shareAccount(each)}`;
  return shares.toSorted((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1));
}

export function sumOf(parts: readonly Pick<SplitAmount, "amountNano">[]): Nano {
  return parts.reduce((sum, { amountNano }) => sum + amountNano, 0n);
}
