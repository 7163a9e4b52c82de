import {
  type PolicyDocument,
  PolicyDocumentSchema,
  PolicyService,
} from "../../wire/gen/tokengrid/v1/policy_pb.js";
import { answered, client, type OutputOptions, type ServerOptions } from "../connect.ts";
import type { ExitCode } from "../outcome.ts";
import { jsonOf, print } from "../print.ts";

export interface SendOptions extends ServerOptions, OutputOptions {
  readonly author: string;
  readonly comment: string;
}

/** Compare-and-set: somebody else's change in between is a refusal. */
export async function sendPolicy(
  options: SendOptions,
  yaml: string,
  baseRevision: bigint,
): Promise<ExitCode> {
  const { author, comment } = options;
  const { policy } = await answered(options, () =>
    client(PolicyService, options).set({ yaml, baseRevision, author, comment }),
  );
  const document = present(policy);
  print(options.output, {
    json: jsonOf(PolicyDocumentSchema, document),
    names: [String(document.revision)],
    text: () => `policy at revision ${document.revision} is in force\n`,
  });
  return 0;
}

export function present(policy: PolicyDocument | undefined): PolicyDocument {
  if (policy === undefined) throw new Error("expected a policy in the answer, found none");
  return policy;
}
