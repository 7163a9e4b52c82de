import { InvalidArgumentError } from "commander";
import { keys } from "../../core/table.ts";
import type { PoolFacts } from "../../core/what-if.ts";

/** What a pool may be selected by. */
const facts: Readonly<Record<string, (pool: PoolFacts) => string>> = {
  id: ({ id }) => id,
  vendor: ({ vendor }) => vendor,
  region: ({ region }) => region.id,
  hub: ({ region }) => region.hub,
  side: ({ region }) => region.side,
};

export interface Selector {
  readonly text: string;
  matches(pool: PoolFacts): boolean;
}

/** `side=west,vendor=northgrid`: all must hold. A word alone is the id of a pool. Throws `InvalidArgumentError`. */
export function parseSelector(text: string): Selector {
  const conditions = text.split(",").map((part) => {
    const [name, value] = part.includes("=") ? cut(part) : ["id", part];
    const fact = facts[name];
    if (fact === undefined || value === "") {
      throw new InvalidArgumentError(
        `expected ${keys(facts).join("=, ")}= or the id of a pool, found ${JSON.stringify(part)}`,
      );
    }
    return { fact, value };
  });
  return {
    text,
    matches: (pool) => conditions.every(({ fact, value }) => fact(pool) === value),
  };
}

function cut(part: string): readonly [string, string] {
  const at = part.indexOf("=");
  return [part.slice(0, at).trim(), part.slice(at + 1).trim()];
}
