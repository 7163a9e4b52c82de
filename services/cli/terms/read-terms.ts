import { placed } from "../../io/policy-mistakes.ts";
import { parseTerms, type TermsFile } from "../../io/terms-file.ts";
import { readText } from "../document.ts";
import { Refusal } from "../outcome.ts";

/** A file of terms. Throws a `Refusal` that lists every mistake with its place. */
export function readTerms(path: string, defaultType: string): TermsFile {
  const parsed = parseTerms(readText(path), defaultType);
  if (!("mistakes" in parsed)) return parsed;
  const list = parsed.mistakes.map((each) => `  ${placed(each)}`);
  throw new Refusal(`${path}:\n${list.join("\n")}`);
}
