import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { findProgram } from "../program.ts";

const run = promisify(execFile);
const path = findProgram("promtool");

export const isPromtoolHere = path !== undefined;

/** For the name of a suite, so that a skip says what is missing. */
export const promtoolNote = isPromtoolHere ? "" : " (skipped: no promtool on PATH)";

export interface Verdict {
  readonly code: number;
  /** Both streams together, as a person would read them. */
  readonly text: string;
}

/** Runs promtool; `input` goes to its standard input. */
export async function promtool(args: readonly string[], input?: string): Promise<Verdict> {
  if (path === undefined) throw new Error("expected promtool on PATH, found none");
  const running = run(path, args, { maxBuffer: 16 * 1024 * 1024 });
  if (input !== undefined) running.child.stdin?.end(input);
  return running.then(
    ({ stdout, stderr }) => ({ code: 0, text: stdout + stderr }),
    (error: { code: number; stdout: string; stderr: string }) => ({
      code: error.code,
      text: error.stdout + error.stderr,
    }),
  );
}
