import { randomUUID } from "node:crypto";
import { create } from "@bufbuild/protobuf";
import { Code, ConnectError } from "@connectrpc/connect";
import { Command, InvalidArgumentError, Option } from "commander";
import { serviceClasses, type ServiceClass as ClassName } from "../../core/placement/request.ts";
import {
  Criticality,
  type DecisionRecord,
  ExplainResponseSchema,
  type PlaceRequest,
  PlaceRequestSchema,
  PlacementService,
  PlanResponseSchema,
  ServiceClass,
} from "../../wire/gen/tokengrid/v1/placement_pb.js";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { readMessage } from "../document.ts";
import { explanation } from "../explain-text.ts";
import { exits, type ExitCode, Failure, Refusal } from "../outcome.ts";
import { replayCommand } from "../placement/replay-command.ts";
import { jsonOf, print } from "../print.ts";

type Options = ServerOptions & OutputOptions;

interface PlanOptions extends Options {
  readonly file?: string;
  readonly model?: string;
  readonly class?: ClassName;
  readonly origin?: string;
  readonly tenant?: string;
  readonly input?: number;
  readonly maxOutput?: number;
}

interface ExplainOptions extends Options {
  readonly last?: boolean;
}

export function command(): Command {
  return new Command("placement")
    .description("Which pool, and why: answered in money, to the last nano.")
    .addCommand(planCommand())
    .addCommand(explainCommand())
    .addCommand(replayCommand());
}

function planCommand(): Command {
  return withOutput(withServer(new Command("plan")))
    .summary("what would be chosen now; takes no lease")
    .description(
      "Decides and explains, and grants nothing. The request comes from a file (a PlaceRequest in YAML or " +
        "JSON), from the options, or both; options win. Exits with 2 if no pool fits.",
    )
    .optionsGroup("Request:")
    .option("-f, --file <path>", "the request; - reads standard input")
    .option("--model <id>", "model, not an alias")
    .addOption(new Option("--class <class>", "kind of service").choices(serviceClasses))
    .option("--origin <city>", "where the demand arises, such as beijing")
    .option("--tenant <id>", "who asks")
    .option("--input <tokens>", "length of the prompt", count)
    .option("--max-output <tokens>", "most that the answer may have", count)
    .action(exits(plan));
}

function explainCommand(): Command {
  return withOutput(withServer(new Command("explain")))
    .summary("why that pool: the bill of a decision")
    .description(
      "Prints the record of the decisions made for a request: the policy row, every candidate with its terms, " +
        "the inputs with their ages, who was out and why. What is no longer in memory is made again from the " +
        "journal, which takes a moment. `-o wide` writes out every candidate's bill.",
    )
    .argument("[id]", "a request or an attempt, as in the answer's x-request-id")
    .option("--last", "the newest decision")
    .action(exits(explain));
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new InvalidArgumentError(`expected a whole number, found ${JSON.stringify(text)}`);
}

async function plan(options: PlanOptions): Promise<ExitCode> {
  const placement = client(PlacementService, options);
  const answer = await answered(options, () => placement.plan({ request: requestOf(options) }));
  const { decision, stateVersion } = answer;
  if (decision === undefined) throw new Error("expected a decision in the answer, found none");
  print(options.output, {
    json: jsonOf(PlanResponseSchema, answer),
    names: decision.poolId === "" ? [] : [decision.poolId],
    text: (isWide) => `${explanation(decision, isWide)}\nstate version ${stateVersion}\n`,
  });
  return decision.poolId === "" ? 2 : 0;
}

/** What neither the file nor an option says gets the usual value, so that `--model` alone is enough. */
function requestOf(options: PlanOptions): PlaceRequest {
  const { file, model, origin, tenant, input, maxOutput } = options;
  const given =
    file === undefined ? create(PlaceRequestSchema) : readMessage(file, PlaceRequestSchema);
  const id = `plan-${randomUUID()}`;
  const modelId = model ?? given.modelId;
  if (modelId === "") {
    throw new Failure("placement plan: expected a model, in --file or by --model, found none");
  }
  return create(PlaceRequestSchema, {
    ...given,
    modelId,
    requestId: given.requestId || id,
    attemptId: given.attemptId || id,
    tenantId: (tenant ?? given.tenantId) || "dev",
    serviceClass: classOf(options.class) ?? (given.serviceClass || ServiceClass.LLM_INTERACTIVE),
    criticality: given.criticality || Criticality.CRITICAL,
    originId: (origin ?? given.originId) || "beijing",
    inputTokens: (input ?? given.inputTokens) || 500,
    ...(maxOutput === undefined ? {} : { outputTokensMax: maxOutput }),
  });
}

const classes: Readonly<Record<ClassName, ServiceClass>> = {
  "metro-realtime": ServiceClass.METRO_REALTIME,
  "realtime-interactive": ServiceClass.REALTIME_INTERACTIVE,
  "llm-interactive": ServiceClass.LLM_INTERACTIVE,
  "batch-offline": ServiceClass.BATCH_OFFLINE,
  archival: ServiceClass.ARCHIVAL,
};

function classOf(name: ClassName | undefined): ServiceClass | undefined {
  return name === undefined ? undefined : classes[name];
}

async function explain(id: string | undefined, options: ExplainOptions): Promise<ExitCode> {
  if ((id === undefined) === (options.last !== true)) {
    throw new Failure("placement explain: expected an id or --last, one of the two");
  }
  const decisions = await answered(options, () => recorded(id, options));
  if (decisions.length === 0) throw new Refusal(`no decision on record for ${id ?? "anyone yet"}`);
  print(options.output, {
    json: jsonOf(ExplainResponseSchema, create(ExplainResponseSchema, { decisions })),
    names: decisions.map(({ attemptId }) => attemptId),
    text: (isWide) => decisions.map((each) => explanation(each, isWide)).join("\n"),
  });
  return 0;
}

/** Ids of requests and attempts look alike, so one that is no request is asked for as an attempt. */
async function recorded(id: string | undefined, options: Options): Promise<DecisionRecord[]> {
  const placement = client(PlacementService, options);
  if (id === undefined) {
    return (await placement.explain({ which: { case: "last", value: true } })).decisions;
  }
  const ofRequest = await foundOrNone(
    placement.explain({ which: { case: "requestId", value: id } }),
  );
  if (ofRequest.length > 0) return ofRequest;
  return foundOrNone(placement.explain({ which: { case: "attemptId", value: id } }));
}

async function foundOrNone(
  answer: Promise<{ readonly decisions: DecisionRecord[] }>,
): Promise<DecisionRecord[]> {
  try {
    return (await answer).decisions;
  } catch (error) {
    if (error instanceof ConnectError && error.code === Code.NotFound) return [];
    throw error;
  }
}
