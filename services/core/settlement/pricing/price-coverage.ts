import type { Mistake } from "../terms/mistake.ts";
import { holds, type Bracket, type PriceBook, type PriceLine } from "./price-book.ts";
import { tokenClasses } from "../counting/usage.ts";

/** Lines that one class of one model may have in one slot: each is compared with each length of the others. */
export const bracketsMax = 64;

/** Of lines that name no region. */
const everywhere = "";

/**
 * Each model needs a line for each class, slot and length, in each region that it is priced for: what a class costs is
 * never guessed. A variant or a fee may be left out, but where it has a line it has one for every slot and length.
 */
export function coverageMistakes(book: PriceBook): Mistake[] {
  const slots = book.slots.length === 0 ? ["any"] : unique(book.slots.map(({ slot }) => slot));
  const mistakes: Mistake[] = [];
  for (const [model, lines] of Map.groupBy(book.lines, (line) => line.model)) {
    const byKind = Map.groupBy(lines, kindOf);
    const kinds = unique([...tokenClasses, ...byKind.keys()]);
    for (const region of unique(lines.map((line) => line.region ?? everywhere))) {
      for (const kind of kinds) {
        const fit = within(byKind.get(kind) ?? [], region);
        if (fit.length === 0 && !isNeeded(kind)) continue;
        const where = region === everywhere ? "" : ` in region ${region}`;
        for (const slot of slots) {
          const what = `${model} ${kind}${where} in slot ${slot}`;
          mistakes.push(...tilingMistakes(inSlot(fit, slot), what));
        }
      }
    }
  }
  return mistakes;
}

/** `cacheRead`, `cacheRead/explicit`, `request/minimum`. */
function kindOf({ tokenClass, variant }: PriceLine): string {
  return variant === undefined ? tokenClass : `${tokenClass}/${variant}`;
}

function isNeeded(kind: string): boolean {
  return tokenClasses.some((each) => each === kind);
}

/** Lines that name the region, or else those for every region. */
function within(lines: readonly PriceLine[], region: string): readonly PriceLine[] {
  const named = lines.filter((line) => line.region === region);
  return named.length > 0 ? named : lines.filter((line) => line.region === undefined);
}

function inSlot(lines: readonly PriceLine[], slot: string): readonly PriceLine[] {
  return lines.filter((line) => line.slot === slot || line.slot === "any");
}

/** Every pair of input and output lengths must be in exactly one line's bracket. */
function tilingMistakes(lines: readonly PriceLine[], what: string): Mistake[] {
  if (lines.length === 0) return [{ path: "lines", message: `gap: ${what} has no line` }];
  if (lines.length > bracketsMax) {
    const message = `${what}: expected at most ${bracketsMax} lines, found ${lines.length}`;
    return [{ path: "lines", message }];
  }
  const inOrder = lines.toSorted((a, b) => Number(a.output.from - b.output.from));
  return cuts(lines.map((line) => line.input)).flatMap((input) => {
    const fit = inOrder.filter((line) => holds(line.input, input));
    return outputMistakes(fit, `${what} from ${input} input`);
  });
}

/** The same for the output lengths of one input length; the lines are in the order of their starts. */
function outputMistakes(lines: readonly PriceLine[], what: string): Mistake[] {
  const mistakes: Mistake[] = [];
  const add = (kind: string, output: bigint, has: string): void => {
    const message = `${kind}: ${what} and ${output} output tokens on has ${has}`;
    mistakes.push({ path: "lines", message });
  };
  /** The first length that no line before holds; undefined is none. */
  let next: bigint | undefined = 0n;
  let last: PriceLine | undefined;
  for (const line of lines) {
    const { from, to } = line.output;
    if (last !== undefined && (next === undefined || from < next)) {
      add("overlap", from, `${last.id} and ${line.id}`);
    } else if (next !== undefined && from > next) add("gap", next, "no line");
    const end = to === undefined ? undefined : to + 1n;
    const isFurther = next !== undefined && (end === undefined || end > next);
    if (isFurther || last === undefined) [next, last] = [end, line];
  }
  if (next !== undefined) add("gap", next, "no line");
  return mistakes;
}

/** Lengths at which something can change. Between two of them all lengths fare alike. */
function cuts(brackets: readonly Bracket[]): bigint[] {
  const ends = brackets.flatMap(({ from, to }) => (to === undefined ? [from] : [from, to + 1n]));
  return unique([0n, ...ends]);
}

function unique<Value>(values: readonly Value[]): Value[] {
  return [...new Set(values)];
}
