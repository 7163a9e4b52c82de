/**
 * Rules of the FinOps Open Cost and Usage Specification for the columns that we have, written from the text of the
 * specification's column definitions, not from our code.
 */
type Kind = "String" | "Decimal" | "Date/Time" | "JSON";
type Cells = Readonly<Record<string, string>>;

interface ColumnRule {
  readonly kind: Kind;
  readonly mayBeNull: boolean;
  readonly values?: readonly string[];
  readonly isNotNegative?: true;
}

const text = { kind: "String", mayBeNull: false } as const;
const maybeText = { kind: "String", mayBeNull: true } as const;
const decimal = { kind: "Decimal", mayBeNull: false } as const;
const maybeDecimal = { kind: "Decimal", mayBeNull: true } as const;
const instant = { kind: "Date/Time", mayBeNull: false } as const;

export const columnRules: Readonly<Record<string, ColumnRule>> = {
  BilledCost: decimal,
  BillingAccountId: text,
  BillingAccountName: maybeText,
  BillingAccountType: maybeText,
  BillingCurrency: { ...text, values: ["CNY"] },
  BillingPeriodEnd: instant,
  BillingPeriodStart: instant,
  ChargeCategory: { ...text, values: ["Usage", "Purchase", "Tax", "Credit", "Adjustment"] },
  ChargeClass: { ...maybeText, values: ["Correction"] },
  ChargeDescription: maybeText,
  ChargeFrequency: { ...text, values: ["One-Time", "Recurring", "Usage-Based"] },
  ChargePeriodEnd: instant,
  ChargePeriodStart: instant,
  ConsumedQuantity: maybeDecimal,
  ConsumedUnit: maybeText,
  ContractApplied: { kind: "JSON", mayBeNull: true },
  ContractedCost: decimal,
  ContractedUnitPrice: { ...maybeDecimal, isNotNegative: true },
  EffectiveCost: decimal,
  HostProviderName: text,
  InvoiceDetailId: maybeText,
  InvoiceId: maybeText,
  InvoiceIssuerName: text,
  ListCost: decimal,
  ListUnitPrice: { ...maybeDecimal, isNotNegative: true },
  PricingCategory: { ...maybeText, values: ["Standard", "Dynamic", "Committed", "Other"] },
  PricingCurrency: text,
  PricingQuantity: maybeDecimal,
  PricingUnit: maybeText,
  ProviderName: text,
  PublisherName: text,
  RegionId: maybeText,
  RegionName: maybeText,
  ResourceId: maybeText,
  ResourceName: maybeText,
  ResourceType: maybeText,
  ServiceCategory: { ...text, values: ["AI and Machine Learning"] },
  ServiceName: text,
  ServiceProviderName: text,
  ServiceSubcategory: { ...text, values: ["Generative AI"] },
  SkuId: maybeText,
  SkuMeter: maybeText,
  SkuPriceId: maybeText,
  SubAccountId: maybeText,
  SubAccountName: maybeText,
  SubAccountType: maybeText,
};

/** Every dataset of a version has these. */
export const mandatory: Readonly<Record<"1.3" | "1.4", readonly string[]>> = {
  "1.4": [
    ...["BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"],
    ...["BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass"],
    ...["ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"],
    ...["EffectiveCost", "HostProviderName", "InvoiceDetailId", "InvoiceId", "InvoiceIssuerName"],
    ...["ListCost", "ListUnitPrice", "PricingQuantity", "PricingUnit", "ServiceCategory"],
    ...["ServiceName", "ServiceProviderName", "ServiceSubcategory"],
  ],
  "1.3": [
    ...["BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency"],
    ...["BillingPeriodEnd", "BillingPeriodStart", "ChargeCategory", "ChargeClass"],
    ...["ChargeDescription", "ChargePeriodEnd", "ChargePeriodStart", "ContractedCost"],
    ...["EffectiveCost", "HostProviderName", "InvoiceIssuerName", "ListCost", "PricingQuantity"],
    ...["PricingUnit", "ProviderName", "PublisherName", "ServiceCategory", "ServiceName"],
    ...["ServiceProviderName"],
  ],
};

