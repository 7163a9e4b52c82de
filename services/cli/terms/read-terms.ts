import { type Command, InvalidArgumentError } from "commander";
import type { InstantUs } from "../../core/units.ts";
import { placed } from "../../io/policy-mistakes.ts";
import { parseTerms, type TermsFile } from "../../io/terms-file.ts";
import { readText } from "../document.ts";
import { Refusal } from "../outcome.ts";
import { parseStart } from "../period.ts";

/** Commands that read a file of terms have it. */
export interface StartOptions {
  readonly from?: InstantUs;
}

export function withStart(command: Command): Command {
  return command.option(
    "--from <time>",
    "when it begins instead of what the file says: tomorrow, next-month or an instant with its offset",
    (text: string): InstantUs => {
      const start = parseStart(text, Date.now());
      if (typeof start === "string") throw new InvalidArgumentError(start);
      return start;
    },
  );
}

/** A file of terms. Throws a `Refusal` that lists every mistake with its place. */
export function readTerms(
  path: string,
  defaultType: string,
  { from }: StartOptions = {},
): TermsFile {
  const parsed = parseTerms(readText(path), defaultType, undefined, from);
  if (!("mistakes" in parsed)) return parsed;
  const list = parsed.mistakes.map((each) => `  ${placed(each)}`);
  throw new Refusal(`${path}:\n${list.join("\n")}`);
}
