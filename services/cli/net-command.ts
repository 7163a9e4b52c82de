import { create } from "@bufbuild/protobuf";
import { Command } from "commander";
import {
  NettingConsentSchema,
  NettingService,
  RunNettingRequestSchema,
  RunNettingResponseSchema,
  type RunNettingResponse,
} from "../wire/gen/tokengrid/v1/claim_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "./connect.ts";
import { readMessage } from "./document.ts";
import { readConsents, signText, writeTexts } from "./net-consent.ts";
import { exits, type ExitCode, Failure } from "./outcome.ts";
import { jsonOf, print, textCard, textTable, yuan } from "./print.ts";
import { keyHelp, kidHelp } from "./signed.ts";

interface Options extends ServerOptions, OutputOptions {
  readonly dryRun?: boolean;
  readonly propose?: string;
  readonly agreed?: string;
  readonly sign?: boolean;
  readonly key?: string;
  readonly kid?: string;
}

export function netCommand(): Command {
  return withOutput(withServer(new Command("net")))
    .summary("set off what parties owe against what they are owed")
    .description(
      "Sets off what is approved against what is billed, for each party that agreed to it, and takes over what parties owe " +
        "each other, so that each pays or is paid once. The file names the run (nettingId, such as 2026-11-21:1), parties " +
        "with their pairs, and perhaps obligations. The same run again changes nothing. Every pair whose money moves signs: " +
        "--propose writes the text of each, --sign signs one, --agreed runs it with the signatures.",
    )
    .argument("<file>", "YAML or JSON; - reads standard input. With --sign the text of a pair")
    .option("--dry-run", "work it out, show what each pair has to sign, and write nothing")
    .option("--propose <folder>", "a dry run that writes what each pair has to sign")
    .option("--agreed <folder>", "where the texts are, with the signatures beside them")
    .option("--sign", "sign the text of a pair, beside it; needs --key and --kid")
    .option("--key <file>", keyHelp)
    .option("--kid <name>", kidHelp)
    .action(exits(net));
}

async function net(path: string, options: Options): Promise<ExitCode> {
  if (options.sign === true) return sign(path, options);
  const request = readMessage(path, RunNettingRequestSchema);
  const { propose, agreed } = options;
  const dryRun = request.dryRun || options.dryRun === true || propose !== undefined;
  const signed = agreed === undefined ? undefined : readConsents(agreed);
  const asked = {
    ...{ ...request, dryRun },
    ...(signed && {
      atUs: signed.atUs,
      consents: signed.consents.map((each) => create(NettingConsentSchema, each)),
    }),
  };
  const answer = await answered(options, () => client(NettingService, options).runNetting(asked));
  if (propose !== undefined) writeTexts(propose, answer);
  print(options.output, {
    json: jsonOf(RunNettingResponseSchema, answer),
    names: [answer.nettingId],
    text: () => nettingText(answer, dryRun),
  });
  return 0;
}

async function sign(path: string, { key, kid }: Options): Promise<ExitCode> {
  if (key === undefined || kid === undefined) {
    throw new Failure("--sign: expected --key and --kid, found none");
  }
  process.stdout.write(`${await signText(path, { key, kid })}: signed\n`);
  return 0;
}

function nettingText(answer: RunNettingResponse, isDry: boolean): string {
  const positions = textTable(
    [
      { name: "PARTY" },
      { name: "IS OWED CNY", align: "right" },
      { name: "OWES CNY", align: "right" },
      { name: "NET CNY", align: "right" },
    ],
    answer.positions.map((each) => [
      each.party,
      yuan(each.owedNano),
      yuan(each.owesNano),
      yuan(each.netNano),
    ]),
  );
  const foot = textCard([
    ["run", `${answer.nettingId}${isDry ? ", nothing was written" : ""}`],
    ["set off", `${answer.setOffs.length} times`],
    ["operator", `${yuan(answer.operatorNano)} CNY`],
    ...answer.toSign.map(({ pairId, textJson }): [string, string] => [`${pairId} signs`, textJson]),
  ]);
  return `${positions}\n${foot}`;
}
