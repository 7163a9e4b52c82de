import { Command, InvalidArgumentError, Option } from "commander";
import { TermsKind } from "../../wire/gen/tokengrid/v1/contract_pb.js";
import { withOutput, withServer } from "../connect.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { withPair, type PairOptions } from "../pair.ts";
import {
  get,
  list,
  propose,
  sign,
  validate,
  type SignOptions,
  type TermsOptions,
} from "../terms/actions.ts";
import { keyHelp, kidHelp } from "../signed.ts";
import { withStart, type StartOptions } from "../terms/read-terms.ts";
import { registerKey } from "../terms/register-key.ts";

/** Everything that is agreed on but prices, which have a command of their own. */
const kinds = {
  contract: TermsKind.CONTRACT,
  calendar: TermsKind.CALENDAR,
  "split-rule": TermsKind.SPLIT_RULE,
  "standard-tokens": TermsKind.STANDARD_TOKENS,
  reprice: TermsKind.REPRICE,
} as const;

interface WithKind {
  readonly kind: keyof typeof kinds;
}

export function command(): Command {
  return new Command("contract")
    .description(
      "What was agreed with vendors, tenants, owners of models and channels: contracts, and with --kind calendars, split " +
        "rules, tables of standard tokens and reprices. A version is used when everybody who has to has signed it.",
    )
    .addCommand(
      withPair(withKind(withOutput(withServer(new Command("list"))), "all"))
        .description("Versions, newest first, with who still has to sign.")
        .action(exits(listed)),
    )
    .addCommand(
      withKind(withOutput(withServer(new Command("get"))))
        .description("One version with its text and signatures.")
        .argument("<id>", "such as northgrid@2, or northgrid for the newest")
        .option(
          "--at <time>",
          "the version in force then, such as 2026-12-01T00:00:00+08:00",
          instantUs,
        )
        .action(exits(got)),
    )
    .addCommand(
      withStart(withOutput(new Command("validate")))
        .description(
          "All mistakes of a file at once, each with line, column and path. Needs no server; exits with 2 if refused. What the " +
            "file is its member `type` says: contract, split_rule, calendar, standard_tokens or reprice.",
        )
        .argument("<file>", "YAML or JSON; - reads standard input")
        .action(exits(validated)),
    )
    .addCommand(
      withStart(withOutput(withServer(new Command("propose"))))
        .description("Puts a version up for signature. Exits with 2 if it is refused.")
        .argument("<file>", "YAML or JSON; - reads standard input")
        .action(exits(proposed)),
    )
    .addCommand(
      withSigning(withKind(withOutput(withServer(new Command("sign")))))
        .description(
          "Signs a version as the caller. The operator's signature is made by the server; a party signs with --key, or, as " +
            "long as it has no key on file, with its credential.",
        )
        .argument("<id>", "such as northgrid@2")
        .action(exits(signed)),
    )
    .addCommand(registerKeyCommand());
}

function registerKeyCommand(): Command {
  return withOutput(withServer(new Command("register-key")))
    .description(
      "Puts a party's public key on file: what it signs by it counts from now on, for contracts, prices, statements, claims " +
        "and disputes, and its credential alone agrees to nothing any more. The key itself stays here. A further key has " +
        "the word of one before, with --by-key.",
    )
    .argument("<party>", "such as vendor:northgrid")
    .requiredOption(
      "--key <file>",
      "private key, PKCS #8 PEM with mode 0600; made if there is none",
    )
    .requiredOption("--kid <name>", "by which signatures name it; unique for ever")
    .option("--by-key <file>", "private key of one that is on file, which signs this one")
    .option("--by-kid <name>", "name of that key, as it is on file")
    .action(exits(registerKey));
}

function withKind(command: Command, fallback = "contract"): Command {
  const names = fallback === "all" ? ["all", ...Object.keys(kinds)] : Object.keys(kinds);
  return command.addOption(
    new Option("--kind <kind>", "what it is").choices(names).default(fallback),
  );
}

export function withSigning(command: Command): Command {
  return command.option("--key <file>", keyHelp).option("--kid <name>", kidHelp);
}

export function instantUs(text: string): bigint {
  const ms = Date.parse(text);
  if (/T.*(Z|[+-]\d\d:\d\d)$/.test(text) && !Number.isNaN(ms)) return BigInt(ms) * 1_000n;
  throw new InvalidArgumentError(
    `expected an instant such as 2026-12-01T00:00:00+08:00, found ${JSON.stringify(text)}`,
  );
}

async function listed(
  options: TermsOptions & PairOptions & { readonly kind: string },
): Promise<ExitCode> {
  const isMeant = (name: string): boolean => options.kind === "all" || options.kind === name;
  const wanted = Object.entries(kinds).flatMap(([name, kind]) => (isMeant(name) ? [kind] : []));
  return list(options, wanted);
}

async function got(
  id: string,
  options: TermsOptions & WithKind & { readonly at?: bigint },
): Promise<ExitCode> {
  return get(id, options, kinds[options.kind]);
}

async function validated(file: string, options: TermsOptions & StartOptions): Promise<ExitCode> {
  return validate(file, options, "contract");
}

async function proposed(file: string, options: TermsOptions & StartOptions): Promise<ExitCode> {
  return propose(file, options, "contract");
}

async function signed(id: string, options: SignOptions & WithKind): Promise<ExitCode> {
  return sign(id, options, kinds[options.kind]);
}
