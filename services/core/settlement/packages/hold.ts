import { assert } from "../../assert.ts";
import type { GatewayId, InstantUs } from "../../units.ts";
import type { AccountId, LedgerEntry, Unit } from "../ledger/ledger.ts";

/** A reservation: so much of the debit account is set aside until an instant of the ledger's time. */
export interface Hold {
  readonly id: string;
  readonly unit: Unit;
  readonly debit: AccountId;
  readonly credit: AccountId;
  readonly amount: bigint;
  /** What is still set aside. */
  readonly left: bigint;
  readonly expiresUs: InstantUs;
  readonly state: "open" | "posted" | "void" | "expired";
}

/** What a change of a hold writes. */
export interface HoldChange {
  readonly hold: Hold;
  readonly entries: readonly LedgerEntry[];
}

export type Reserved =
  ({ readonly kind: "held" } & HoldChange) | { readonly kind: "refused"; readonly reason: string };

type HoldAsk = Pick<Hold, "id" | "unit" | "debit" | "credit" | "amount" | "expiresUs">;

/** Sets units aside, if so many are free. To extend a reservation is to reserve again, under the next id. */
export function reserve(ask: HoldAsk, free: bigint, atUs: InstantUs): Reserved {
  const { id, unit, debit, credit, amount, expiresUs } = ask;
  assert(amount > 0n, "a hold sets something aside");
  if (amount > free) {
    const reason = `${debit}: expected at least ${amount} free, found ${free}`;
    return { kind: "refused", reason };
  }
  if (expiresUs <= atUs) {
    return { kind: "refused", reason: `expected an end after ${atUs}, found ${expiresUs}` };
  }
  const hold: Hold = { ...ask, left: amount, state: "open" };
  const txn = `hold:${id}`;
  const frame = {
    id: txn,
    txn,
    kind: "hold",
    phase: "held",
    cause: id,
    atUs,
    corrects: "",
  } as const;
  return { kind: "held", hold, entries: [{ ...frame, unit, debit, credit, amount }] };
}

/** Until when it holds; what has ended cannot be held longer. */
export function renewed(hold: Hold, expiresUs: InstantUs): Hold {
  assert(hold.state === "open", "only an open hold can be renewed");
  return expiresUs > hold.expiresUs ? { ...hold, expiresUs } : hold;
}

/** A part of it is used: the entries that free and post it are those of who uses it. */
export function usedUp(hold: Hold, amount: bigint): Hold {
  assert(hold.state === "open" && amount <= hold.left, "no more is used than is held");
  const left = hold.left - amount;
  return { ...hold, left, state: left === 0n ? "posted" : "open" };
}

/**
 * Ends a reservation with what was used. What is used beyond what was held is posted too, as a linked overage; what
 * was held and not used is free again. The account it is used from must have so much.
 */
export function settle(hold: Hold, used: bigint, atUs: InstantUs): HoldChange {
  assert(hold.state === "open" && used >= 0n, "an open hold is settled once");
  const within = used < hold.left ? used : hold.left;
  const txn = `settle:${hold.id}`;
  const frame = { txn, kind: "draw", cause: hold.id, atUs, corrects: "" } as const;
  const { unit, debit, credit } = hold;
  const moves = [
    { ...frame, id: `${txn}:free`, phase: "released", unit, debit, credit, amount: hold.left },
    { ...frame, id: txn, phase: "posted", unit, debit, credit, amount: within },
    { ...frame, id: `${txn}:over`, phase: "posted", unit, debit, credit, amount: used - within },
  ] as const;
  const state = used === 0n ? "void" : "posted";
  return {
    hold: { ...hold, left: 0n, state },
    entries: moves.filter(({ amount }) => amount > 0n),
  };
}

/** Ends a hold without use: asked for, or because its time is over. */
export function end(hold: Hold, state: "void" | "expired", atUs: InstantUs): HoldChange {
  assert(hold.state === "open", "a hold ends once");
  const txn = `void:${hold.id}`;
  const { unit, debit, credit, left: amount } = hold;
  const entry: LedgerEntry = {
    ...{ id: txn, txn, kind: "void", phase: "released", cause: hold.id, atUs, corrects: "" },
    ...{ unit, debit, credit, amount },
  };
  return { hold: { ...hold, left: 0n, state }, entries: amount > 0n ? [entry] : [] };
}

/**
 * Gives back what will not be used, when `used` is all that ever was or will be. To say it again changes nothing: the amount of
 * the hold falls with what is given back.
 */
export function shrink(hold: Hold, used: bigint, atUs: InstantUs): HoldChange {
  assert(used >= 0n, "use is not below 0");
  const drawn = hold.amount - hold.left;
  const amount = hold.amount - (used > drawn ? used : drawn);
  if (hold.state !== "open" || amount <= 0n) return { hold, entries: [] };
  if (amount === hold.amount) return end(hold, "void", atUs);
  const txn = `return:${hold.id}:${hold.amount}`;
  const { unit, debit, credit } = hold;
  const entry: LedgerEntry = {
    ...{ id: txn, txn, kind: "void", phase: "released", cause: hold.id, atUs, corrects: "" },
    ...{ unit, debit, credit, amount },
  };
  const left = hold.left - amount;
  const state = left === 0n ? "posted" : "open";
  return { hold: { ...hold, amount: hold.amount - amount, left, state }, entries: [entry] };
}

/** Id of a slice: a hold for one gateway. `key` is the gateway's own and makes asking again harmless. */
export function sliceId(gateway: GatewayId, key: string): string {
  return `slice:${gateway}:${key}`;
}

/** The gateway that a slice is for; undefined if it is none. */
export function gatewayOf({ id }: Pick<Hold, "id">): GatewayId | undefined {
  const [, gateway] = /^slice:([^:]+):/.exec(id) ?? [];
  return gateway as GatewayId | undefined;
}

/** Open holds by the account they are on, as committed. */
export class OpenHolds {
  readonly #byId = new Map<string, Hold>();
  readonly #byDebit = new Map<AccountId, Map<string, Hold>>();

  /** New holds, and the new state of old ones. */
  apply(holds: Iterable<Hold>): void {
    for (const hold of holds) {
      const siblings = this.#byDebit.get(hold.debit) ?? new Map<string, Hold>();
      this.#byDebit.set(hold.debit, siblings);
      if (hold.state === "open") {
        this.#byId.set(hold.id, hold);
        siblings.set(hold.id, hold);
      } else {
        this.#byId.delete(hold.id);
        siblings.delete(hold.id);
        if (siblings.size === 0) this.#byDebit.delete(hold.debit);
      }
    }
  }

  hold(id: string): Hold | undefined {
    return this.#byId.get(id);
  }

  /** In the order in which they were made. */
  on(debit: AccountId): readonly Hold[] {
    return [...(this.#byDebit.get(debit)?.values() ?? [])];
  }

  all(): readonly Hold[] {
    return [...this.#byId.values()];
  }
}
