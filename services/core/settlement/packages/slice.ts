import type { GatewayId, InstantUs, ModelId, RegionId } from "../../units.ts";
import { cover } from "./coverage.ts";
import { reserve, sliceId, type Hold, type HoldChange } from "./hold.ts";
import { roundedQuotient } from "../ratio.ts";
import { drawOrder, type PackageState } from "./sale.ts";
import { pathWallet, sliceAccount } from "./sale-entries.ts";
import { needOf } from "./token-package.ts";
import { tokenClasses, type Tokens } from "../counting/usage.ts";

/** What a gateway asks for: units for so many tokens of a model, and better for so many times as much. */
export interface SliceAsk {
  readonly gateway: GatewayId;
  readonly region: RegionId;
  /** The gateway's own name for it: asked again, it is the same. */
  readonly key: string;
  readonly model: ModelId;
  readonly tokens: Tokens;
  readonly times: bigint;
  readonly atUs: InstantUs;
  readonly ttlUs: bigint;
}

export type SlicePlan =
  | { readonly kind: "granted"; readonly changes: readonly HoldChange[] }
  | { readonly kind: "refused"; readonly reason: string };

/** Beyond what is asked for at least, a slice takes at most this part of what is free: others ask too. */
const freeParts = 4n;

/**
 * Slices of the packages that cover what is asked, in the order in which they will be drawn. What cannot be covered whole is
 * refused: the stream would stop in the middle.
 */
export function planSlices(states: readonly PackageState[], ask: SliceAsk): SlicePlan {
  const offers = states.toSorted(drawOrder).flatMap((state) => {
    const need = needOf(state.burn, ask.model, ask.tokens);
    const available = state.wallets.reduce((sum, wallet) => sum + wallet.available, 0n);
    return need === undefined || available === 0n ? [] : [{ state, need, available }];
  });
  const { units, uncovered, used } = cover(offers);
  if (uncovered.num > 0n) {
    const tokens = tokenClasses.reduce((sum, each) => sum + ask.tokens[each], 0n);
    const left = roundedQuotient(tokens * uncovered.num, uncovered.den);
    const reason = `expected packages for ${tokens} tokens of ${ask.model}, found none for ${left} of them`;
    return { kind: "refused", reason };
  }
  const changes = offers.slice(0, used).flatMap(({ state, available }, index) => {
    // Something is held of it even where the tokens burn nothing: the slice says that it covers them.
    const covered = units[index] ?? 0n;
    const least = covered > 0n ? covered : 1n;
    return heldIn(state, better(least, available, ask.times), { ...ask, index });
  });
  return { kind: "granted", changes };
}

function better(least: bigint, available: bigint, times: bigint): bigint {
  const most = available / freeParts;
  const wanted = least * times < most ? least * times : most;
  return wanted > least ? wanted : least;
}

function heldIn(
  state: PackageState,
  units: bigint,
  ask: SliceAsk & { readonly index: number },
): HoldChange[] {
  const { gateway, region, atUs, ttlUs } = ask;
  const { id, tenant, unit } = state;
  const lastUs = atUs + ttlUs;
  const expiresUs = lastUs < state.expiresUs ? lastUs : state.expiresUs;
  const changes: HoldChange[] = [];
  let left = units;
  for (const [index, { department, usedBy, available }] of state.wallets.entries()) {
    const amount = left < available ? left : available;
    if (amount === 0n) continue;
    const hold = {
      id: sliceId(gateway, `${ask.key}:${ask.index}.${index}`),
      unit,
      debit: pathWallet(tenant, department, id),
      credit: sliceAccount(region, tenant, { usedBy, package: id }),
      amount,
      expiresUs,
    };
    const reserved = reserve(hold, available, atUs);
    if (reserved.kind === "held") changes.push(reserved);
    left -= amount;
  }
  return changes;
}

/** Open slices of an ask that was answered before. */
export function slicesOf(
  holds: readonly Hold[],
  { gateway, key }: Pick<SliceAsk, "gateway" | "key">,
): readonly Hold[] {
  return holds.filter(({ id }) => id.startsWith(`${sliceId(gateway, key)}:`));
}
