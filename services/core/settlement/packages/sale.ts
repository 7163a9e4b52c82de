import type {
  AttemptId,
  InstantUs,
  ModelId,
  Nano,
  PackageId,
  RequestId,
  TenantId,
} from "../../units.ts";
import type { AccountId, Unit } from "../ledger/ledger.ts";
import { cover } from "./coverage.ts";
import type { Charge } from "../ledger/posting.ts";
import { one, roundedQuotient, type Ratio } from "../ratio.ts";
import {
  splitEarned,
  sumOf,
  type SplitAmount,
  type SplitParties,
  type SplitRule,
} from "./split.ts";
import { needOf, type BurnBook } from "./token-package.ts";
import type { Tokens } from "../counting/usage.ts";

/** A part of a wallet that is set aside for the gateway a record comes from. */
export interface HeldPart {
  readonly hold: string;
  /** The other account of the hold. */
  readonly credit: AccountId;
  readonly left: bigint;
}

/** What a record may take from one wallet. */
export interface WalletState {
  /** Path of the wallet's owner, such as `research/chat`; empty for the shared one. */
  readonly department: string;
  /** Whose use it is, for limits. */
  readonly usedBy: string;
  /** At most so much: what is free, and what is held for the record's gateway, within a cap. */
  readonly available: bigint;
  /** Taken first, in this order. */
  readonly held: readonly HeldPart[];
}

/** A package of a tenant as it stands, for one record. */
export interface PackageState {
  readonly id: PackageId;
  readonly tenant: TenantId;
  readonly unit: Unit;
  readonly burn: BurnBook;
  /** What it was sold for. */
  readonly priceNano: Nano;
  /** What it was sold with, in the grain of the unit. */
  readonly quantity: bigint;
  /** Of it, not in any wallet any more: drawn, refunded or expired. */
  readonly gone: bigint;
  /** Of the price, not prepaid any more. */
  readonly goneNano: Nano;
  /** In the order in which a record of this key may use them: its own first, then the shared one. */
  readonly wallets: readonly WalletState[];
  readonly priority: number;
  readonly expiresUs: InstantUs;
}

/** What a record took from one wallet of one package. */
export interface Draw {
  readonly package: PackageId;
  readonly unit: Unit;
  readonly department: string;
  readonly usedBy: string;
  /** What the whole record needs by the package's burn rates. */
  readonly need: bigint;
  readonly amount: bigint;
  /** Units gone from the package before this draw: what it released is a difference of two rounded totals. */
  readonly goneBefore: bigint;
  readonly releasedNano: Nano;
  /** Of `amount`, what was held for it. */
  readonly held: readonly {
    readonly hold: string;
    readonly credit: AccountId;
    readonly amount: bigint;
  }[];
}

/** What a tenant owes for a record, how it is paid, and who gets it. Parts always add up to what was earned. */
export interface Sale {
  readonly record: string;
  readonly attempt: AttemptId;
  readonly rev: bigint;
  readonly request: RequestId;
  readonly tenant: TenantId;
  readonly model: ModelId;
  readonly tokens: Tokens;
  readonly charges: readonly Charge[];
  /** By the sell book: the sum of the charges. */
  readonly saleNano: Nano;
  /** Of it, paid by packages. */
  readonly coveredNano: Nano;
  /** Of it, to be paid: sale less covered. */
  readonly billedNano: Nano;
  /** In the order in which they were made. */
  readonly draws: readonly Draw[];
  /** Billed and released: what there is to divide. */
  readonly earnedNano: Nano;
  /** `<id>:<version>` of the rule that divided it. */
  readonly splitRule: string;
  readonly parts: readonly SplitAmount[];
}

export interface SaleInput extends Pick<
  Sale,
  "record" | "attempt" | "rev" | "request" | "tenant" | "model" | "tokens" | "charges"
> {
  /** In any order. */
  readonly packages: readonly PackageState[];
  /** What is owed by rate for the record and was posted with it: computing by the buy book, model by the licence book. */
  readonly rateParts: readonly SplitAmount[];
  readonly rule: SplitRule;
  readonly parties: SplitParties;
}

/**
 * What packages cover, by priority, end and id, is paid by them; the rest is billed by the sell book. A package that
 * covers a part of a record covers that part of its price, as an exact fraction, rounded once.
 */
