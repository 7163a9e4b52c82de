import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Command } from "commander";
import { presetSkus } from "../../io/preset-packages.ts";
import {
  GetWalletsResponseSchema,
  ListPackagesResponseSchema,
  ListSkusResponseSchema,
  PackageService,
  RefundResponseSchema,
  SkuSchema,
  TokenPackageSchema,
  type Sku,
  type TokenPackage,
} from "../../wire/gen/tokengrid/v1/package_pb.js";
import { fromSku } from "../../wire/package.ts";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { readMessage } from "../document.ts";
import { exits, type ExitCode, Failure, Refusal } from "../outcome.ts";
import {
  packageCard,
  packageTable,
  skuTable,
  toAllotment,
  toUnits,
  unitsText,
  walletTable,
} from "../package-text.ts";
import { jsonOf, print, yuan } from "../print.ts";

type Options = ServerOptions & OutputOptions;

interface TenantOptions extends Options {
  readonly tenant?: string;
}

interface BuyOptions extends Options {
  readonly tenant: string;
  readonly id?: string;
  readonly skuVersion?: string;
}

interface NamedOptions extends Options {
  readonly id?: string;
}

interface RefundOptions extends NamedOptions {
  readonly units?: string;
}

const idHelp = "name of this call: called again with it, nothing is done twice";

export function command(): Command {
  return new Command("package")
    .description(
      "Packages of tokens and quota points: what is on sale, what tenants bought, who may use it.",
    )
    .addCommand(
      onServer("skus")
        .description("What is on sale.")
        .option("--preset", "what comes with the product, published or not")
        .action(exits(skus)),
    )
    .addCommand(
      onServer("publish")
        .description(
          "Puts packages on sale. What was sold keeps the version it was sold by; the same version again changes nothing.",
        )
        .argument("[file]", "a sku in YAML or JSON, `-` for standard input; none with --preset")
        .option("--preset", "those that come with the product")
        .action(exits(publish)),
    )
    .addCommand(
      onServer("buy")
        .description("A tenant buys a package: it owes the price, and has the units.")
        .argument("<sku>", "as `package skus` prints it")
        .requiredOption("--tenant <id>", "who buys it")
        .option("--id <package>", `${idHelp} (default: a new one)`)
        .option("--sku-version <number>", "a version of the sku (default: the newest)")
        .action(exits(buy)),
    )
    .addCommand(
      onServer("list")
        .description("Packages that were bought, and what became of them.")
        .option("--tenant <id>", "of this tenant alone")
        .action(exits(list)),
    )
    .addCommand(allocateCommand())
    .addCommand(
      onServer("refund")
        .description(
          "Gives back unused units at the value that is left of them, by the rule of the sku.",
        )
        .argument("<package>", "as `package list` prints it")
        .option("--units <number>", "tokens or points (default: all that is free)")
        .option("--id <name>", `${idHelp} (default: a new one)`)
        .action(exits(refund)),
    )
    .addCommand(
      onServer("wallets")
        .description("Who may use how much, and who used it.")
        .argument("[package]", "of this package alone")
        .option("--tenant <id>", "of this tenant alone")
        .action(exits(wallets)),
    );
}

function onServer(name: string): Command {
  return withOutput(withServer(new Command(name)));
}

function allocateCommand(): Command {
  return onServer("allocate")
    .summary("share a package out among departments, projects and scenarios")
    .description(
      "Shares a package out, instead of the plan before. `hard` gives units of its own and no others, `guarantee` units " +
        "of its own and then those above it, `cap` a limit on those above it. Percentages are of the free units that are " +
        "not asked for by number; of a cap, of the whole package.",
    )
    .argument("<package>", "as `package list` prints it")
    .argument(
      "<allotment...>",
      "such as research=guarantee:40% research/chat=hard:500000 sales=cap:20%",
    )
    .option("--id <name>", `${idHelp} (default: a new one)`)
    .action(exits(allocate));
}

async function skus(options: Options & { readonly preset?: boolean }): Promise<ExitCode> {
  const found =
    options.preset === true
      ? preset()
      : (await answered(options, () => client(PackageService, options).listSkus({}))).skus;
  showSkus(options, found);
  return 0;
}

