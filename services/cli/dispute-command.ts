import { readFileSync, writeFileSync } from "node:fs";
import { Code, ConnectError } from "@connectrpc/connect";
import { Command, Option } from "commander";
import { decimalOf } from "../core/settlement/decimal.ts";
import { disputeReasons, type DisputeReason } from "../core/settlement/claims/dispute-reason.ts";
import {
  disputeJwsType,
  toTransitionText,
  type Transition,
} from "../core/settlement/claims/dispute-text.ts";
import type { DisputeItem, Party } from "../core/settlement/claims/dispute.ts";
import type { PairId } from "../core/units.ts";
import { sha256 } from "../io/signing.ts";
import {
  DisputeSchema,
  DisputeService,
  GetDisputeResponseSchema,
  MoveDisputeResponseSchema,
  type Dispute,
} from "../wire/gen/tokengrid/v1/claim_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "./connect.ts";
import { moveOf, type MoveWords } from "./dispute-move.ts";
import { disputeCard, disputeTable, moneyText } from "./dispute-text.ts";
import { exits, type ExitCode, Failure, Refusal } from "./outcome.ts";
import { pairOf, withPair, type PairOptions } from "./pair.ts";
import { jsonOf, print } from "./print.ts";
import { openSigner, withKey, type KeyOptions } from "./signed.ts";

type Signing = ServerOptions & OutputOptions & KeyOptions & { readonly as: Party };

interface OpenOptions extends Signing {
  readonly reason: DisputeReason;
  readonly item: readonly string[];
  readonly id?: string;
}

interface AnswerOptions extends Signing, MoveWords {
  readonly propose?: string;
  readonly proposal?: string;
}

interface ListOptions extends ServerOptions, OutputOptions, PairOptions {
  readonly state?: string;
}

const nanoDigits = 9;
const listLimit = 1_000;

/** `tokengrid statement dispute`. */
export function disputeCommand(): Command {
  return new Command("dispute")
    .description("Arguments about money that was stated, or is missing in a statement.")
    .addCommand(openCommand())
    .addCommand(answerCommand())
    .addCommand(
      withPair(withOutput(withServer(new Command("list"))))
        .description("Disputes, in the order in which they were opened.")
        .option("--state <state>", "only these, such as opened")
        .action(exits(list)),
    )
    .addCommand(
      withOutput(withServer(new Command("get")))
        .description("One dispute with its transitions and what they moved.")
        .argument("<dispute>", "its id, as `statement dispute list` prints it")
        .action(exits(get)),
    );
}

function openCommand(): Command {
  return withSide(withKey(withOutput(withServer(new Command("open")))))
    .summary("dispute a part of a statement")
    .description(
      "Opens a dispute. The operator disputes what is too high, a vendor what is missing, a tenant what it should not " +
        "pay. The rest of the statement stays payable. What is disputed already is refused.",
    )
    .argument("<statement>", "its id, as `statement list` prints it")
    .addOption(
      new Option("--reason <reason>", "what it is about")
        .choices(disputeReasons)
        .makeOptionMandatory(),
    )
    .requiredOption(
      "--item <account=cny...>",
      "where the money came from, and how much of it: exp:cogs:pool:p1=12.50",
    )
    .option("--id <name>", "name of the dispute; made from what is disputed if not given")
    .action(exits(open));
}

function answerCommand(): Command {
  return withSide(withKey(withOutput(withServer(new Command("answer")))))
    .summary("acknowledge, bring evidence, accept, split, withdraw or settle")
    .description(
      "Makes the next transition of a dispute. What both have to sign is written to a file by the one, with --propose, " +
        "and sent by the other, with --proposal.",
    )
    .argument("<dispute>", "its id, as `statement dispute list` prints it")
    .option(
      "--to <state>",
      "acknowledged, evidence, accepted-by-vendor, accepted-by-operator, split, arbitrated, withdrawn or settled",
    )
    .option("--bundle <file...>", "evidence; its digest is signed, the file stays here")
    .option("--parts <n/d>", "for a split: how much of it is owed")
    .option("--approve <cny>", "for arbitrated: how much of it is owed")
    .option("--propose <file>", "write it, signed, for the other party instead of sending it")
    .option("--proposal <file>", "sign what the other party wrote, and send it")
    .action(exits(answer));
}

function withSide(command: Command): Command {
  return command.addOption(
    new Option("--as <party>", "who signs")
      .choices(["operator", "counterparty"])
      .default("operator"),
  );
}

async function open(statement: string, options: OpenOptions): Promise<ExitCode> {
  const items = options.item.map(toItem).toSorted((a, b) => (a.account < b.account ? -1 : 1));
  const pair = statement.split(":").slice(0, -3).join(":") as PairId;
  const { as: opener, reason } = options;
  const about = { pair, statement, opener, reason, items };
  const named = [
    statement,
    opener,
    reason,
    ...items.map((each) => `${each.account}=${each.amountNano}`),
  ];
  const id = options.id ?? `d-${sha256(named.join("\n")).slice(0, 16)}`;
  const existing = await find(options, id);
  if (existing !== undefined) {
    throw new Refusal(`${id}: expected a new dispute, found one that is ${existing.state}`);
  }
  const step = { to: "opened", claim: { id, ...about } } as const;
  return send(options, { dispute: id, pair, number: 0, prevHash: "", by: opener, step });
}

