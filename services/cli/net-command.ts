import { Command } from "commander";
import {
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
import { exits, type ExitCode } from "./outcome.ts";
import { jsonOf, print, textCard, textTable, yuan } from "./print.ts";

type Options = ServerOptions & OutputOptions & { readonly dryRun?: boolean };

export function netCommand(): Command {
  return withOutput(withServer(new Command("net")))
    .summary("set off what parties owe against what they are owed")
    .description(
      "Sets off what is approved against what is billed, for each party that agreed to it, and takes over what parties owe " +
        "each other, so that each pays or is paid once. The file names the run (nettingId, such as 2026-11-21:1), parties " +
        "with their pairs, and perhaps obligations. The same run again changes nothing.",
    )
    .argument("<file>", "YAML or JSON; - reads standard input")
    .option("--dry-run", "work it out and write nothing")
    .action(exits(net));
}

async function net(path: string, options: Options): Promise<ExitCode> {
  const request = readMessage(path, RunNettingRequestSchema);
  const dryRun = request.dryRun || options.dryRun === true;
  const answer = await answered(options, () =>
    client(NettingService, options).runNetting({ ...request, dryRun }),
  );
  print(options.output, {
    json: jsonOf(RunNettingResponseSchema, answer),
    names: [answer.nettingId],
    text: () => nettingText(answer, dryRun),
  });
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
  ]);
  return `${positions}\n${foot}`;
}
