import { createPrivateKey, createPublicKey, sign as signBytes } from "node:crypto";
import { defaultContract } from "../../services/core/settlement/terms/contract.ts";
import { noteKey } from "../../services/core/settlement/proof/note.ts";
import { defaultPairTerms } from "../../services/core/settlement/terms/pair-terms.ts";
import { dayOf } from "../../services/core/settlement/statements/period.ts";
import type { PriceBook } from "../../services/core/settlement/pricing/price-book.ts";
import type { Sku } from "../../services/core/settlement/packages/token-package.ts";
import type {
  BookId,
  InstantUs,
  PackageId,
  PairId,
  PoolId,
  TenantId,
  VendorId,
} from "../../services/core/units.ts";
import { sha256, type SigningKey } from "../../services/io/signing.ts";
import { Agreements } from "../../services/settlement/terms/agreements.ts";
import { friday } from "../core/settlement/fixtures.ts";
import {
  buyBook,
  channel,
  licenceBook,
  owner,
  rateRule,
  sellBook,
  shareRule,
} from "../core/settlement/market.ts";
import { sku } from "../core/settlement/package-ledger.ts";

export const domain = "grid.example";
export const dayUs = 86_400_000_000n;
export const days = [0n, 1n, 2n].map((each) => dayOf(friday + each * dayUs, "Asia/Shanghai"));

/** A key that is the same in every run. */
function keyOf(name: string): SigningKey {
  const seed = Buffer.from(sha256(name), "hex");
  const der = Buffer.concat([Buffer.from("302e020100300506032b657004220420", "hex"), seed]);
  const key = createPrivateKey({ key: der, format: "der", type: "pkcs8" });
  const spki = createPublicKey(key).export({ format: "der", type: "spki" });
  return {
    publicKey: spki.subarray(-32).toString("hex"),
    sign: (text) => signBytes(null, Buffer.from(text, "utf8"), key),
  };
}

/** The second takes over from the first; the root key speaks when both are lost. */
export const operatorKeys = ["operator-1", "operator-2", "operator-3"].map(keyOf);
export const rootKey = keyOf("root");

/** A party that sells. */
export interface VendorTerms {
  readonly id: VendorId;
  readonly pair: PairId;
  readonly pools: readonly PoolId[];
  readonly books: readonly PriceBook[];
  readonly key: SigningKey;
  readonly witness: ReturnType<typeof noteKey>;
}

const secondDayUs = days[1]?.fromUs ?? 0n;

/** Two versions, the second from the second day on. So dear that a few attempts are more than a fen. */
function versionsOf(book: PriceBook): PriceBook[] {
  const lines = (more: bigint) =>
    book.lines.map((line) => ({
      ...line,
      tiers: line.tiers.map((tier) => {
        return { ...tier, pricePicoPerToken: 20n * tier.pricePicoPerToken + more };
      }),
    }));
  return [
    { ...book, lines: lines(1n), effectiveToUs: secondDayUs },
    { ...book, version: 2n, lines: lines(7n), effectiveFromUs: secondDayUs },
  ];
}

function vendor(id: string, pools: readonly string[]): VendorTerms {
  const key = keyOf(id);
  const { publicKey } = key;
  const book = { ...buyBook, id: `${id}-list` as BookId, vendor: id as VendorId };
  return {
    id: id as VendorId,
    pair: `vendor:${id}` as PairId,
    pools: pools as PoolId[],
    books: versionsOf(book),
    key,
    witness: noteKey({ name: `${id}.example/witness`, type: "cosignature", publicKey }, sha256),
  };
}

export const vendors = [vendor("northgrid", ["n1", "n2"]), vendor("southgrid", ["s1"])];

/** `limited` stops when its package is used up, `payg` pays on, `shared` shares what it pays, `unknown` has agreed on nothing. */
export const tenants = ["limited", "payg", "shared", "unknown"] as const;
export type Tenant = (typeof tenants)[number];

export const pairs = [
  ...vendors.map(({ pair }) => pair),
  ...["limited", "payg", "shared"].map((each) => `tenant:${each}` as PairId),
  owner,
  channel,
];

/** Packages run out within the run, and end in the middle of it. */
export const skus: Readonly<Record<"limited" | "payg", Sku>> = {
  limited: sku({
    ...{ id: "small", quantity: 12_000n, priceNano: 12_000_000_001n, overage: "stop" },
    validityUs: dayUs,
  }),
  payg: sku({
    ...{ id: "open", quantity: 6_000n, priceNano: 6_000_000_001n, overage: "payg" },
    validityUs: dayUs / 2n,
  }),
};

export function packageOf(tenant: keyof typeof skus): PackageId {
  return `pack-${tenant}` as PackageId;
}

/** Version in force for who opens an attempt now. */
export function bookOf({ books }: VendorTerms, atUs: InstantUs): PriceBook {
  const found = books.find(
    ({ effectiveFromUs, effectiveToUs }) =>
      effectiveFromUs <= atUs && (effectiveToUs === undefined || atUs < effectiveToUs),
  );
  if (found === undefined) throw new Error(`expected a book in force at ${atUs}, found none`);
  return found;
}

/** What was agreed. `isKnown` says which versions of buy books settlement has heard of. */
export function agreementsOf(
  isKnown: (book: PriceBook) => boolean,
  also: Pick<ConstructorParameters<typeof Agreements>[0], "firstOpenOf" | "packagesOf">,
): Agreements {
  const books = vendors.flatMap((each) => each.books);
  const known = (id: BookId, version: bigint) =>
    books.find((book) => book.id === id && book.version === version && isKnown(book));
  const agreements = new Agreements({
    ...also,
    buyBooks: { known, find: async (id, version) => known(id, version) },
  });
  const { touBasis, touGraceUs, attemptNanoMax } = defaultContract;
  const terms = { ...defaultPairTerms, touBasis, touGraceUs, attemptNanoMax };
  for (const tenant of ["limited", "payg", "shared"]) {
    agreements.addContract({
      ...terms,
      ...{ id: tenant, pair: `tenant:${tenant}` as PairId, sellBook: sellBook.id, channel },
      ...{ creditNano: undefined, splitRule: (tenant === "shared" ? shareRule : rateRule).id },
    });
  }
  const models = [...new Set(licenceBook.lines.map(({ model }) => model))];
  agreements.addContract({
    ...terms,
    ...{ id: "qwen", pair: owner, licenceBook: licenceBook.id, models },
  });
  agreements.addBook(sellBook);
  agreements.addBook(licenceBook);
  agreements.addSplitRule(rateRule);
  agreements.addSplitRule(shareRule);
  return agreements;
}

export const tenantIds = tenants.map((each) => each as string as TenantId);
