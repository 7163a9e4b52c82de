import {
  end,
  gatewayOf,
  renewed,
  shrink,
  type Hold,
  type OpenHolds,
} from "../../core/settlement/packages/hold.ts";
import type { UsageKey } from "../../core/settlement/packages/departments.ts";
import { pathWallet } from "../../core/settlement/packages/sale-entries.ts";
import { planSlices, slicesOf, type SliceAsk } from "../../core/settlement/packages/slice.ts";
import type { TokenPackage, TokenPackages } from "../../core/settlement/packages/token-package.ts";
import { accountsOf, Wallets } from "../../core/settlement/packages/wallet.ts";
import type { GatewayId, InstantUs, PackageId, TenantId } from "../../core/units.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";
import type { Change, Writer } from "../ingest/writer.ts";

/** How long a slice is held without being renewed. A gateway that dies leaves its slices to it. */
const sliceTtlUs = 60_000_000n;
/** Holds that end in one transaction. */
const endedMax = 500;

export interface QuotaAsk
  extends UsageKey, Pick<SliceAsk, "gateway" | "region" | "key" | "model" | "tokens" | "times"> {
  readonly tenant: TenantId;
}

/** A slice with the package that says what tokens burn of it. */
export interface GrantedSlice {
  readonly hold: Hold;
  readonly package: TokenPackage;
}

export type Grant =
  /** The tenant pays for what no package covers. */
  | { readonly kind: "unlimited" }
  | { readonly kind: "granted"; readonly slices: readonly GrantedSlice[] }
  | { readonly kind: "refused"; readonly reason: string };

interface Outcome {
  readonly change: Change;
  readonly result: Grant;
}

export interface QuotaParts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly holds: OpenHolds;
  readonly catalog: TokenPackages;
  readonly nowUs: () => InstantUs;
  readonly sliceTtlUs?: bigint;
  /** A gateway asked for units, and there were none. */
  readonly onRefused?: () => void;
}

/** Slices of packages: holds for gateways, so that no request waits for the ledger. */
export class Quota {
  readonly #parts: QuotaParts;
  readonly #ttlUs: bigint;

  constructor(parts: QuotaParts) {
    this.#parts = parts;
    this.#ttlUs = parts.sliceTtlUs ?? sliceTtlUs;
  }

  async acquire(ask: QuotaAsk): Promise<Grant> {
    const { store, writer, holds, catalog, nowUs } = this.#parts;
    if (!isLimited(catalog, ask.tenant, nowUs())) return { kind: "unlimited" };
    return writer.write(async (): Promise<Outcome> => {
      const atUs = nowUs();
      const packages = catalog.valid(ask.tenant, atUs);
      const before = slicesOf(
        packages.flatMap((each) => this.#holdsOn(each)),
        ask,
      );
      if (before.length > 0) return { change: {}, result: this.#again(before, atUs) };
      const wallets = new Wallets(await store.balancesOf(accountsOf(packages)), holds);
      const { tenant, department, project, scenario } = ask;
      const key = { tenant, department, project, scenario, gateway: undefined, openedUs: atUs };
      const states = packages.map((each) => wallets.stateOf(each, key));
      const plan = planSlices(states, { ...ask, atUs, ttlUs: this.#ttlUs });
      if (plan.kind === "refused") {
        this.#parts.onRefused?.();
        return { change: {}, result: plan };
      }
      const slices = plan.changes.flatMap(({ hold }) => this.#slice(hold));
      const change = {
        entries: plan.changes.flatMap(({ entries }) => entries),
        holds: plan.changes.map(({ hold }) => hold),
      };
      return { change, result: { kind: "granted", slices } };
    });
  }

  /** What was granted before, as far as its time is not over: a slice has one life. */
  #again(before: readonly Hold[], atUs: InstantUs): Grant {
    const slices = before
      .filter(({ expiresUs }) => expiresUs > atUs)
      .flatMap((hold) => this.#slice(hold));
    return slices.length > 0
      ? { kind: "granted", slices }
      : { kind: "refused", reason: "expected a new key, found that of slices that have ended" };
  }

  /** Those that are still open, with their new end. */
  async renew(gateway: GatewayId, ids: readonly string[]): Promise<readonly GrantedSlice[]> {
    const { writer, nowUs } = this.#parts;
    return writer.write(async () => {
      const atUs = nowUs();
      const slices = this.#own(gateway, ids)
        .filter(({ expiresUs }) => expiresUs > atUs)
        .flatMap((hold) => this.#slice(hold))
        .map(({ hold, package: each }) => {
          const lastUs = atUs + this.#ttlUs;
          const endUs = lastUs < each.expiresUs ? lastUs : each.expiresUs;
          return { hold: renewed(hold, endUs), package: each };
        });
      return { change: { holds: slices.map(({ hold }) => hold) }, result: slices };
    });
  }

  /** What was used of each, and of which no more will be. */
  async giveBack(gateway: GatewayId, usedById: ReadonlyMap<string, bigint>): Promise<void> {
    const { writer, nowUs } = this.#parts;
    await writer.write(async () => {
      const atUs = nowUs();
      const changes = this.#own(gateway, [...usedById.keys()]).map((hold) =>
        shrink(hold, usedById.get(hold.id) ?? hold.amount, atUs),
      );
      const change = {
        entries: changes.flatMap(({ entries }) => entries),
        holds: changes.map(({ hold }) => hold),
      };
      return { change, result: undefined };
    });
  }

  /** Ends holds whose time is over, by the ledger's clock. Resolves to how many. */
  async sweep(): Promise<number> {
    const { writer, holds, nowUs } = this.#parts;
    const isDue = (): boolean => holds.all().some(({ expiresUs }) => expiresUs <= nowUs());
    if (!isDue()) return 0;
    return writer.write(async () => {
      const atUs = nowUs();
      const due = holds
        .all()
        .filter(({ expiresUs }) => expiresUs <= atUs)
        .slice(0, endedMax)
        .map((hold) => end(hold, "expired", atUs));
      const change = {
        entries: due.flatMap(({ entries }) => entries),
        holds: due.map(({ hold }) => hold),
      };
      return { change, result: due.length };
    });
  }

  #own(gateway: GatewayId, ids: readonly string[]): Hold[] {
    return [...new Set(ids)]
      .map((id) => this.#parts.holds.hold(id))
      .filter((hold) => hold !== undefined)
      .filter((hold) => gatewayOf(hold) === gateway);
  }

  #holdsOn({ id, tenant, paths }: TokenPackage): readonly Hold[] {
    return paths.flatMap((path) => this.#parts.holds.on(pathWallet(tenant, path, id)));
  }

  #slice(hold: Hold): GrantedSlice[] {
    const id = hold.debit.slice(hold.debit.lastIndexOf(":") + 1) as PackageId;
    const found = this.#parts.catalog.package(id);
    return found === undefined ? [] : [{ hold, package: found }];
  }
}

/**
 * Whether a tenant stops when its packages are used up: those in force all say so, or the last that ended does. Who never
 * bought one pays as it goes.
 */
export function isLimited(catalog: TokenPackages, tenant: TenantId, atUs: InstantUs): boolean {
  const valid = catalog.valid(tenant, atUs);
  if (valid.length > 0) return valid.every(({ sku }) => sku.overage === "stop");
  const ended = catalog.ofTenant(tenant).filter(({ startsUs }) => startsUs <= atUs);
  const last = ended.toSorted((a, b) => Number(b.expiresUs - a.expiresUs))[0];
  return last?.sku.overage === "stop";
}
