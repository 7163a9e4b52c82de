import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { create } from "@bufbuild/protobuf";
import fc from "fast-check";
import { afterAll, beforeAll, expect, test } from "vitest";
import { choiceOf, choiceText } from "../../services/cli/alias-text.ts";
import { budgetTable } from "../../services/cli/budget-text.ts";
import { explanation } from "../../services/cli/explain-text.ts";
import { aliasSchema, aliasValue } from "../../services/io/aliases.ts";
import { openSqliteRegistry } from "../../services/io/registry-sqlite.ts";
import {
  BudgetStandingSchema,
  BudgetUnit,
} from "../../services/wire/gen/tokengrid/v1/budget_pb.js";
import { decision } from "./fixtures.ts";

const run = promisify(execFile);

let data: string;
beforeAll(async () => {
  data = await mkdtemp(join(tmpdir(), "alias-"));
  await (await openSqliteRegistry(join(data, "registry.sqlite"))).close();
});
afterAll(() => rm(data, { recursive: true }));

/** What it prints, or what it complains of with its exit code. */
async function alias(...words: readonly string[]): Promise<string> {
  const program = ["services/cli/main.ts", "alias", ...words, "--data", data];
  try {
    return (await run(process.execPath, program)).stdout;
  } catch (error) {
    const { code, stderr } = error as { readonly code: number; readonly stderr: string };
    return `${code}: ${stderr}`;
  }
}

test("tokengrid alias sets, gets, lists and deletes", async () => {
  const set = ["set", "chat", "best@2,in=2.5,out=10", "good"];
  expect(await alias(...set, "-o", "json")).toContain('"outputCnyPerMillionMax": 10');
  await alias("set", "plain", "good");
  expect(await alias("list")).toBe(
    [
      "ALIAS  PREFERENCE  MODEL  VERSION       IN ≤     OUT ≤",
      "chat            1  best   2        2.5 CNY/M  10 CNY/M",
      "                2  good   any              -         -",
      "plain           1  good   any              -         -",
      "",
    ].join("\n"),
  );
  // As it always was, so that whoever reads the old form reads it too.
  const registry = await openSqliteRegistry(join(data, "registry.sqlite"));
  expect((await registry.get("alias", "plain"))?.value).toBe('{"model":"good"}');
  await registry.close();
  expect(await alias("delete", "plain")).toBe("alias plain is deleted\n");
  expect(await alias("get", "plain")).toMatch(/^2: .*no alias plain/);
  expect(await alias("set", "chat", "good", "good")).toMatch(/^1: .*good is there twice/);
  expect(await alias("set", "chat", "good,in=cheap")).toMatch(/^1: .*expected in=CNY or out=CNY/);
  expect(await alias("set", "", "good")).toMatch(/^2: .*alias ""/s);
  expect(await alias("set", "x y", "good")).toMatch(/^2: .*expected no blanks/s);
  const many = Array.from({ length: 17 }, (_, index) => `m${index}`);
  expect(await alias("set", "many", ...many)).toMatch(/^1: .*at most 16 models, found 17/);
  expect(await alias("list", "-o", "name")).toBe("chat\n");
});

test("a choice is read as it is written", () => {
  const cap = fc.double({ min: 0, max: 1_000, noNaN: true }).map((cny) => Number(cny.toFixed(4)));
  const choice = fc.record(
    {
      model: fc.stringMatching(/^[a-z][a-z0-9./-]{0,20}$/),
      version: fc.stringMatching(/^[a-z0-9.-]{1,10}$/),
      inputCnyPerMillionMax: cap,
      outputCnyPerMillionMax: cap,
    },
    { requiredKeys: ["model"] },
  );
  fc.assert(
    fc.property(choice, (each) => {
      expect(choiceOf(choiceText(each))).toEqual(each);
    }),
  );
});

test.for(["", "@2", "model@", "model,", "model,in=", "model,in=-1", "model,max=2"])(
  "%j is no choice, and it is said what is",
  (text) => {
    expect(choiceOf(text)).toMatch(/^expected .*, found "/);
  },
);

test.for([
  [{ model: "a" }, [{ model: "a" }]],
  [
    { models: [{ model: "a" }, { model: "b", version: "2" }] },
    [{ model: "a" }, { model: "b", version: "2" }],
  ],
] as const)("an alias of the registry: %j", ([value, models]) => {
  const record = aliasSchema.parse(value);
  expect(record.models).toEqual(models);
  expect(aliasSchema.parse(aliasValue(record))).toEqual(record);
});

test.for([{}, { model: "" }, { models: [] }, { models: [{}] }, { model: "a", models: [] }])(
  "%j is no alias",
  (value) => {
    expect(aliasSchema.safeParse(value).success).toBe(false);
  },
);

const standing = {
  budgetId: "acme-day",
  tenantId: "acme",
  unit: BudgetUnit.KWH,
  isHard: true,
  windowMs: 86_400_000n,
  limit: 7_200_000_000n,
  spent: 1_800_000_000n,
  held: 36_000_000n,
  dualNano: 1_000,
  returnsInMs: 5_400_000n,
};

test("budgets are listed in the units that people use, as they are used", () => {
  const other = { ...standing, budgetId: "fuller", unit: BudgetUnit.CNY, limit: 1n, dualNano: 0 };
  const all = [standing, other].map((each) => create(BudgetStandingSchema, each));
  expect(budgetTable(all).split("\n").slice(1, 3)).toEqual([
    expect.stringMatching(/^fuller /),
    expect.stringMatching(
      /^acme-day +acme +1 d +0\.5 +0\.01 +2 +kWh +25\.5 % +3\.6 CNY per kWh +hard +1\.5 h$/,
    ),
  ]);
});

test("an explanation says how the request got its class and model, and what its budgets were", () => {
  const text = explanation(
    decision({
      classSource: "service_tier=flex",
      modelAlias: "chat",
      passedOverModels: [
        {
          modelId: "best",
          version: "2",
          reason: "no-eligible-pool",
          poolsByFilter: { "no-capacity": 3 },
        },
        { modelId: "secret", reason: "not-allowed" },
      ],
      budgets: [standing],
    }),
    false,
  );
  expect(text).toContain("(from service_tier=flex)");
  expect(text).toMatch(/^asked +chat: /m);
  expect(text).toMatch(/^passed over +best@2: no-eligible-pool; out: 3 no-capacity$/m);
  expect(text).toMatch(/^passed over +secret: not on the key's list of models$/m);
  expect(text).toMatch(
    /^budgets +acme-day \(hard\): 0\.51 of 2 kWh in 1 d, dual price 3\.6 CNY per kWh$/m,
  );
});