/** Digits behind the point of a mean unit price: its product with a quantity is exact to so many parts. */
const meanError = 10n ** 3n;

/** What of a file is against the rules; none if it is a FOCUS file. */
export function focusMistakes(
  header: readonly string[],
  rows: readonly Cells[],
  version: "1.3" | "1.4",
): string[] {
  const lines = rows.flatMap((row, place) =>
    [...cellMistakes(header, row), ...rowMistakes(row)].map((each) => `row ${place + 1}: ${each}`),
  );
  return [...headerMistakes(header, version), ...lines, ...fileMistakes(rows)];
}

function headerMistakes(header: readonly string[], version: "1.3" | "1.4"): string[] {
  const missing = mandatory[version].filter((name) => !header.includes(name));
  const unknown = header.filter(
    (name) => columnRules[name] === undefined && !/^x_[A-Z]/.test(name),
  );
  const own = header.filter((name) => name.startsWith("x_"));
  const theirs = header.filter((name) => !name.startsWith("x_"));
  const inOrder = [...theirs.toSorted(), ...own.toSorted()];
  return [
    ...missing.map((name) => `header: ${name} is missing`),
    ...unknown.map((name) => `header: ${name} is neither a column nor marked as ours`),
    ...(header.join() === inOrder.join() ? [] : ["header: not sorted, ours behind theirs"]),
  ];
}

function cellMistakes(header: readonly string[], row: Cells): string[] {
  return header.flatMap((name) => {
    const rule = columnRules[name];
    const value = row[name] ?? "";
    if (rule === undefined) return [];
    if (value === "") return rule.mayBeNull ? [] : [`${name} is null`];
    const isForm = forms[rule.kind].test(value);
    const isValue = rule.values === undefined || rule.values.includes(value);
    const isSign = rule.isNotNegative === undefined || !value.startsWith("-");
    return isForm && isValue && isSign ? [] : [`${name} is ${value}`];
  });
}

const forms: Readonly<Record<Kind, RegExp>> = {
  String: /\S/,
  // Always with a point, so that no reader takes a column of whole numbers for integers.
  Decimal: /^-?\d+\.\d+$/,
  "Date/Time": /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/,
  JSON: /^\{.*\}$/,
};

function rowMistakes(row: Cells): string[] {
  const is = (name: string): boolean => (row[name] ?? "") !== "";
  const category = row["ChargeCategory"] ?? "";
  const isPriced = ["Usage", "Purchase"].includes(category) && row["ChargeClass"] !== "Correction";
  const ofPackages = ["Purchase", "Credit"].includes(category);
  const rules: readonly (readonly [string, boolean])[] = [
    ["SkuPriceId and SkuId of usage are known", !isPriced || (is("SkuPriceId") && is("SkuId"))],
    [
      "without a SKU price there is no price",
      is("SkuPriceId") || priced.every((name) => !is(name)),
    ],
    ["with a SKU price there are unit prices", !is("SkuPriceId") || unitPrices.every(is)],
    ["a SKU has a meter", is("SkuId") === is("SkuMeter")],
    ["only usage is consumed", category === "Usage" || !is("ConsumedQuantity")],
    ["a quantity has a unit", is("ConsumedQuantity") === is("ConsumedUnit")],
    ["a pricing quantity has a unit", is("PricingQuantity") === is("PricingUnit")],
    [
      "a purchase is not usage-based",
      category !== "Purchase" || row["ChargeFrequency"] !== "Usage-Based",
    ],
    ["a region has a name", is("RegionId") === is("RegionName")],
    ["a resource has a type", is("ResourceId") === is("ResourceType")],
    ["a sub account has a name and a type", is("SubAccountId") === is("SubAccountName")],
    [
      "an invoice line is of an invoice",
      !is("InvoiceDetailId") || is("InvoiceId") || is("ChargeCategory"),
    ],
    ["list cost is price times quantity", isProduct(row, "ListUnitPrice", "ListCost")],
    [
      "contracted cost is price times quantity",
      isProduct(row, "ContractedUnitPrice", "ContractedCost"),
    ],
    [
      "without a list price list cost is billed",
      is("ListUnitPrice") || row["ListCost"] === row["BilledCost"],
    ],
    [
      "charges end behind their start",
      (row["ChargePeriodStart"] ?? "") < (row["ChargePeriodEnd"] ?? ""),
    ],
    [
      "what is not covered costs what is billed",
      is("ContractApplied") || ofPackages || row["BilledCost"] === row["EffectiveCost"],
    ],
    [
      "what a package cost is the cost of the usage that draws on it",
      !ofPackages || toInteger(row["EffectiveCost"] ?? "", 9) === 0n,
    ],
    [
      "only corrections lie outside the billing period",
      row["ChargeClass"] === "Correction" ||
        ((row["ChargePeriodStart"] ?? "") >= (row["BillingPeriodStart"] ?? "") &&
          (row["ChargePeriodEnd"] ?? "") <= (row["BillingPeriodEnd"] ?? "")),
    ],
  ];
  return rules.filter(([, isKept]) => !isKept).map(([rule]) => rule);
}

