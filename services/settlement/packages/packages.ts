import { planAllocation, type AllotmentAsk } from "../../core/settlement/packages/departments.ts";
import type { OpenHolds } from "../../core/settlement/packages/hold.ts";
import type { LedgerEntry } from "../../core/settlement/ledger/ledger.ts";
import {
  allocationEntries,
  expiryEntries,
  planRefund,
  purchaseEntries,
  type Withdrawal,
} from "../../core/settlement/packages/package-entries.ts";
import { purchaseLeafText, refundLeafText } from "../../core/settlement/packages/package-leaf.ts";
import {
  packageReport,
  walletReports,
  type PackageReport,
  type WalletReport,
} from "../../core/settlement/packages/package-report.ts";
import {
  applyDocument,
  packageKinds,
  readRefund,
  toAllocationText,
  toExpiryText,
  toPurchaseText,
  toRefundText,
  toSkuText,
  type PackageKind,
} from "../../core/settlement/packages/package-text.ts";
import type { BookingOf } from "../../core/settlement/ledger/prepare.ts";
import {
  skuMistakes,
  TokenPackages,
  type Refund,
  type Sku,
  type TokenPackage,
} from "../../core/settlement/packages/token-package.ts";
import { accountsOf, Wallets } from "../../core/settlement/packages/wallet.ts";
import type { InstantUs, PackageId, PairId, TenantId } from "../../core/units.ts";
import type { LedgerBatch, LedgerStore } from "../../io/ledger-store.ts";
import { toConnectError } from "../../wire/errors.ts";
import type { Change, NewLeaf, Writer } from "../ingest/writer.ts";

/** Documents that are read at once. */
const pageDocuments = 1_000;

/** After its end, a package waits so long for records that were opened before it. */
const expiryGraceUs = 3_600_000_000n;

export interface PackagesParts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  /** What the writer keeps of holds. */
  readonly holds: OpenHolds;
  readonly nowUs: () => InstantUs;
  /** The day into whose bill what is bought now goes. */
  readonly bookingOf: BookingOf;
  readonly expiryGraceUs?: bigint;
}

/** Packages that tenants bought, as the ledger's documents and balances have them. */
export class Packages {
  readonly catalog = new TokenPackages();
  readonly #parts: PackagesParts;
  /** Have ended, and have nothing left to expire. */
  readonly #emptied = new Set<PackageId>();

  constructor(parts: PackagesParts) {
    this.#parts = parts;
  }

