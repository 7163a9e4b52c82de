import { cover } from "../core/settlement/packages/coverage.ts";
import { needOf, type BurnBook } from "../core/settlement/packages/token-package.ts";
import { tokenClasses, type Tokens } from "../core/settlement/counting/usage.ts";
import type { Instant, ModelId } from "../core/units.ts";

/** A slice as the ledger gave it. */
export interface GivenSlice {
  readonly id: string;
  readonly units: bigint;
  readonly burn: BurnBook;
  readonly ttlMs: number;
}

interface Slice extends GivenSlice {
  /** Promised to open reservations. */
  reserved: bigint;
  /** By what was settled, in the ledger or on its way to it. */
  used: bigint;
  expiresAt: Instant;
  usedAt: Instant;
}

/** Units of one slice that a reservation has. */
export interface Part {
  readonly slice: string;
  readonly units: bigint;
}

/** Whole tokens that are missing; undefined: nothing is. */
export type Taken =
  | { readonly kind: "taken"; readonly parts: readonly Part[] }
  | { readonly kind: "short"; readonly by: Tokens };

/**
 * The slices that one account has in this process. What is promised of a slice and what was used of it is never more than
 * it holds. Nothing here waits, so nobody comes between a question and its answer.
 */
export class SliceShelf {
  readonly #slices = new Map<string, Slice>();

  add(given: readonly GivenSlice[], now: Instant): void {
    for (const each of given) {
      if (this.#slices.has(each.id)) continue;
      const times = { expiresAt: now + each.ttlMs, usedAt: now };
      this.#slices.set(each.id, { ...each, ...times, reserved: 0n, used: 0n });
    }
  }

  /** Units for so many tokens, instead of what the reservation has; all or none. */
  take(model: ModelId, tokens: Tokens, own: readonly Part[], now: Instant): Taken {
    this.release(own);
    const { parts, uncovered } = this.#cover(model, tokens, now);
    if (uncovered.num > 0n) {
      this.#reserve(own);
      return { kind: "short", by: scaled(tokens, uncovered) };
    }
    this.#reserve(parts);
    for (const { slice } of parts) this.#touch(slice, now);
    return { kind: "taken", parts };
  }

  release(parts: readonly Part[]): void {
    for (const { slice, units } of parts) {
      const found = this.#slices.get(slice);
      if (found !== undefined) found.reserved -= units;
    }
  }

  /** Ends a reservation. What was used beyond its parts is taken where something is free. */
  settle(model: ModelId, used: Tokens, own: readonly Part[], now: Instant): void {
    this.release(own);
    for (const { slice, units } of this.#cover(model, used, now).parts) {
      const found = this.#slices.get(slice);
      if (found !== undefined) found.used += units;
      this.#touch(slice, now);
    }
  }

  /** Slices to hold longer: those that are promised, or were used lately. */
  wanted(idleSince: Instant): string[] {
    return this.#ids(({ reserved, usedAt }) => reserved > 0n || usedAt > idleSince);
  }

  /** New ends; what is not among them has ended. */
  renewed(asked: readonly string[], ttlById: ReadonlyMap<string, number>, now: Instant): void {
    for (const id of asked) {
      const [slice, ttlMs] = [this.#slices.get(id), ttlById.get(id)];
      if (slice === undefined) continue;
      if (ttlMs === undefined) this.#slices.delete(id);
      else slice.expiresAt = now + ttlMs;
    }
  }

  /** Takes slices off that nobody wants, with what was used of each; those that are over are forgotten. */
  idle(idleSince: Instant, now: Instant): Map<string, bigint> {
    for (const id of this.#ids(({ expiresAt }) => expiresAt <= now)) this.#slices.delete(id);
    const idle = this.#ids(({ reserved, usedAt }) => reserved === 0n && usedAt <= idleSince);
    const usedById = new Map(idle.map((id) => [id, this.#slices.get(id)?.used ?? 0n]));
    for (const id of idle) this.#slices.delete(id);
    return usedById;
  }

  get isEmpty(): boolean {
    return this.#slices.size === 0;
  }

  #ids(is: (slice: Slice) => boolean): string[] {
    return [...this.#slices.values()].filter(is).map(({ id }) => id);
  }

  #cover(model: ModelId, tokens: Tokens, now: Instant) {
    const offers = [...this.#slices.values()].flatMap((slice) => {
      const need = needOf(slice.burn, model, tokens);
      const available = slice.units - slice.used - slice.reserved;
      const isOffer = need !== undefined && available > 0n && slice.expiresAt > now;
      return isOffer ? [{ id: slice.id, need, available }] : [];
    });
    const { units, uncovered } = cover(offers);
    const parts = offers.map(({ id }, index) => ({ slice: id, units: units[index] ?? 0n }));
    return { parts: parts.filter((part) => part.units > 0n), uncovered };
  }

  #reserve(parts: readonly Part[]): void {
    for (const { slice, units } of parts) {
      const found = this.#slices.get(slice);
      if (found !== undefined) found.reserved += units;
    }
  }

  #touch(id: string, now: Instant): void {
    const slice = this.#slices.get(id);
    if (slice !== undefined) slice.usedAt = now;
  }
}

/** Rounded up: whole tokens of each class. */
function scaled(tokens: Tokens, { num, den }: { num: bigint; den: bigint }): Tokens {
  const parts = tokenClasses.map((each) => [each, (tokens[each] * num + den - 1n) / den] as const);
  return { ...tokens, ...Object.fromEntries(parts) };
}
