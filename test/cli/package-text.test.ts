import { create } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import {
  packageCard,
  packageTable,
  skuTable,
  toAllotment,
  toUnits,
  unitsText,
  walletTable,
} from "../../services/cli/package-text.ts";
import { presetSkus } from "../../services/io/preset-packages.ts";
import {
  AllotmentMode,
  Overage,
  PackageUnit,
  SkuSchema,
  TokenPackageSchema,
  WalletSchema,
} from "../../services/wire/gen/tokengrid/v1/package_pb.js";
import { fromSku } from "../../services/wire/package.ts";

const { POINTS, TOKENS } = PackageUnit;

const bought = create(TokenPackageSchema, {
  ...{ packageId: "p1", tenantId: "acme", skuId: "monthly", skuVersion: 2n, unit: POINTS },
  ...{ startsUs: 1_795_000_000_000_000n, expiresUs: 1_797_592_000_000_000n },
  ...{ quantity: 10_000_000_000n, used: 1_234_500n, refunded: 0n, expired: 0n },
  ...{ left: 9_998_765_500n, held: 500n, priceNano: 9_900_000_000n, releasedNano: 1_222_155n },
  ...{ prepaidNano: 9_898_777_845n, overage: Overage.STOP },
  allotments: [{ path: "research/chat", mode: AllotmentMode.GUARANTEE, units: 4_000_000n }],
});

test("unitsText() writes points as points and tokens as tokens; toUnits() reads them back", () => {
  const texts = [
    [12_500_250n, POINTS, "12,500.25"],
    [1_000n, POINTS, "1"],
    [7n, POINTS, "0.007"],
    [70_000_000n, TOKENS, "70,000,000"],
  ] as const;
  for (const [units, unit, text] of texts) {
    expect(unitsText(units, unit)).toBe(text);
    expect(toUnits(text, unit)).toBe(units);
  }
  expect(["1.5", "-1", "", "1e6", "x"].map((text) => toUnits(text, TOKENS))).toEqual(
    Array.from({ length: 5 }, () => undefined),
  );
  expect(toUnits("1.0001", POINTS)).toBeUndefined();
});

const allotments: Readonly<Record<string, ReturnType<typeof toAllotment>>> = {
  "research=hard:1.5": { path: "research", mode: AllotmentMode.HARD, units: 1_500n },
  "r/chat=cap:12.5%": { path: "r/chat", mode: AllotmentMode.CAP, ppm: 125_000 },
  "r=guarantee:100%": { path: "r", mode: AllotmentMode.GUARANTEE, ppm: 1_000_000 },
  "r=hard:101%": "r: expected 0% to 100% with at most four places, found 101%",
  "r=hard:many": "r: expected a number of points or a percentage, found many",
  "r=soft:1": 'expected <path>=<hard|cap|guarantee>:<units or percent%>, found "r=soft:1"',
};

for (const [text, expected] of Object.entries(allotments)) {
  test(`toAllotment() of ${text}`, () => {
    expect(toAllotment(text, POINTS)).toEqual(expected);
  });
}

test("packages, wallets and skus read as they did", async () => {
  const wallet = create(WalletSchema, {
    ...{ packageId: "p1", tenantId: "acme", path: "", unit: POINTS },
    ...{ units: 9_994_765_500n, held: 500n, used: 0n },
  });
  const own = create(WalletSchema, {
    ...{ packageId: "p1", tenantId: "acme", path: "research/chat", unit: POINTS },
    ...{ mode: AllotmentMode.GUARANTEE, units: 4_000_000n, used: 1_234_500n },
  });
  const skus = presetSkus(1n).map((sku) => create(SkuSchema, fromSku(sku)));
  const parts = [
    packageTable([bought], true),
    packageCard(bought),
    walletTable([wallet, own]),
    skuTable(skus, false),
    packageTable([], false) + walletTable([]) + skuTable([], false),
  ];
  await expect(parts.join("\n")).toMatchFileSnapshot("../golden/cli/package.txt");
});
