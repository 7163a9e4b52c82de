import { Command } from "commander";
import { type PolicyDocument, PolicyService } from "../../wire/gen/tokengrid/v1/policy_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { exits, type ExitCode, Refusal } from "../outcome.ts";
import { print } from "../print.ts";
import { comparison, effectOn } from "./diff-command.ts";
import { revisionNumber } from "./revision-number.ts";
import { sendPolicy } from "./send-policy.ts";

interface Options extends ServerOptions, OutputOptions {
  readonly to?: bigint;
  readonly author: string;
  readonly comment: string;
  readonly dryRun?: boolean;
}

/** Far enough back: what is older is named with `--to`. */
const revisionsMax = 1_000;

export function rollbackCommand(): Command {
  return withOutput(withServer(new Command("rollback")))
    .summary("puts an earlier policy in force again")
    .description(
      "Sets the text of an earlier revision as a new one, if nobody else has changed the policy meanwhile. Without " +
        "--to it is the newest before this one that says something else. Exits with 2 if there is none.",
    )
    .option("--to <n>", "revision to go back to", revisionNumber)
    .option("--author <name>", "for the history", "operator")
    .option("--comment <text>", "for the history, after where it went back to", "")
    .option("--dry-run", "print what would change, and change nothing")
    .action(exits(rollback));
}

async function rollback(options: Options): Promise<ExitCode> {
  const service = client(PolicyService, options);
  const { policies, revisionInForce } = await answered(options, () =>
    service.listHistory({ limit: revisionsMax }),
  );
  const [current, ...earlier] = policies;
  if (current === undefined) throw new Error("expected a policy in the history, found none");
  const target = targetOf(options.to, { current, earlier, revisionInForce });
  const name = `revision ${target.revision}`;
  if (options.dryRun === true) {
    const was = { name: `revision ${current.revision}`, yaml: current.yaml };
    const is = { name, yaml: target.yaml };
    print(options.output, comparison(was, is, effectOn(was, is)));
    return 0;
  }
  const why = options.comment === "" ? target.comment : options.comment;
  const comment = `back to ${name}${why === "" ? "" : `: ${why}`}`;
  return sendPolicy({ ...options, comment }, target.yaml, current.revision);
}

function targetOf(
  to: bigint | undefined,
  history: {
    readonly current: PolicyDocument;
    readonly earlier: readonly PolicyDocument[];
    readonly revisionInForce: bigint;
  },
): PolicyDocument {
  const { current, earlier, revisionInForce } = history;
  // The newest cannot be used: the one that runs on is what there is to go back to.
  const inForce = earlier.find(({ revision }) => revision === revisionInForce);
  const target =
    to === undefined
      ? (inForce ?? earlier.find(({ hash }) => hash !== current.hash))
      : earlier.find(({ revision }) => revision === to);
  if (target !== undefined) return target;
  throw new Refusal(
    to === undefined
      ? `policy rollback: expected a revision that differs from ${current.revision}, found none`
      : `policy rollback: expected a revision before ${current.revision}, found ${to}`,
  );
}
