/** The repository's own texts, for tests that read them. */

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface SourceFile {
  /** From the root, with `/`. */
  readonly path: string;
  readonly text: string;
}

const ours = [".ci", "bench", "deploy", "proto", "services", "test"];
const atRoot =
  /^(package\.json|README.*\.md|bootstrap\.mjs|tsconfig\.json|vitest\.config\.ts|\..*rc.*)$/;
/** Not written here: other people's files, generated ones, measurements and data. */
const foreign =
  /^(proto\/buf\/|services\/wire\/gen\/|bench\/traces\/|bench\/results\.jsonl|deploy\/preset\/.*\.json|test\/fixtures\/llama)/;
const texts = /(\.(ts|js|mjs|json|md|yaml|proto|css|html|sql|svg)|\/run|ignore)$/;

/** Every text that is written by hand. */
export function handWritten(): readonly SourceFile[] {
  const paths = ours
    .flatMap((folder) =>
      readdirSync(folder, { recursive: true, encoding: "utf8" }).map((path) => join(folder, path)),
    )
    .concat(readdirSync(".").filter((path) => atRoot.test(path)))
    .map((path) => path.replaceAll("\\", "/"));
  return paths
    .filter((path) => texts.test(path) && !foreign.test(path))
    .map((path) => ({ path, text: readFileSync(path, "utf8") }));
}

export function lines(text: string): string[] {
  return text.split("\n");
}