  /** Reads what there is. To be called once, before anything is written. */
  async load(): Promise<void> {
    for (const kind of packageKinds) {
      for (let afterSeq = 0n; ;) {
        const page = await this.#parts.store.documents(
          { kind },
          { afterSeq, limit: pageDocuments },
        );
        for (const document of page) applyDocument(this.catalog, document);
        const last = page.at(-1);
        if (last === undefined || page.length < pageDocuments) break;
        afterSeq = last.seq;
      }
    }
  }

  /** To be called after every commit, before anybody else has a turn. */
  onCommitted({ documents, entries }: Pick<LedgerBatch, "documents" | "entries">): void {
    for (const document of documents) applyDocument(this.catalog, document);
    for (const { kind, credit } of entries) {
      if (kind !== "draw-reverse") continue;
      // A correction puts units back, also into a package that had ended.
      this.#emptied.delete(credit.slice(credit.lastIndexOf(":") + 1) as PackageId);
    }
  }

  async publish(sku: Sku): Promise<Sku> {
    return this.#parts.writer.write(async () => {
      const versions = this.catalog.versions(sku.id);
      const same = versions.find((each) => isSameSku(each, sku));
      if (same !== undefined) return { change: {}, result: same };
      const mistakes = skuMistakes(sku, versions.at(-1));
      if (mistakes.length > 0) throw toConnectError("BAD_REQUEST", mistakes.join("; "));
      const id = `${sku.id}@${sku.version}`;
      return { change: this.#written("sku", id, { body: toSkuText(sku) }), result: sku };
    });
  }

  async purchase(ask: {
    readonly id: PackageId;
    readonly tenant: TenantId;
    readonly sku: string;
    /** 0: the newest in force. */
    readonly skuVersion: bigint;
  }): Promise<TokenPackage> {
    const { id, tenant } = ask;
    await this.#parts.writer.write(async () => {
      const before = this.catalog.package(id);
      if (before !== undefined) {
        const { sku } = before;
        const isSame =
          before.tenant === tenant &&
          sku.id === ask.sku &&
          (ask.skuVersion === 0n || ask.skuVersion === sku.version);
        if (isSame) return { change: {}, result: undefined };
        const message = `package_id: ${id} is ${sku.id}@${sku.version} of ${before.tenant}`;
        throw toConnectError("CONFLICT", message);
      }
      const atUs = this.#parts.nowUs();
      const sku = this.#sold(ask, atUs);
      const sold = { sku: sku.id, skuVersion: sku.version };
      const purchase = { id, tenant, ...sold, atUs, expiresUs: atUs + sku.validityUs };
      const body = toPurchaseText(purchase, sku);
      const entries = purchaseEntries(purchase, sku);
      const booking = this.#parts.bookingOf(pairOf(tenant), atUs);
      const leaf = purchaseLeafText(purchase, sku, booking);
      return {
        change: this.#written("purchase", id, { body, tenant, entries, leaf }),
        result: undefined,
      };
    });
    return this.#known(id);
  }

  /** `name` is the caller's own for the plan. */
  async allocate(
    id: PackageId,
    name: string,
    asks: readonly AllotmentAsk[],
  ): Promise<TokenPackage> {
    const { writer, nowUs, store } = this.#parts;
    await writer.write(async () => {
      const each = this.#known(id);
      const allocation = `${id}:${name}`;
      if ((await store.document("allocation", allocation)) !== undefined) {
        return { change: {}, result: undefined };
      }
      const wallets = await this.#wallets([each]);
      const plan = planAllocation(asks, wallets.freeOf(each), each.sku.quantity);
      if (plan.kind === "refused") throw toConnectError("BAD_REQUEST", plan.reason);
      const atUs = nowUs();
      const { allotments, moves } = plan;
      const body = toAllocationText({ id: allocation, package: id, atUs, allotments });
      const entries = allocationEntries(each, moves, { allocation, atUs });
      const { tenant } = each;
      const change = this.#written("allocation", allocation, { body, tenant, entries });
      return { change, result: undefined };
    });
    return this.#known(id);
  }

  /** `units` undefined is all that is free. */
  async refund(id: PackageId, name: string, units: bigint | undefined): Promise<Refund> {
    const { writer, store } = this.#parts;
    return writer.write(async () => {
      const each = this.#known(id);
      const refundId = `${id}:${name}`;
      const before = await store.document("refund", refundId);
      if (before !== undefined) return { change: {}, result: readRefund(before.body) };
      const plan = planRefund(await this.#withdrawal(each), { id: refundId, units });
      if (plan.kind === "refused") throw toConnectError("CONFLICT", plan.reason);
      const { refund, entries } = plan;
      const { tenant, sku } = each;
      const booking = this.#parts.bookingOf(pairOf(tenant), refund.atUs);
      const leaf = refundLeafText(refund, { tenant, sku, booking });
      const written = { body: toRefundText(refund), tenant, entries, leaf };
      return { change: this.#written("refund", refundId, written), result: refund };
    });
  }

  /** Packages that have ended lose what is left of them. Resolves to how many did. */
  async sweep(): Promise<number> {
    const graceUs = this.#parts.expiryGraceUs ?? expiryGraceUs;
    const dueUs = this.#parts.nowUs() - graceUs;
    const due = this.catalog
      .packages()
      .filter(({ id, expiresUs }) => expiresUs <= dueUs && !this.#emptied.has(id));
    let expired = 0;
    for (const { id } of due) if (await this.#expire(id)) expired++;
    return expired;
  }

  async reports(tenant: TenantId | undefined): Promise<PackageReport[]> {
    const found = this.#found(tenant, undefined);
    const balances = await this.#parts.store.balancesOf(accountsOf(found));
    return found.map((each) => packageReport(each, balances));
  }

  async report(id: PackageId): Promise<PackageReport> {
    const each = this.#known(id);
    return packageReport(each, await this.#parts.store.balancesOf(accountsOf([each])));
  }

  async walletsOf(
    tenant: TenantId | undefined,
    id: PackageId | undefined,
  ): Promise<WalletReport[]> {
    const found = this.#found(tenant, id);
    const balances = await this.#parts.store.balancesOf(accountsOf(found));
    return found.flatMap((each) => walletReports(each, balances));
  }

  #found(tenant: TenantId | undefined, id: PackageId | undefined): readonly TokenPackage[] {
    const all = tenant === undefined ? this.catalog.packages() : this.catalog.ofTenant(tenant);
    return all.filter((each) => id === undefined || each.id === id);
  }

  async #expire(id: PackageId): Promise<boolean> {
    return this.#parts.writer.write(async () => {
      const withdrawal = await this.#withdrawal(this.#known(id));
      const { each, atUs, state } = withdrawal;
      const expiry = `${id}:${each.expiries + 1n}`;
      const { units, valueNano, entries } = expiryEntries(withdrawal, expiry);
      // What is held comes free when the hold ends, and expires then.
      if (state.gone + units === state.quantity) this.#emptied.add(id);
      if (units === 0n && valueNano === 0n) return { change: {}, result: false };
      const body = toExpiryText({ id: expiry, package: id, atUs, units, valueNano });
      const { tenant } = each;
      return { change: this.#written("expiry", expiry, { body, tenant, entries }), result: true };
    });
  }

  async #withdrawal(each: TokenPackage): Promise<Withdrawal> {
    const wallets = await this.#wallets([each]);
    const atUs = this.#parts.nowUs();
    const nobody = { department: "", project: "", scenario: "", gateway: undefined };
    const state = wallets.stateOf(each, { ...nobody, tenant: each.tenant, openedUs: atUs });
    return { each, state, wallets: wallets.freeOf(each), atUs };
  }

  async #wallets(packages: readonly TokenPackage[]): Promise<Wallets> {
    const { store, holds } = this.#parts;
    return new Wallets(await store.balancesOf(accountsOf(packages)), holds);
  }

  #sold(
    { sku: id, skuVersion }: { readonly sku: string; readonly skuVersion: bigint },
    atUs: InstantUs,
  ): Sku {
    const sku =
      skuVersion === 0n
        ? this.catalog.skusAt(atUs).find((each) => each.id === id)
        : this.catalog.sku(id, skuVersion);
    if (sku === undefined || sku.effectiveFromUs > atUs) {
      throw toConnectError("NOT_FOUND", `sku_id: there is no ${id} in force`);
    }
    return sku;
  }

  #known(id: PackageId): TokenPackage {
    const found = this.catalog.package(id);
    if (found !== undefined) return found;
    throw toConnectError("NOT_FOUND", `package_id: there is no ${id}`);
  }

  #written(
    kind: PackageKind,
    id: string,
    made: {
      readonly body: string;
      readonly tenant?: TenantId;
      readonly entries?: readonly LedgerEntry[];
      /** For the tenant's log. */
      readonly leaf?: string;
    },
  ): Change {
    const { body, tenant, entries = [], leaf } = made;
    const pair = tenant === undefined ? "internal" : pairOf(tenant);
    const leaves: NewLeaf[] =
      leaf === undefined ? [] : [{ log: pair, kind: "purchase", ref: `${kind}:${id}`, text: leaf }];
    return { documents: [{ kind, id, pair, atUs: this.#parts.nowUs(), body }], entries, leaves };
  }
}

function pairOf(tenant: TenantId): PairId {
  return `tenant:${tenant}` as PairId;
}

/** Published again, it may name another instant from which it is in force. */
function isSameSku(a: Sku, b: Sku): boolean {
  return toSkuText({ ...a, effectiveFromUs: 0n }) === toSkuText({ ...b, effectiveFromUs: 0n });
}
