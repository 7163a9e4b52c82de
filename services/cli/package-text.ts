import { allotmentModeWords, overageWords, packageUnitWords } from "../wire/package.ts";
import {
  AllotmentMode,
  PackageUnit,
  type Allotment,
  type Sku,
  type TokenPackage,
  type Wallet,
} from "../wire/gen/tokengrid/v1/package_pb.js";
import { localTime } from "./period.ts";
import { type Column, grouped, textCard, textTable, yuan } from "./print.ts";

const usPerDay = 86_400_000_000n;
const ppmPerPercent = 10_000;

/** Thousandths of a point as points, tokens as they are: `12,500.25`. */
export function unitsText(units: bigint, unit: PackageUnit): string {
  if (unit !== PackageUnit.POINTS) return grouped(units);
  const part = (units % 1_000n).toString().padStart(3, "0").replace(/0+$/, "");
  return `${grouped(units / 1_000n)}${part === "" ? "" : `.${part}`}`;
}

/** `12500.25` points → 12500250n; undefined if it is no such number. */
export function toUnits(text: string, unit: PackageUnit): bigint | undefined {
  const places = unit === PackageUnit.POINTS ? 3 : 0;
  const [, whole, part = ""] = /^(\d{1,15})(?:\.(\d+))?$/.exec(text.replaceAll(/[_,]/g, "")) ?? [];
  if (whole === undefined || part.length > places) return undefined;
  return BigInt(whole + part.padEnd(places, "0"));
}

/** `research/chat=hard:20%` or `sales=cap:500000`. Says what is wrong with another. */
export function toAllotment(
  text: string,
  unit: PackageUnit,
): Pick<Allotment, "path" | "mode" | "units" | "ppm"> | string {
  const [, path = "", word = "", amount = ""] = /^([^=]+)=([a-z]+):(.+)$/.exec(text) ?? [];
  const mode = modes.get(word);
  if (mode === undefined) {
    return `expected <path>=<hard|cap|guarantee>:<units or percent%>, found ${JSON.stringify(text)}`;
  }
  if (!amount.endsWith("%")) {
    const units = toUnits(amount, unit);
    if (units !== undefined) return { path, mode, units };
    return `${path}: expected a number of ${unitName(unit)} or a percentage, found ${amount}`;
  }
  const ppm = Number(amount.slice(0, -1)) * ppmPerPercent;
  if (Number.isInteger(ppm) && ppm >= 0 && ppm <= 1_000_000) return { path, mode, ppm };
  return `${path}: expected 0% to 100% with at most four places, found ${amount}`;
}

const modes: ReadonlyMap<string, AllotmentMode> = new Map([
  ["hard", AllotmentMode.HARD],
  ["cap", AllotmentMode.CAP],
  ["guarantee", AllotmentMode.GUARANTEE],
]);

function unitName(unit: PackageUnit): string {
  return packageUnitWords.toWord("unit", unit);
}

const skuColumns: readonly Column[] = [
  { name: "SKU" },
  { name: "VERSION", align: "right" },
  { name: "TITLE" },
  { name: "QUANTITY", align: "right" },
  { name: "UNIT" },
  { name: "CNY", align: "right" },
  { name: "DAYS", align: "right" },
  { name: "THEN" },
  { name: "REFUND", align: "right" },
  { name: "SOURCE", isWide: true },
];

export function skuTable(skus: readonly Sku[], isWide: boolean): string {
  const rows = skus.map((sku) => [
    sku.skuId,
    String(sku.version),
    sku.title,
    unitsText(sku.quantity, sku.unit),
    unitName(sku.unit),
    yuan(sku.priceNano),
    String(sku.validityUs / usPerDay),
    overageWords.toWord("overage", sku.overage),
    `${sku.refundPpm / ppmPerPercent} %`,
    sku.source,
  ]);
  return rows.length === 0 ? "no packages on sale\n" : textTable(skuColumns, rows, isWide);
}

const packageColumns: readonly Column[] = [
  { name: "PACKAGE" },
  { name: "TENANT" },
  { name: "SKU" },
  { name: "UNTIL" },
  { name: "BOUGHT", align: "right" },
  { name: "USED", align: "right" },
  { name: "LEFT", align: "right" },
  { name: "UNIT" },
  { name: "PRICE CNY", align: "right" },
  { name: "PREPAID CNY", align: "right" },
  { name: "HELD", align: "right", isWide: true },
  { name: "REFUNDED", align: "right", isWide: true },
  { name: "EXPIRED", align: "right", isWide: true },
  { name: "EARNED CNY", align: "right", isWide: true },
  { name: "REFUNDED CNY", align: "right", isWide: true },
  { name: "BREAKAGE CNY", align: "right", isWide: true },
];

export function packageTable(packages: readonly TokenPackage[], isWide: boolean): string {
  const rows = packages.map((each) => [
    each.packageId,
    each.tenantId,
    `${each.skuId}@${each.skuVersion}`,
    localTime(each.expiresUs),
    ...[each.quantity, each.used, each.left].map((units) => unitsText(units, each.unit)),
    unitName(each.unit),
    yuan(each.priceNano),
    yuan(each.prepaidNano),
    ...[each.held, each.refunded, each.expired].map((units) => unitsText(units, each.unit)),
    ...[each.releasedNano, each.refundedNano, each.breakageNano].map(yuan),
  ]);
  return rows.length === 0 ? "no packages\n" : textTable(packageColumns, rows, isWide);
}

/** One package: what was bought, and that it adds up. */
export function packageCard(each: TokenPackage): string {
  const units = (count: bigint): string => `${unitsText(count, each.unit)} ${unitName(each.unit)}`;
  return textCard([
    ["package", each.packageId],
    ["tenant", each.tenantId],
    [
      "sku",
      `${each.skuId}@${each.skuVersion}, then ${overageWords.toWord("overage", each.overage)}`,
    ],
    ["in force", `${localTime(each.startsUs)} to ${localTime(each.expiresUs)}`],
    ["bought", `${units(each.quantity)} for ${yuan(each.priceNano)} CNY`],
    ["used", `${units(each.used)}, ${yuan(each.releasedNano)} CNY earned`],
    ["refunded", `${units(each.refunded)}, ${yuan(each.refundedNano)} CNY`],
    ["expired", `${units(each.expired)}, ${yuan(each.breakageNano)} CNY breakage`],
    ["left", `${units(each.left)}, ${yuan(each.prepaidNano)} CNY prepaid`],
    ...each.allotments.map(({ path, mode, units: allotted = 0n }) => {
      return [path, `${allotmentModeWords.toWord("mode", mode)} ${units(allotted)}`] as const;
    }),
  ]);
}

const walletColumns: readonly Column[] = [
  { name: "PACKAGE" },
  { name: "TENANT" },
  { name: "WALLET" },
  { name: "MODE" },
  { name: "UNITS", align: "right" },
  { name: "HELD", align: "right" },
  { name: "USED", align: "right" },
  { name: "UNIT" },
];

export function walletTable(wallets: readonly Wallet[]): string {
  const rows = wallets.map(({ unit, mode, ...each }) => [
    each.packageId,
    each.tenantId,
    each.path === "" ? "(shared)" : each.path,
    mode === undefined ? "-" : allotmentModeWords.toWord("mode", mode),
    ...[each.units, each.held, each.used].map((units) => unitsText(units, unit)),
    unitName(unit),
  ]);
  return rows.length === 0 ? "no wallets\n" : textTable(walletColumns, rows);
}
