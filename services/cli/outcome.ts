import { Code, ConnectError } from "@connectrpc/connect";
import { ConfigError } from "../io/config.ts";

/**
 * - 0 it is done
 * - 2 we found out, and the answer is no: no pool fits, a drain cut work, a policy or file is refused
 * - 1 we could not find out: usage, network, rights, a bug
 */
export type ExitCode = 0 | 1 | 2;

/** The answer is no. Its message says what was expected and what was found. */
export class Refusal extends Error {
  override name = "Refusal";
}

/** We could not find out, and know why: no stack is wanted. */
export class Failure extends Error {
  override name = "Failure";
}

/** What the server said, by what it means for the caller. */
const exitByCode: Readonly<Record<Code, ExitCode>> = {
  [Code.Canceled]: 1,
  [Code.Unknown]: 1,
  [Code.InvalidArgument]: 2,
  [Code.DeadlineExceeded]: 1,
  [Code.NotFound]: 2,
  [Code.AlreadyExists]: 2,
  [Code.PermissionDenied]: 1,
  [Code.ResourceExhausted]: 2,
  [Code.FailedPrecondition]: 2,
  [Code.Aborted]: 2,
  [Code.OutOfRange]: 2,
  [Code.Unimplemented]: 1,
  [Code.Internal]: 1,
  [Code.Unavailable]: 1,
  [Code.DataLoss]: 1,
  [Code.Unauthenticated]: 1,
};

export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof Refusal || error instanceof ConfigError) return 2;
  if (error instanceof ConnectError) return exitByCode[error.code];
  return 1;
}

/** One message for people. A bug shows where it is, everything else says what to do. */
export function complaintOf(error: unknown): string {
  if (error instanceof ConnectError) return `${codeWord(error.code)}: ${error.rawMessage}`;
  if (error instanceof Refusal || error instanceof Failure || error instanceof ConfigError) {
    return error.message;
  }
  if (error instanceof Error)
    return isOfTheWorld(error) ? error.message : (error.stack ?? error.message);
  return String(error);
}

/** A system error has a code such as ENOENT; what has none is a bug. */
function isOfTheWorld(error: Error): boolean {
  return "code" in error && typeof error.code === "string";
}

function codeWord(code: Code): string {
  return Code[code].replace(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
}

/**
 * Makes a commander action of a function that says how it ended. The code is set, not exited with, so that
 * everything written reaches a pipe.
 */
export function exits<Args extends unknown[]>(
  work: (...args: Args) => Promise<ExitCode>,
): (...args: Args) => Promise<void> {
  return async (...args) => {
    process.exitCode = await work(...args);
  };
}
