import { expect, test } from "vitest";
import type { Entry, Registry } from "../../services/io/registry.ts";

const change = { kind: "pool", key: "a", value: "1", author: "li", comment: "why" } as const;

/**
 * What every registry does. `open` makes an empty store; called again with the same name it opens the same store, as a
 * second process would.
 */
export function registrySuite(title: string, open: (store: string) => Promise<Registry>): void {
  let stores = 0;
  const withRegistry = (
    name: string,
    run: (registry: Registry, again: () => Promise<Registry>) => Promise<void>,
  ): void => {
    test(`${title}: ${name}`, async () => {
      const store = `store-${(stores += 1)}`;
      const opened: Registry[] = [];
      const again = async (): Promise<Registry> => {
        const registry = await open(store);
        opened.push(registry);
        return registry;
      };
      await run(await again(), again);
      for (const registry of opened) await registry.close();
    });
  };

  withRegistry("set() makes an entry that get() returns", async (registry) => {
    const outcome = await registry.set({ ...change, baseRevision: 0 });
    expect(outcome).toMatchObject({ kind: "set", entry: { ...change, isDeleted: false } });
    expect(await registry.get("pool", "a")).toEqual(outcome.kind === "set" && outcome.entry);
    expect(await registry.get("pool", "b")).toBeUndefined();
    expect(await registry.get("policy", "a")).toBeUndefined();
  });

  withRegistry(
    "set() of an entry that must not be there yet conflicts with it",
    async (registry) => {
      await registry.set({ ...change, baseRevision: 0 });
      const second = await registry.set({ ...change, value: "2", baseRevision: 0 });
      expect(second).toMatchObject({ kind: "conflict", current: { value: "1" } });
    },
  );

  withRegistry("set() on a revision that is not the newest conflicts", async (registry) => {
    const first = revisionOf(await registry.set({ ...change, baseRevision: 0 }));
    await registry.set({ ...change, value: "2", baseRevision: first });
    const late = await registry.set({ ...change, value: "3", baseRevision: first });
    expect(late).toMatchObject({ kind: "conflict", current: { value: "2" } });
    expect(await registry.set({ ...change, key: "b", baseRevision: 7 })).toEqual({
      kind: "conflict",
      current: undefined,
    });
  });

  withRegistry("of many who set at once, one wins", async (registry, again) => {
    const other = await again();
    const outcomes = await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        (index % 2 === 0 ? registry : other).set({
          ...change,
          value: String(index),
          baseRevision: 0,
        }),
      ),
    );
    expect(outcomes.filter(({ kind }) => kind === "set")).toHaveLength(1);
  });

  withRegistry("every change has a revision of its own, only growing", async (registry) => {
    const revisions = [];
    for (const key of ["a", "b", "c"]) {
      revisions.push(revisionOf(await registry.set({ ...change, key, baseRevision: 0 })));
    }
    expect(revisions).toEqual(revisions.toSorted((a, b) => a - b));
    expect(new Set(revisions).size).toBe(3);
  });

  withRegistry("a deleted entry is not there, and may be made again", async (registry) => {
    const base = revisionOf(await registry.set({ ...change, baseRevision: 0 }));
    await registry.set({ ...change, baseRevision: base, isDeleted: true });
    expect(await registry.get("pool", "a")).toBeUndefined();
    expect(await registry.list("pool")).toEqual([]);
    expect((await registry.set({ ...change, value: "2", baseRevision: 0 })).kind).toBe("set");
    expect(await registry.list("pool")).toMatchObject([{ value: "2" }]);
  });

  withRegistry("list() has the newest of each key of its kind", async (registry) => {
    const base = revisionOf(await registry.set({ ...change, baseRevision: 0 }));
    await registry.set({ ...change, value: "2", baseRevision: base });
    await registry.set({ ...change, key: "b", baseRevision: 0 });
    await registry.set({ ...change, kind: "tenant", baseRevision: 0 });
    const entries = await registry.list("pool");
    expect(entries.map(({ key, value }) => [key, value])).toEqual([
      ["a", "2"],
      ["b", "1"],
    ]);
  });

  withRegistry("history() is newest first, with authors and comments", async (registry) => {
    let baseRevision = 0;
    for (const value of ["1", "2", "3"]) {
      baseRevision = revisionOf(await registry.set({ ...change, value, baseRevision }));
    }
    expect(await registry.history("pool", "a", 2)).toMatchObject([
      { value: "3", author: "li", comment: "why" },
      { value: "2" },
    ]);
    expect(await registry.history("pool", "b", 2)).toEqual([]);
  });

  withRegistry("watch() gives what is there, then what comes, in order", async (registry) => {
    const first = revisionOf(await registry.set({ ...change, baseRevision: 0 }));
    const stop = new AbortController();
    const entries = registry.watch(0, stop.signal)[Symbol.asyncIterator]();
    expect(await valueOf(entries.next())).toBe("1");
    const next = entries.next();
    await registry.set({ ...change, value: "2", baseRevision: first });
    expect(await valueOf(next)).toBe("2");
    stop.abort();
    expect((await entries.next()).done).toBe(true);
  });

  withRegistry("watch() leaves out what was seen already", async (registry) => {
    const seen = revisionOf(await registry.set({ ...change, baseRevision: 0 }));
    const stop = new AbortController();
    const entries = registry.watch(seen, stop.signal)[Symbol.asyncIterator]();
    const next = entries.next();
    await registry.set({ ...change, key: "b", value: "new", baseRevision: 0 });
    expect(await valueOf(next)).toBe("new");
    stop.abort();
  });

  withRegistry("watch() sees the changes of others", async (registry, again) => {
    const stop = new AbortController();
    const entries = registry.watch(0, stop.signal)[Symbol.asyncIterator]();
    const next = entries.next();
    const other = await again();
    await other.set({ ...change, value: "from elsewhere", baseRevision: 0 });
    expect(await valueOf(next)).toBe("from elsewhere");
    stop.abort();
  });

  withRegistry("watch() sees deletions", async (registry) => {
    const base = revisionOf(await registry.set({ ...change, baseRevision: 0 }));
    const stop = new AbortController();
    const entries = registry.watch(base, stop.signal)[Symbol.asyncIterator]();
    const next = entries.next();
    await registry.set({ ...change, baseRevision: base, isDeleted: true });
    expect((await next).value).toMatchObject({ key: "a", isDeleted: true });
    stop.abort();
  });

  withRegistry("what was set is there after it is opened again", async (registry, again) => {
    await registry.set({ ...change, baseRevision: 0 });
    await registry.close();
    expect(await (await again()).get("pool", "a")).toMatchObject({ value: "1", author: "li" });
  });

  withRegistry("close() ends those who watch, and may be called twice", async (registry) => {
    const entries = registry.watch(0, new AbortController().signal)[Symbol.asyncIterator]();
    const next = entries.next();
    await registry.close();
    await registry.close();
    expect((await next).done).toBe(true);
  });
}

function revisionOf(outcome: Awaited<ReturnType<Registry["set"]>>): number {
  expect(outcome.kind).toBe("set");
  return outcome.kind === "set" ? outcome.entry.revision : 0;
}

async function valueOf(next: Promise<IteratorResult<Entry>>): Promise<string> {
  const { value } = await next;
  return value.value;
}
