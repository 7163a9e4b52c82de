/** One thing that is wrong with a document, and where: what was expected, and what was found. */
export interface Mistake {
  /** `lines[3].tiers[1]`; empty for the document as a whole. */
  readonly path: string;
  readonly message: string;
}

/** Mistakes that are told. A document with more is told how many more. */
export const mistakesMax = 20;

export function firstOf(mistakes: readonly Mistake[]): Mistake[] {
  if (mistakes.length <= mistakesMax) return [...mistakes];
  const rest = { path: "", message: `and ${mistakes.length - mistakesMax} more mistakes` };
  return [...mistakes.slice(0, mistakesMax), rest];
}

/** Gathers them: a document is told all that is wrong with it at once. */
export class Mistakes {
  readonly all: Mistake[] = [];

  add(path: string, isWrong: boolean, message: string): void {
    if (isWrong) this.all.push({ path, message });
  }

  addAll(mistakes: readonly Mistake[]): void {
    this.all.push(...mistakes);
  }
}

/** `lines[3].id: expected …`. */
export function mistakeText({ path, message }: Mistake): string {
  return path === "" ? message : `${path}: ${message}`;
}
