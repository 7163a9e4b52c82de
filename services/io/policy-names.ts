import { z } from "zod";
import { meant, type Finding } from "./policy-mistakes.ts";

const names = z.array(z.unknown()).catch([]);

const rowOutline = z
  .object({
    id: z.string().optional().catch(undefined),
    sources: names,
    require: z.unknown().optional(),
    exempt: z.object({ of: z.string() }).optional().catch(undefined),
  })
  .catch({ id: undefined, sources: [], require: undefined, exempt: undefined });

/** As much of a file as names things, however wrong the rest of it is. */
const outlineSchema = z
  .object({
    rows: z.array(rowOutline).catch([]),
    overrides: z
      .array(
        z
          .object({
            id: z.string().optional().catch(undefined),
            sources: names,
            rowsOff: names,
            rowsInstead: z.array(rowOutline).catch([]),
          })
          .catch({ id: undefined, sources: [], rowsOff: [], rowsInstead: [] }),
      )
      .catch([]),
    sources: z.record(z.string(), z.unknown()).catch({}),
  })
  .catch({ rows: [], overrides: [], sources: {} });

type Outline = z.output<typeof outlineSchema>;

interface Named {
  readonly path: readonly PropertyKey[];
  readonly id?: string | undefined;
  readonly sources: readonly unknown[];
}

/** Names that are used twice, or that nothing has. */
export function nameFindings(data: unknown): Finding[] {
  const outline = outlineSchema.parse(data);
  const rows = outline.rows.map((row, index) => ({ ...row, path: ["rows", index] }));
  const overrides = outline.overrides.map((each, index) => ({
    ...each,
    path: ["overrides", index],
  }));
  const instead = overrides.flatMap(({ path, rowsInstead }) =>
    rowsInstead.map((row, index) => ({ ...row, path: [...path, "rowsInstead", index] })),
  );
  const requiring = new Set(
    [...rows, ...instead].flatMap((row) => (row.require && row.id ? [row.id] : [])),
  );
  const all = new Set(rows.flatMap(({ id }) => id ?? []));
  return [
    ...twice([...rows, ...overrides]),
    ...[...rows, ...instead].flatMap(({ path, exempt }) =>
      exempt === undefined || requiring.has(exempt.of)
        ? []
        : [unknown([...path, "exempt", "of"], "a row that requires", exempt.of, requiring)],
    ),
    ...overrides.flatMap(({ path, rowsOff }) =>
      lost(rowsOff, all).map(([place, id]) =>
        unknown([...path, "rowsOff", place], "a row", id, all),
      ),
    ),
    ...instead.flatMap(({ path, id }) =>
      id === undefined || all.has(id) ? [] : [unknown([...path, "id"], "a row", id, all)],
    ),
    ...[...rows, ...overrides, ...instead].flatMap((each) => lostSources(each, outline)),
  ];
}

/** Sources that nothing names, by key. */
export function unusedSources(data: unknown): string[] {
  const { rows, overrides, sources } = outlineSchema.parse(data);
  const users = [...rows, ...overrides, ...overrides.flatMap((each) => each.rowsInstead)];
  const used = new Set(users.flatMap((each) => each.sources));
  return Object.keys(sources).filter((key) => !used.has(key));
}

function twice(named: readonly Named[]): Finding[] {
  return named.flatMap(({ path, id }, index) => {
    const first = named.find((other) => other.id === id);
    if (id === undefined || first === undefined || named.indexOf(first) === index) return [];
    const [list, place] = first.path;
    const message = `${id} is the id of ${String(list)}[${String(place)}] already`;
    return [{ path: [...path, "id"], message }];
  });
}

function lostSources({ path, sources: used }: Named, { sources }: Outline): Finding[] {
  const known = new Set(Object.keys(sources));
  return lost(used, known).map(([place, key]) =>
    unknown([...path, "sources", place], "a key of sources", key, known),
  );
}

function lost(used: readonly unknown[], known: ReadonlySet<string>): [number, string][] {
  return used.flatMap((name, place): [number, string][] =>
    typeof name === "string" && !known.has(name) ? [[place, name]] : [],
  );
}

function unknown(
  path: readonly PropertyKey[],
  expected: string,
  found: string,
  known: Iterable<string>,
): Finding {
  return { path, message: `expected ${expected}, found ${found}${meant(found, known)}` };
}
