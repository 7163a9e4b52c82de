import { Code, ConnectError } from "@connectrpc/connect";
import { Command, Option } from "commander";
import type { PlacementRequest } from "../../core/placement/request.ts";
import { PlacementService } from "../../wire/gen/tokengrid/v1/placement_pb.js";
import { PolicyService } from "../../wire/gen/tokengrid/v1/policy_pb.js";
import { fromPlacementRequest } from "../../wire/placement.ts";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { readText } from "../document.ts";
import { exits, type ExitCode, Failure } from "../outcome.ts";
import { print, type Printable } from "../print.ts";
import { type Change, changeLines, changesBetween } from "./difference.ts";
import { type Effect, effectOf, effectText, liveEffectOf } from "./effect.ts";
import { type Fixture, loadFixtures, shippedFixtures } from "./fixture-file.ts";
import { policyOf, withAdditions } from "./read-policy.ts";
import { revisionNumber } from "./revision-number.ts";

interface Options extends ServerOptions, OutputOptions {
  readonly revision: readonly bigint[];
  readonly requests: string;
  readonly live?: boolean;
}

/** A text with the name that it has for people. */
export interface NamedText {
  readonly name: string;
  readonly yaml: string;
}

export function diffCommand(): Command {
  return withOutput(withServer(new Command("diff")))
    .summary("what differs between two policies, and how many decisions")
    .description(
      "Compares two policies by meaning: rows, overrides and sources by id, fields with their units; then decides " +
        "requests under both and says which come out otherwise. Two files; or a file against the revision in force, " +
        "or against --revision; or one revision against the one in force; or two revisions. Files alone need no server.",
    )
    .argument("[before]", "file; the only one is compared as the new one; - reads standard input")
    .argument("[after]", "file")
    .addOption(
      new Option("--revision <n>", "a revision instead of a file, older first; may be given twice")
        .argParser((text: string, before: readonly bigint[]) => [...before, revisionNumber(text)])
        .default([], "none"),
    )
    .addOption(
      new Option(
        "--requests <path>",
        "file or folder of requests, as `policy test` reads them",
      ).default(shippedFixtures, "those of the shipped policy"),
    )
    .option("--live", "on the server's pools as they are now, instead of the fleets of the cases")
    .action(exits(diff));
}

async function diff(
  before: string | undefined,
  after: string | undefined,
  options: Options,
): Promise<ExitCode> {
  const [was, is] = await sides(
    [before, after].filter((path) => path !== undefined),
    options,
  );
  const effect =
    options.live === true
      ? await liveEffect(was, is, options)
      : effectOn(was, is, options.requests);
  print(options.output, comparison(was, is, effect));
  return 0;
}

async function liveEffect(before: NamedText, after: NamedText, options: Options): Promise<Effect> {
  // Both are refused before anything is asked.
  for (const { name, yaml } of [before, after]) policyOf(name, yaml);
  const placement = client(PlacementService, options);
  const plan = async (request: PlacementRequest, policyYaml: string) => {
    try {
      const asked = { request: fromPlacementRequest(request), policyYaml };
      return (await answered(options, () => placement.plan(asked))).decision;
    } catch (error) {
      if (error instanceof ConnectError && error.code === Code.InvalidArgument) return undefined;
      throw error;
    }
  };
  const texts = { before: before.yaml, after: after.yaml };
  return liveEffectOf(loadFixtures(options.requests), plan, texts);
}

/** Older first. What is not said is the revision in force. */
async function sides(
  files: readonly string[],
  options: Options,
): Promise<readonly [NamedText, NamedText]> {
  const wanted = files.length + options.revision.length;
  if (wanted === 0 || wanted > 2) {
    throw new Failure(`policy diff: expected one or two policies, found ${wanted}`);
  }
  const revisions: NamedText[] = [];
  for (const revision of options.revision) revisions.push(await textAt(revision, options));
  const named = [...revisions, ...files.map((name) => ({ name, yaml: readText(name) }))];
  const [first, second] = named;
  if (first === undefined) throw new Failure("policy diff: expected a policy, found none");
  if (second !== undefined) return [first, second];
  const inForce = await textAt(0n, options);
  return files.length === 1 ? [inForce, first] : [first, inForce];
}

/** A revision that the server has; 0 is the newest. */
export async function textAt(revision: bigint, options: ServerOptions): Promise<NamedText> {
  const { policy } = await answered(options, () =>
    client(PolicyService, options).get({ revision }),
  );
  if (policy === undefined) throw new Error("expected a policy in the answer, found none");
  return { name: `revision ${policy.revision}`, yaml: policy.yaml };
}

/** On the fleets that the cases name. Throws a `Refusal` if one of the two is no policy. */
export function effectOn(before: NamedText, after: NamedText, requests = shippedFixtures): Effect {
  return effectOf(loadFixtures(requests), under(before), under(after));
}

/** Throws a `Refusal` if one of the two is no policy. */
export function comparison(before: NamedText, after: NamedText, effect: Effect): Printable {
  const changes = changesBetween(
    policyOf(before.name, before.yaml).policy,
    policyOf(after.name, after.yaml).policy,
  );
  return {
    json: { before: before.name, after: after.name, changes, effect },
    names: changes.map(({ path }) => path),
    text: () => difference(before, after, { changes, effect }),
  };
}

/** With what a file of requests lays on any policy. */
function under({ name, yaml }: NamedText) {
  const plain = policyOf(name, yaml).policy;
  return ({ additions }: Fixture) =>
    additions === undefined ? plain : policyOf(name, withAdditions(yaml, additions)).policy;
}

function difference(
  before: NamedText,
  after: NamedText,
  { changes, effect }: { readonly changes: readonly Change[]; readonly effect: Effect },
): string {
  const head = `${before.name} → ${after.name}\n`;
  if (changes.length === 0) return `${head}they say the same\n`;
  const lines = changeLines(changes).map((line) => `${line}\n`);
  return `${head}${lines.join("")}\n${effectText(effect)}`;
}