async function answer(id: string, options: AnswerOptions): Promise<ExitCode> {
  if (options.proposal !== undefined) return countersign(options, options.proposal);
  const dispute = await find(options, id);
  if (dispute === undefined) throw new Refusal(`there is no dispute ${id}`);
  const move = moveOf(options, (path) => sha256(readFileSync(path)));
  const by = move.to === "split" ? "both" : move.to === "arbitrated" ? "arbiter" : options.as;
  const isOfBoth = by === "both" || by === "arbiter";
  if (isOfBoth !== (options.propose !== undefined)) {
    const expected = isOfBoth
      ? "--propose, since both sign it"
      : "no --propose, since one signs it";
    throw new Failure(`--to ${move.to}: expected ${expected}`);
  }
  const { transitions: number, lastHash: prevHash, pairId } = dispute;
  const step = { dispute: id, pair: pairId as PairId, number, prevHash, by, step: move } as const;
  return send(options, step, options.propose);
}

async function send(
  options: Signing,
  transition: Omit<Transition, "atUs">,
  proposeTo?: string,
): Promise<ExitCode> {
  const text = toTransitionText({ ...transition, atUs: BigInt(Date.now()) * 1_000n });
  const jws = [(await openSigner(options, disputeJwsType))(text)];
  if (proposeTo === undefined) return deliver(options, text, jws);
  writeFileSync(proposeTo, `${JSON.stringify({ transition_json: text, jws }, null, 2)}\n`);
  process.stdout.write(`${proposeTo}: signed by the ${options.as}; the other party sends it\n`);
  return 0;
}

async function countersign(options: AnswerOptions, path: string): Promise<ExitCode> {
  const proposal: unknown = JSON.parse(readFileSync(path, "utf8"));
  if (!isProposal(proposal)) throw new Failure(`${path}: expected a proposal of the other party`);
  const { transition_json: text, jws } = proposal;
  const own = (await openSigner(options, disputeJwsType))(text);
  return deliver(options, text, [...jws, own]);
}

async function deliver(options: Signing, text: string, jws: readonly string[]): Promise<ExitCode> {
  const request = { transitionJson: text, jws: [...jws] };
  const response = await answered(options, () =>
    client(DisputeService, options).moveDispute(request),
  );
  const { dispute, moved } = response;
  if (dispute === undefined) throw new Error("expected a dispute in the answer, found none");
  print(options.output, {
    json: jsonOf(MoveDisputeResponseSchema, response),
    names: [dispute.disputeId],
    text: () => `${dispute.disputeId} is ${dispute.state}\n${moneyText(moved)}`,
  });
  return 0;
}

async function list({ state = "", ...options }: ListOptions): Promise<ExitCode> {
  const request = { pairId: pairOf(options), state, limit: listLimit };
  const { disputes } = await answered(options, () =>
    client(DisputeService, options).listDisputes(request),
  );
  print(options.output, {
    json: disputes.map((each) => jsonOf(DisputeSchema, each)),
    names: disputes.map(({ disputeId }) => disputeId),
    text: (isWide) => disputeTable(disputes, isWide),
  });
  return 0;
}

async function get(id: string, options: ServerOptions & OutputOptions): Promise<ExitCode> {
  const response = await answered(options, () =>
    client(DisputeService, options).getDispute({ disputeId: id }),
  );
  const { dispute, transitions } = response;
  if (dispute === undefined) throw new Error("expected a dispute in the answer, found none");
  print(options.output, {
    json: jsonOf(GetDisputeResponseSchema, response),
    names: [dispute.disputeId],
    text: () => disputeCard(dispute, transitions),
  });
  return 0;
}

async function find(options: ServerOptions, disputeId: string): Promise<Dispute | undefined> {
  try {
    const { dispute } = await answered(options, () =>
      client(DisputeService, options).getDispute({ disputeId }),
    );
    return dispute;
  } catch (error) {
    if (error instanceof ConnectError && error.code === Code.NotFound) return undefined;
    throw error;
  }
}

function toItem(text: string): DisputeItem {
  const at = text.lastIndexOf("=");
  const amountNano = decimalOf(text.slice(at + 1), nanoDigits);
  if (at > 0 && amountNano !== undefined) return { account: text.slice(0, at), amountNano };
  const found = JSON.stringify(text);
  throw new Failure(
    `--item: expected an account and yuan such as exp:cogs:pool:p1=12.50, found ${found}`,
  );
}

function isProposal(
  value: unknown,
): value is { readonly transition_json: string; readonly jws: readonly string[] } {
  if (typeof value !== "object" || value === null) return false;
  const { transition_json: text, jws } = value as Readonly<Record<string, unknown>>;
  return (
    typeof text === "string" && Array.isArray(jws) && jws.every((each) => typeof each === "string")
  );
}
