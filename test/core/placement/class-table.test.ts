import { expect, test } from "vitest";
import {
  derivedClass,
  houseClassTable,
  type ClassHints,
  type ClassTable,
} from "../../../services/core/placement/class-table.ts";
import type { ModelId, TenantId } from "../../../services/core/units.ts";

const table: ClassTable = {
  ...houseClassTable,
  tenants: new Map([["acme" as TenantId, "archival"]]),
  models: new Map([["embedder", "batch-offline"]]),
};

const silent: ClassHints = {
  header: undefined,
  member: undefined,
  serviceTier: undefined,
  deadlineMs: undefined,
  key: undefined,
  tenant: "nobody" as TenantId,
  name: "chat",
  model: "qwen3-32b" as ModelId,
  endpoint: "/v1/chat/completions",
};

/** From what counts most to what counts least: each is added to all that come after it. */
const hints: readonly (readonly [Partial<ClassHints>, string, string])[] = [
  [{ header: "metro-realtime" }, "metro-realtime", "header"],
  [{ member: "archival" }, "archival", "tokengrid.class"],
  [{ serviceTier: "flex" }, "batch-offline", "service_tier=flex"],
  [{ deadlineMs: 300 }, "metro-realtime", "deadline 300 ms"],
  [{ key: "realtime-interactive" }, "realtime-interactive", "key"],
  [{ tenant: "acme" as TenantId }, "archival", "tenant acme"],
  [{ name: "embedder" }, "batch-offline", "model embedder"],
  [{ endpoint: "/v1/embeddings" }, "batch-offline", "endpoint /v1/embeddings"],
  [{}, "llm-interactive", "default"],
];

test.for(hints.map((hint, index) => [hint[2], hint, index] as const))(
  "derivedClass() follows the %s before all that comes after it",
  ([, [hint, expected, source], index]) => {
    const later = hints.slice(index + 1).map(([each]) => each);
    for (const all of [[hint], [...later, hint]]) {
      const derived = derivedClass(Object.assign({}, silent, ...all.toReversed()), table);
      expect(derived).toEqual({ class: expected, source });
    }
  },
);

test.for([
  ["auto", undefined, "default"],
  ["default", undefined, "default"],
  ["priority", undefined, "default"],
  ["flex", 300, "service_tier=flex"],
  ["priority", 300, "deadline 300 ms"],
  [undefined, 2_000, "deadline 2000 ms"],
  [undefined, 2_001, "default"],
] as const)(
  "a service tier of %s and a deadline of %s ms: %s",
  ([serviceTier, deadlineMs, source]) => {
    const derived = derivedClass({ ...silent, serviceTier, deadlineMs }, table);
    expect(derived.source).toBe(source);
  },
);

test("the tightest deadline counts, in whatever order the table has them", () => {
  const deadlines = houseClassTable.deadlines.toReversed();
  const derived = derivedClass({ ...silent, deadlineMs: 400 }, { ...table, deadlines });
  expect(derived.class).toBe("metro-realtime");
});
