import { fromText, lineOf, type JournalLine } from "./journal-text.ts";
import type { JournalRecord } from "./journal.ts";

/** Items of one line: few enough that making it never holds up the work for long. */
const itemsPerLine = 32;
/** Lists are looked for so deep in an image. */
const depthMax = 3;

/**
 * An image as lines, made one by one: the head without its long lists, their items in pieces, and an end without which it
 * does not count. What it holds are values, so that they may be written long after they were.
 */
export function* imageLines(image: unknown): Generator<string> {
  const lists: { readonly path: readonly string[]; readonly items: readonly unknown[] }[] = [];
  const head = withoutLists(image, [], (path, items) => lists.push({ path, items }));
  if (lists.length === 0) {
    yield lineOf({ kind: "image", image });
    return;
  }
  yield lineOf({ kind: "image", image: head, isWhole: false });
  let lines = 0;
  for (const { path, items } of lists) {
    for (let from = 0; from < items.length; from += itemsPerLine) {
      lines += 1;
      yield lineOf({ kind: "image-items", path, items: items.slice(from, from + itemsPerLine) });
    }
  }
  yield lineOf({ kind: "image-end", lines });
}

function withoutLists(
  value: unknown,
  path: readonly string[],
  take: (path: readonly string[], items: readonly unknown[]) => void,
): unknown {
  if (Array.isArray(value)) {
    if (value.length <= itemsPerLine) return value;
    take(path, value);
    return [];
  }
  if (!isPlain(value) || path.length >= depthMax) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, each]) => [key, withoutLists(each, [...path, key], take)]),
  );
}

function isPlain(value: unknown): value is Readonly<Record<string, unknown>> {
  return (
    typeof value === "object" && value !== null && Object.getPrototypeOf(value) === Object.prototype
  );
}

/** Puts lines together to records. One of a journal that is read in order. */
export class LineReader {
  #image: unknown;
  #isInImage = false;
  #lines = 0;

  /** Throws `SyntaxError` for a line that is none of a journal's. Undefined: it belongs to an image that goes on. */
  record(line: string): JournalRecord | undefined {
    return this.#taken(fromText(line));
  }

  /** True once if an image has begun and will not end. */
  forgetImage(): boolean {
    const wasInImage = this.#isInImage;
    this.#isInImage = false;
    this.#image = undefined;
    return wasInImage;
  }

  #taken(line: JournalLine): JournalRecord | undefined {
    switch (line.kind) {
      case "image":
        if (line.isWhole !== false) return { kind: "image", image: line.image };
        this.#isInImage = true;
        this.#lines = 0;
        this.#image = line.image;
        return undefined;
      case "image-items":
        this.#lines += 1;
        append(this.#image, line.path, line.items);
        return undefined;
      case "image-end": {
        const image = this.#image;
        const isWhole = this.#lines === line.lines;
        return this.forgetImage() && isWhole ? { kind: "image", image } : undefined;
      }
      case "event":
      case "gap":
        return line;
    }
  }
}

/** Items of an image whose head is lost belong nowhere. */
function append(image: unknown, path: readonly string[], items: readonly unknown[]): void {
  let at = image;
  for (const key of path) at = isPlain(at) ? at[key] : undefined;
  if (Array.isArray(at)) at.push(...items);
}