const unitPrices = ["ListUnitPrice", "ContractedUnitPrice"] as const;
const priced = [
  ...unitPrices,
  "PricingQuantity",
  "PricingUnit",
  "PricingCategory",
  "ConsumedQuantity",
];

/** Exact where the row has one price; a mean is cut behind its last digit. */
function isProduct(row: Cells, price: string, cost: string): boolean {
  const [unit, quantity] = [row[price] ?? "", row["PricingQuantity"] ?? ""];
  if (unit === "" || quantity === "") return true;
  const product = toInteger(unit, 12) * toInteger(quantity, 12);
  const off = product - toInteger(row[cost] ?? "", 12) * 10n ** 12n;
  const tolerance = (toInteger(quantity, 12) < 0n ? -1n : 1n) * toInteger(quantity, 12) * meanError;
  return (off < 0n ? -off : off) <= tolerance;
}

function fileMistakes(rows: readonly Cells[]): string[] {
  const ids = rows.map((row) => `${row["InvoiceId"]} ${row["InvoiceDetailId"]}`);
  const isUnique =
    rows.every((row) => row["InvoiceDetailId"] === undefined) || new Set(ids).size === ids.length;
  const parents = new Map<string, Set<string>>();
  for (const { SkuPriceId = "", SkuId = "" } of rows) {
    parents.set(SkuPriceId, (parents.get(SkuPriceId) ?? new Set()).add(SkuId));
  }
  const orphans = [...parents].filter(([id, skus]) => id !== "" && skus.size > 1);
  return [
    ...(isUnique ? [] : ["an invoice has a line twice"]),
    ...orphans.map(([id]) => `SKU price ${id} has several SKUs`),
  ];
}

/** A decimal as an integer of so many digits behind the point. */
export function toInteger(decimalText: string, digits: number): bigint {
  const [whole = "", part = ""] = decimalText.replace("-", "").split(".");
  const value = BigInt(`${whole}${part.padEnd(digits, "0")}`);
  return decimalText.startsWith("-") ? -value : value;
}

/** Fields of a CSV file (RFC 4180), by their header. */
export function readCsv(file: string): { readonly header: string[]; readonly rows: Cells[] } {
  const [header = [], ...lines] = file
    .split("\r\n")
    .slice(0, -1)
    .map((line) =>
      [...line.matchAll(/(?:^|,)(?:"((?:[^"]|"")*)"|([^,]*))/g)].map(
        ([, quoted, plain = ""]) => quoted?.replaceAll('""', '"') ?? plain,
      ),
    );
  const rows = lines.map((cells) =>
    Object.fromEntries(header.map((name, place) => [name, cells[place] ?? ""])),
  );
  return { header, rows };
}
