import { Command } from "commander";
import { signDetached } from "../../core/settlement/proof/jws.ts";
import { statementJwsType } from "../../core/settlement/statements/statement-check.ts";
import { readSigningKey } from "../../io/signing.ts";
import {
  SettlementService,
  type StatementProgress,
  StatementProgressSchema,
  StatementSignatureSchema,
} from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { exits, type ExitCode, Failure } from "../outcome.ts";
import { jsonOf, print, textCard, yuan } from "../print.ts";
import { withKey, type KeyOptions } from "../signed.ts";
import { present } from "./source.ts";

type Options = ServerOptions & OutputOptions;

interface PayOptions extends Options {
  readonly reference: string;
  readonly amount?: string;
}

export function signCommand(): Command {
  return withKey(withOutput(withServer(new Command("sign"))))
    .summary("countersign a closed statement")
    .description(
      "Signs the statement's bytes with an Ed25519 key, as a detached JWS, and hands the signature in. The key stays " +
        "here. An operator signs as the operator, everybody else as the counterparty.",
    )
    .argument("<statement>", "its id, as `statement list` prints it")
    .action(exits(sign));
}

export function approveCommand(): Command {
  return withOutput(withServer(new Command("approve")))
    .description("Approves what is stated and not in dispute.")
    .argument("<statement>", "its id, as `statement list` prints it")
    .action(exits(approve));
}

export function payCommand(): Command {
  return withOutput(withServer(new Command("pay")))
    .description("Records a payment of what is approved, as a whole or in part.")
    .argument("<statement>", "its id, as `statement list` prints it")
    .requiredOption("--reference <text>", "of the transfer; the same one again changes nothing")
    .option("--amount <cny>", "in yuan; all that is approved and not paid if it is not said")
    .action(exits(pay));
}

async function sign(statementId: string, options: Options & KeyOptions): Promise<ExitCode> {
  const settlement = client(SettlementService, options);
  const answer = await answered(options, () => settlement.getStatement({ statementId }));
  const { canonicalJson } = present(answer.statement);
  const key = await readSigningKey(options.key);
  if (key === undefined) {
    throw new Failure(`${options.key}: expected a private key, found no file`);
  }
  const header = { kid: options.kid, typ: statementJwsType };
  const jws = signDetached(canonicalJson, header, (text) => key.sign(text));
  const { signature } = await settlement.signStatement({ statementId, jws });
  if (signature === undefined) throw new Error("expected a signature in the answer, found none");
  print(options.output, {
    json: jsonOf(StatementSignatureSchema, signature),
    names: [signature.kid],
    text: () =>
      textCard([
        ["statement", statementId],
        ["party", signature.party],
        ["kid", signature.kid],
        ["public key", key.publicKey],
        ["jws", signature.jws],
      ]),
  });
  return 0;
}

async function approve(statementId: string, options: Options): Promise<ExitCode> {
  const { progress } = await answered(options, () =>
    client(SettlementService, options).approveStatement({ statementId }),
  );
  return printProgress(statementId, progress, options);
}

async function pay(statementId: string, options: PayOptions): Promise<ExitCode> {
  const { reference, amount } = options;
  const amountNano = amount === undefined ? 0n : nanoOf(amount);
  const { progress } = await answered(options, () =>
    client(SettlementService, options).recordPayment({ statementId, amountNano, reference }),
  );
  return printProgress(statementId, progress, options);
}

function printProgress(
  statementId: string,
  progress: StatementProgress | undefined,
  { output }: OutputOptions,
): ExitCode {
  if (progress === undefined) throw new Error("expected progress in the answer, found none");
  print(output, {
    json: jsonOf(StatementProgressSchema, progress),
    names: [statementId],
    text: () => textCard([["statement", statementId], ...progressPairs(progress)]),
  });
  return 0;
}

export function progressPairs(progress: StatementProgress): [string, string][] {
  const signers = progress.signatures.map(({ party, kid }) => `${party} (${kid})`);
  return [
    ["signed by", signers.length === 0 ? "nobody" : signers.join(", ")],
    ["approved", `${yuan(progress.approvedNano)} CNY`],
    ["paid", `${yuan(progress.paidNano)} CNY`],
  ];
}

/** `12.50` → 12,500,000,000 nano. From text, so that nothing is lost. */
function nanoOf(text: string): bigint {
  const [, sign = "", whole, part = ""] = /^(-?)(\d{1,10})(?:\.(\d{1,9}))?$/.exec(text) ?? [];
  if (whole === undefined) {
    throw new Failure(`--amount: expected yuan such as 12.50, found ${JSON.stringify(text)}`);
  }
  return BigInt(`${sign}${whole}${part.padEnd(9, "0")}`);
}
