import { Command } from "commander";
import { sideOf } from "../../core/settlement/pricing/price-book.ts";
import { TermsKind } from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { sha256 } from "../../io/signing.ts";
import { PoolService } from "../../wire/gen/tokengrid/v1/pool_pb.js";
import { fromPriceBook } from "../../wire/price.ts";
import { answered, client, withOutput, withServer } from "../connect.ts";
import { exits, type ExitCode, Refusal } from "../outcome.ts";
import { withPair, type PairOptions } from "../pair.ts";
import { print } from "../print.ts";
import {
  get,
  list,
  propose,
  sign,
  validate,
  type SignOptions,
  type TermsOptions,
} from "../terms/actions.ts";
import { readTerms, withStart, type StartOptions } from "../terms/read-terms.ts";
import { instantUs, withSigning } from "./contract.ts";

const type = "price_version";
const kind = TermsKind.PRICE_VERSION;

export function command(): Command {
  return new Command("price")
    .description(
      "Versions of price books: what vendors and owners of models are owed (buy, licence), what tenants owe (sell). A " +
        "version is never edited, and used when both parties have signed it.",
    )
    .addCommand(
      withPair(withOutput(withServer(new Command("list"))))
        .description("Versions, newest first, with who still has to sign.")
        .action(exits(listed)),
    )
    .addCommand(
      withOutput(withServer(new Command("get")))
        .description("One version with its text and signatures.")
        .argument("<id>", "such as northgrid-list@2, or northgrid-list for the newest")
        .option(
          "--at <time>",
          "the version in force then, such as 2026-12-01T00:00:00+08:00",
          instantUs,
        )
        .option(
          "--out <file>",
          "write its text and signatures there, for `statement verify --books`",
        )
        .action(exits(got)),
    )
    .addCommand(
      withStart(withOutput(new Command("validate")))
        .description(
          "All mistakes of a file at once: gaps, overlaps, prices that are not exact, each with line, column and path. Needs " +
            "no server; exits with 2 if refused.",
        )
        .argument("<file>", "YAML or JSON; - reads standard input")
        .action(exits(validated)),
    )
    .addCommand(
      withStart(withOutput(withServer(new Command("publish"))))
        .description(
          "Puts a version up for signature. What a vendor sells is published to placement, with the vendor's credential " +
            "(--token-file); every other side is proposed to settlement. Exits with 2 if it is refused.",
        )
        .argument("<file>", "YAML or JSON; - reads standard input")
        .action(exits(published)),
    )
    .addCommand(
      withSigning(withOutput(withServer(new Command("sign"))))
        .description(
          "Signs a version as the caller. The operator's signature is made by the server; a party signs with --key, or, as " +
            "long as it has no key on file, with its credential.",
        )
        .argument("<id>", "such as northgrid-list@2")
        .action(exits(signed)),
    );
}

async function listed(options: TermsOptions & PairOptions): Promise<ExitCode> {
  return list(options, [kind]);
}

async function got(
  id: string,
  options: TermsOptions & { readonly at?: bigint; readonly out?: string },
): Promise<ExitCode> {
  return get(id, options, kind);
}

async function validated(file: string, options: TermsOptions & StartOptions): Promise<ExitCode> {
  return validate(file, options, type);
}

async function published(file: string, options: TermsOptions & StartOptions): Promise<ExitCode> {
  const { value, id, text } = readTerms(file, type, options);
  if (!("currency" in value)) throw new Refusal(`${file}: type: expected ${type}`);
  if (sideOf(value) !== "buy") return propose(file, options, type);
  const pools = client(PoolService, options);
  await answered(options, () => pools.publishPrices({ book: fromPriceBook(value) }));
  print(options.output, {
    json: { termsId: id, hash: sha256(text) },
    names: [id],
    text: () => `${id}: published; in force once both have signed\n`,
  });
  return 0;
}

async function signed(id: string, options: SignOptions): Promise<ExitCode> {
  return sign(id, options, kind);
}