export function settleSale(input: SaleInput): Sale {
  const { record, attempt, rev, request, tenant, model, tokens, charges, rule, parties } = input;
  const saleNano = charges.reduce((sum, { amountNano }) => sum + amountNano, 0n);
  const { draws, uncovered } = drawAll(input);
  const coveredNano = roundedQuotient(saleNano * (uncovered.den - uncovered.num), uncovered.den);
  const billedNano = saleNano - coveredNano;
  const earnedNano = draws.reduce((sum, { releasedNano }) => sum + releasedNano, billedNano);
  return {
    ...{ record, attempt, rev, request, tenant, model, tokens, charges },
    ...{ saleNano, coveredNano, billedNano, draws, earnedNano },
    splitRule: `${rule.id}:${rule.version}`,
    parts: splitEarned(earnedNano, input.rateParts, { rule, parties }),
  };
}

/** What packages let go of for a record. */
export function releasedNanoOf({ draws }: Pick<Sale, "draws">): Nano {
  return draws.reduce((sum, { releasedNano }) => sum + releasedNano, 0n);
}

/** Of the parts, what was owed by rate, whatever was earned. */
export function rateNanoOf({ parts }: Pick<Sale, "parts">): Nano {
  return sumOf(parts.filter(({ way }) => way === "rate"));
}

/** Highest priority is the lowest number; then what ends first; then by id. */
export function drawOrder(
  a: Pick<PackageState, "id" | "priority" | "expiresUs">,
  b: Pick<PackageState, "id" | "priority" | "expiresUs">,
): number {
  if (a.priority !== b.priority) return a.priority - b.priority;
  if (a.expiresUs !== b.expiresUs) return a.expiresUs < b.expiresUs ? -1 : 1;
  return a.id < b.id ? -1 : Number(a.id > b.id);
}

/**
 * The value that leaves a package with so many units: what the rounded value of all that is gone rises by. A correction
 * may have left the total a nano off: the next one sets it right, and the last one empties it.
 */
export function releaseOf(
  state: Pick<PackageState, "priceNano" | "quantity" | "gone" | "goneNano">,
  units: bigint,
): Nano {
  if (units === 0n) return 0n;
  const value = roundedQuotient(state.priceNano * (state.gone + units), state.quantity);
  return value > state.goneNano ? value - state.goneNano : 0n;
}

function drawAll({ packages, model, tokens }: SaleInput): {
  readonly draws: readonly Draw[];
  readonly uncovered: Ratio;
} {
  if (Object.values(tokens).every((each) => each === 0n)) return { draws: [], uncovered: one };
  const offers = packages.toSorted(drawOrder).flatMap((state) => {
    const need = needOf(state.burn, model, tokens);
    const available = state.wallets.reduce((sum, wallet) => sum + wallet.available, 0n);
    return need === undefined || available === 0n ? [] : [{ state, need, available }];
  });
  const { units, uncovered, used } = cover(offers);
  const draws = offers
    .slice(0, used)
    .flatMap(({ state, need }, index) => drawFrom(state, need, units[index] ?? 0n));
  return { draws, uncovered };
}

/** From one wallet after the other. Nothing is a draw too: it says what the record was covered by. */
function drawFrom(state: PackageState, need: bigint, units: bigint): Draw[] {
  const draws: Draw[] = [];
  let { gone, goneNano } = state;
  let left = units;
  for (const { department, usedBy, available, held } of state.wallets) {
    const amount = left < available ? left : available;
    if (available === 0n || (amount === 0n && draws.length > 0)) continue;
    const releasedNano = releaseOf({ ...state, gone, goneNano }, amount);
    draws.push({
      ...{ package: state.id, unit: state.unit, department, usedBy, need, amount },
      ...{ goneBefore: gone, releasedNano, held: fromHeld(held, amount) },
    });
    gone += amount;
    goneNano += releasedNano;
    left -= amount;
  }
  return draws;
}

function fromHeld(held: readonly HeldPart[], units: bigint): Draw["held"] {
  let left = units;
  const taken = held.map(({ hold, credit, left: most }) => {
    const amount = left < most ? left : most;
    left -= amount;
    return { hold, credit, amount };
  });
  return taken.filter(({ amount }) => amount > 0n);
}