async function publish(
  file: string | undefined,
  options: Options & { readonly preset?: boolean },
): Promise<ExitCode> {
  if ((file === undefined) === (options.preset !== true)) {
    throw new Failure("package publish: expected a file or --preset, one of the two");
  }
  const wanted = file === undefined ? preset() : [readMessage(file, SkuSchema)];
  const published: Sku[] = [];
  for (const sku of wanted) {
    const answer = await answered(options, () =>
      client(PackageService, options).publishSku({ sku }),
    );
    if (answer.sku !== undefined) published.push(answer.sku);
  }
  showSkus(options, published);
  return 0;
}

/** In force from when they are published. */
function preset(): Sku[] {
  return presetSkus(0n).map((sku) => create(SkuSchema, fromSku(sku)));
}

function showSkus(options: OutputOptions, found: readonly Sku[]): void {
  print(options.output, {
    json: jsonOf(ListSkusResponseSchema, create(ListSkusResponseSchema, { skus: [...found] })),
    names: found.map(({ skuId }) => skuId),
    text: (isWide) => skuTable(found, isWide),
  });
}

async function buy(skuId: string, options: BuyOptions): Promise<ExitCode> {
  const { tenant: tenantId, id: packageId = `p-${randomUUID()}`, skuVersion: text = "0" } = options;
  if (!/^\d{1,9}$/.test(text)) {
    throw new Failure(`--sku-version: expected a number, found ${JSON.stringify(text)}`);
  }
  const asked = { packageId, tenantId, skuId, skuVersion: BigInt(text) };
  const answer = await answered(options, () => client(PackageService, options).purchase(asked));
  showPackage(options, answer.package);
  return 0;
}

async function list(options: TenantOptions): Promise<ExitCode> {
  const answer = await listed(options, options.tenant);
  print(options.output, {
    json: jsonOf(ListPackagesResponseSchema, answer),
    names: answer.packages.map(({ packageId }) => packageId),
    text: (isWide) => packageTable(answer.packages, isWide),
  });
  return 0;
}

async function allocate(
  packageId: string,
  texts: readonly string[],
  options: NamedOptions,
): Promise<ExitCode> {
  const { unit } = await one(options, packageId);
  const allotments = texts.map((text) => {
    const allotment = toAllotment(text, unit);
    if (typeof allotment === "string") throw new Failure(`package allocate: ${allotment}`);
    return allotment;
  });
  const { id: allocationId = randomUUID() } = options;
  const asked = { packageId, allocationId, allotments };
  const answer = await answered(options, () => client(PackageService, options).allocate(asked));
  showPackage(options, answer.package);
  return 0;
}

async function refund(packageId: string, options: RefundOptions): Promise<ExitCode> {
  const { unit } = await one(options, packageId);
  const { id: refundId = randomUUID(), units: text } = options;
  const units = text === undefined ? undefined : toUnits(text, unit);
  if (text !== undefined && units === undefined) {
    throw new Failure(`--units: expected a number of units, found ${JSON.stringify(text)}`);
  }
  const asked = { packageId, refundId, ...(units !== undefined && { units }) };
  const answer = await answered(options, () => client(PackageService, options).refund(asked));
  const { refundNano, keptNano } = answer;
  print(options.output, {
    json: jsonOf(RefundResponseSchema, answer),
    names: [refundId],
    text: () =>
      `${unitsText(answer.units, unit)} given back for ${yuan(refundNano)} CNY, ${yuan(keptNano)} CNY kept\n`,
  });
  return 0;
}

async function wallets(packageId: string | undefined, options: TenantOptions): Promise<ExitCode> {
  const asked = { packageId: packageId ?? "", tenantId: options.tenant ?? "" };
  const answer = await answered(options, () => client(PackageService, options).getWallets(asked));
  print(options.output, {
    json: jsonOf(GetWalletsResponseSchema, answer),
    names: answer.wallets.map((each) => `${each.packageId}/${each.path}`),
    text: () => walletTable(answer.wallets),
  });
  return 0;
}

async function listed(options: ServerOptions, tenantId = "") {
  return answered(options, () => client(PackageService, options).listPackages({ tenantId }));
}

async function one(options: ServerOptions, packageId: string): Promise<TokenPackage> {
  const { packages } = await listed(options);
  const found = packages.find((each) => each.packageId === packageId);
  if (found === undefined) throw new Refusal(`there is no package ${packageId}`);
  return found;
}

function showPackage(options: OutputOptions, found: TokenPackage | undefined): void {
  if (found === undefined) throw new Error("expected a package in the answer, found none");
  print(options.output, {
    json: jsonOf(TokenPackageSchema, found),
    names: [found.packageId],
    text: () => packageCard(found),
  });
}
