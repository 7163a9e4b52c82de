import { create } from "@bufbuild/protobuf";
import * as gen from "./gen/tokengrid/v1/policy_pb.js";

/** A policy as it is kept: the text as it was set, by whom and why. */
export interface PolicyText {
  readonly revision: number;
  readonly yaml: string;
  /** SHA-256 of `yaml`, lower-case hex. */
  readonly hash: string;
  readonly author: string;
  readonly comment: string;
  readonly setAtUs: bigint;
}

/** One thing that is wrong with a policy, and where. */
export interface PolicyMistake {
  readonly path: string;
  readonly message: string;
  /** Both from 1. */
  readonly line: number;
  readonly column: number;
}

export function toPolicyText(message: gen.PolicyDocument): PolicyText {
  const { revision, yaml, hash, author, comment, setAtUs } = message;
  return { revision: Number(revision), yaml, hash, author, comment, setAtUs };
}

export function fromPolicyText(policy: PolicyText): gen.PolicyDocument {
  return create(gen.PolicyDocumentSchema, { ...policy, revision: BigInt(policy.revision) });
}

export function fromPolicyMistakes(
  mistakes: readonly PolicyMistake[],
  warnings: readonly PolicyMistake[] = [],
): gen.ValidateResponse {
  return create(gen.ValidateResponseSchema, {
    mistakes: mistakes.map((each) => ({ ...each })),
    warnings: warnings.map((each) => ({ ...each })),
  });
}

export function toPolicyMistakes(mistakes: readonly gen.PolicyMistake[]): PolicyMistake[] {
  return mistakes.map(({ path, message, line, column }) => ({ path, message, line, column }));
}
