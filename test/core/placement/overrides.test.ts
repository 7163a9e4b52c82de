import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Chooser } from "../../../services/core/placement/chooser.ts";
import { decide, type Decision } from "../../../services/core/placement/decide.ts";
import { explain } from "../../../services/core/placement/explain.ts";
import type { Policy, PolicyOverride } from "../../../services/core/placement/policy.ts";
import type { PlacementRequest } from "../../../services/core/placement/request.ts";
import type { Pool } from "../../../services/core/pool.ts";
import type {
  ModelId,
  OriginId,
  RegionId,
  RowId,
  TenantId,
  VendorId,
} from "../../../services/core/units.ts";
import { chat, figure, objectives, policy, pool, poolServing, price, region } from "../fixtures.ts";
import { request, snapshot } from "../fixtures.ts";
import { defaultPolicyYaml, parsePolicy } from "../../../services/io/policy-file.ts";
import { loadGeography } from "../../../services/io/preset.ts";
import { anyPool } from "./any-pool.ts";

function override(changes: Partial<PolicyOverride>): PolicyOverride {
  return {
    id: "O1" as RowId,
    textEn: "what it is for",
    textZh: "为什么",
    basis: "house default",
    sources: [],
    when: {},
    ...changes,
  };
}

function decided(
  overrides: readonly PolicyOverride[],
  options: {
    readonly pools?: readonly Pool[];
    readonly request?: Partial<PlacementRequest>;
    readonly policy?: Partial<Policy>;
  } = {},
): Decision {
  const { pools = [pool("a")] } = options;
  return decide(
    request(options.request),
    snapshot(pools),
    policy({ ...options.policy, overrides }),
  );
}

const south = "southgrid" as VendorId;
const guian = "guian" as RegionId;

/** Two pools of two vendors in two regions; the first is cheaper. */
const pools = [
  poolServing("north", { price: price({ outputPicoPerToken: 1_000_000 }) }),
  pool("south", { vendor: south, region: region("guian") }),
];

const W: Policy["rows"][number] = {
  id: "W" as RowId,
  textEn: "",
  textZh: "",
  basis: "policy text",
  sources: [],
  when: { classes: new Set(["llm-interactive"]) },
  kind: "require",
  reason: "region-not-allowed",
  pool: { regions: new Set([guian]) },
};

describe("an override sets, for the requests that it names,", () => {
  /** Each setting, what is around it, and what the decision shows of it with and without. */
  type Show = (decision: Decision) => unknown;
  interface Case {
    readonly set: Partial<PolicyOverride>;
    readonly policy?: Partial<Policy>;
    readonly shows: Show;
    readonly without: unknown;
    readonly with: unknown;
  }
  const poolOf: Show = (decision) => (decision.kind === "placed" ? decision.pool : decision.reason);
  const out: Show = ({ rejections }) =>
    rejections.map(({ pool: id, row, basis }) => [id, row, basis]);
  const term =
    (name: "carbon" | "energy" | "latency"): Show =>
    ({ candidates }) =>
      candidates.map(({ terms }) => terms[name] > 0);
  const carbon = { carbonNanoPerGram: 1_000 };
  const green = [pool("a", { greenShare: figure(1) })];
  const cases: Record<string, Case & { readonly pools?: readonly Pool[] }> = {
    objectives: {
      set: { objectives: { waitNanoPerMs: 100 } },
      shows: term("latency"),
      without: [false, false],
      with: [true, true],
    },
    carbonAccount: {
      set: { carbonAccount: "market-based" },
      policy: carbon,
      pools: green,
      shows: term("carbon"),
      without: [true],
      with: [false],
    },
    carbonNanoPerGram: {
      set: { carbonNanoPerGram: 0 },
      policy: carbon,
      shows: term("carbon"),
      without: [true, true],
      with: [false, false],
    },
    powerShare: {
      set: { powerShare: 1 },
      shows: term("energy"),
      without: [false, false],
      with: [true, true],
    },
    priceNanoMax: {
      set: { priceNanoMax: 2_500_000 },
      shows: out,
      without: [],
      with: [["south", "O1", "house default"]],
    },
    inputNanoPerTokenMax: {
      set: { inputNanoPerTokenMax: 1_999 },
      shows: out,
      without: [],
      with: [
        ["north", "O1", "house default"],
        ["south", "O1", "house default"],
      ],
    },
    outputNanoPerTokenMax: {
      set: { outputNanoPerTokenMax: 1_000 },
      shows: out,
      without: [],
      with: [["south", "O1", "house default"]],
    },
    vendorsAllowed: {
      set: { vendorsAllowed: new Set([south]) },
      shows: out,
      without: [],
      with: [["north", "O1", "house default"]],
    },
    vendorsDenied: {
      set: { vendorsDenied: new Set([south]) },
      shows: out,
      without: [],
      with: [["south", "O1", "house default"]],
    },
    regionsAllowed: {
      set: { regionsAllowed: new Set([guian]) },
      shows: out,
      without: [],
      with: [["north", "O1", "house default"]],
    },
    regionsDenied: {
      set: { regionsDenied: new Set([guian]) },
      shows: out,
      without: [],
      with: [["south", "O1", "house default"]],
    },
    rowsOff: {
      set: { rowsOff: new Set(["W" as RowId]) },
      policy: { rows: [W] },
      shows: poolOf,
      without: "south",
      with: "north",
    },
    rowsInstead: {
      set: { rowsInstead: [{ ...W, kind: "warn", pool: {} }] },
      policy: { rows: [W] },
      shows: poolOf,
      without: "south",
      with: "north",
    },
  };
  for (const [name, { set, shows, ...expected }] of Object.entries(cases)) {
    test(name, () => {
      const around = { pools: expected.pools ?? pools, policy: expected.policy ?? {} };
      const when = { tenants: new Set(["acme" as TenantId]) };
      const named = decided([override({ ...set, when })], around);
      expect(shows(named)).toEqual(expected.with);
      expect(named.overrides.map(({ id }) => id)).toEqual(["O1"]);
      const other = { ...around, request: { tenant: "other" as TenantId } };
      const unnamed = decided([override({ ...set, when })], other);
      expect(shows(unnamed)).toEqual(expected.without);
      expect(unnamed.overrides).toEqual([]);
      expect(explain(named)).toContain(
        `override O1 (house default) sets ${name === "objectives" ? "waitNanoPerMs" : name} `,
      );
    });
  }
});

describe("an override applies", () => {
  const cases: [string, PolicyOverride["when"], Partial<PlacementRequest>, boolean][] = [
    ["to everybody", {}, {}, true],
    ["to its model", { models: new Set([chat]) }, {}, true],
    ["to no other model", { models: new Set(["other" as ModelId]) }, {}, false],
    ["to its class", { classes: new Set(["llm-interactive"]) }, {}, true],
    ["to no other class", { classes: new Set(["archival"]) }, {}, false],
    [
      "to its class of data",
      { dataClasses: new Set(["personal"]) },
      { dataClass: "personal" },
      true,
    ],
    ["to no other class of data", { dataClasses: new Set(["personal"]) }, {}, false],
    ["to its demand area", { demandAreas: new Set(["Yangtze River Delta"]) }, {}, true],
    [
      "to no place that the map does not know",
      { demandAreas: new Set(["Yangtze River Delta"]) },
      { origin: "nowhere" as OriginId },
      false,
    ],
    [
      "where all that it names holds",
      { tenants: new Set(["acme" as TenantId]), classes: new Set(["archival"]) },
      {},
      false,
    ],
  ];
  test.for(cases)("%s", ([, when, changes, applies]) => {
    const decision = decided([override({ when, rowsOff: new Set() })], { request: changes });
    expect(decision.overrides.length).toBe(applies ? 1 : 0);
  });
});

describe("of several overrides", () => {
  const second = { id: "O2" as RowId };

  test("the last one that names a setting counts, field by field in the objectives", () => {
    const decision = decided(
      [
        override({ objectives: { waitNanoPerMs: 5, gramsCo2Max: 1e-9 }, carbonNanoPerGram: 7 }),
        override({ ...second, objectives: { gramsCo2Max: 1_000 }, carbonNanoPerGram: 0 }),
      ],
      { policy: { ...objectives({ waitNanoPerMs: 1 }), carbonNanoPerGram: 3 } },
    );
    expect(decision.overrides.map(({ id }) => id)).toEqual(["O1", "O2"]);
    const { terms, expected } = decision.candidates[0] ?? expect.unreachable();
    expect(terms.carbon).toBe(0);
    expect(terms.latency).toBe(Math.round(expected.finishMs * 5));
  });

  test("a later list of vendors takes the place of an earlier one, and is the row of the rejection", () => {
    const decision = decided(
      [
        override({ vendorsAllowed: new Set([south]) }),
        override({ ...second, vendorsAllowed: new Set(["northgrid" as VendorId]) }),
      ],
      { pools },
    );
    expect(decision).toMatchObject({ pool: "north", rejections: [{ pool: "south", row: "O2" }] });
  });

  test("different settings of several hold together", () => {
    const decision = decided(
      [
        override({ vendorsAllowed: new Set([south]) }),
        override({ ...second, regionsDenied: new Set([guian]) }),
      ],
      { pools },
    );
    expect(decision.rejections.map(({ pool: id, row }) => [id, row])).toEqual([
      ["north", "O1"],
      ["south", "O2"],
    ]);
  });

  test("a row that is off is put back by a later one that has it instead, and the other way round", () => {
    const off = { rowsOff: new Set(["W" as RowId]) };
    const instead = { rowsInstead: [W] };
    const around = { pools, policy: { rows: [W] } };
    expect(decided([override(off), override({ ...second, ...instead })], around)).toMatchObject({
      pool: "south",
    });
    expect(decided([override(instead), override({ ...second, ...off })], around)).toMatchObject({
      pool: "north",
    });
  });
});

test("a row instead stands at the place of the old one, and holds only where its own condition does", () => {
  const tariff = { ...W, kind: "tariff", pool: {}, tariff: { nanoPerToken: 1 } } as const;
  const later = { ...W, id: "X" as RowId } as const;
  const rowsInstead = [{ ...tariff, basis: "house default" as const }];
  const decision = decided([override({ rowsInstead })], { pools, policy: { rows: [W, later] } });
  expect(decision.policyRows.map(({ id, kind }) => [id, kind])).toEqual([
    ["W", "tariff"],
    ["X", "require"],
  ]);
  expect(decision.policyRow).toMatchObject({ id: "W", basis: "house default" });
});

test("the request's own limits hold beside those of an override", () => {
  const decision = decided([override({ priceNanoMax: 1e12 })], {
    pools,
    request: { priceNanoMax: 1, vendorsDenied: new Set([south]) },
  });
  expect(decision.rejections).toMatchObject([
    {
      pool: "north",
      reason: "price-cap",
      row: undefined,
      detail: "asked at most 1 nano, found 2200000",
    },
    { pool: "south", reason: "vendor-not-allowed", row: undefined },
  ]);
});

test("a price cap says what was asked, and of what", () => {
  const caps = { outputNanoPerTokenMax: 5_000 };
  expect(decided([override(caps)], { pools }).rejections).toMatchObject([
    {
      pool: "south",
      reason: "price-cap",
      detail: "asked at most 5000 nano per token of output, found 8000",
      isLasting: true,
    },
  ]);
});

const map = loadGeography();
const parsed = parsePolicy(defaultPolicyYaml(), 1);
const shipped = "policy" in parsed ? parsed.policy : expect.unreachable();

const maybe = <Value>(value: fc.Arbitrary<Value>) => fc.option(value, { nil: undefined });
const someOf = <Name extends string>(...names: Name[]) =>
  maybe(fc.subarray(names, { minLength: 1 }).map((few) => new Set(few)));

/** Only what is there: an absent setting is no setting. */
function present<Value extends object>(value: Value) {
  return Object.fromEntries(Object.entries(value).filter(([, each]) => each !== undefined));
}

const rowIds = shipped.rows.map(({ id }) => id);

const anyOverride = fc
  .record({
    when: fc
      .record({
        tenants: someOf("acme" as TenantId, "other" as TenantId),
        classes: someOf("llm-interactive", "batch-offline"),
        dataClasses: someOf("general", "personal"),
        demandAreas: someOf("Yangtze River Delta", "Beijing-Tianjin-Hebei"),
      })
      .map(present),
    objectives: fc
      .record({
        waitNanoPerMs: maybe(fc.constantFrom(0, 700)),
        missNano: maybe(fc.constantFrom(0, 9_000_000)),
        gramsCo2Max: maybe(fc.constantFrom(0.3, 5)),
      })
      .map(present),
    carbonAccount: maybe(fc.constantFrom("location-based", "market-based")),
    carbonNanoPerGram: maybe(fc.constantFrom(0, 900_000)),
    powerShare: maybe(fc.constantFrom(0, 0.3, 1)),
    priceNanoMax: maybe(fc.constantFrom(2_000_000, 30_000_000)),
    outputNanoPerTokenMax: maybe(fc.constantFrom(8_100, 8_500)),
    vendorsAllowed: someOf("northgrid" as VendorId, "southgrid" as VendorId),
    vendorsDenied: someOf("southgrid" as VendorId),
    regionsDenied: someOf("guian" as RegionId, "wuhu" as RegionId),
    rowsOff: someOf(...rowIds),
    rowsInstead: maybe(
      fc.subarray([...shipped.rows], { minLength: 1, maxLength: 3 }).map((rows) =>
        rows.map((row) => ({
          ...row,
          when: {},
          kind: "tariff" as const,
          pool: {},
          tariff: { nanoPerToken: 300, greenShareTarget: 0.9 },
        })),
      ),
    ),
  })
  .map((settings): PolicyOverride => override(present(settings)));

const anyOverrides = fc
  .array(anyOverride, { maxLength: 3 })
  .map((all) => all.map((each, index) => ({ ...each, id: `O${index}` as RowId })));

const anyAsked = fc
  .record({
    class: fc.constantFrom("llm-interactive", "batch-offline", "archival", "realtime-interactive"),
    tenant: fc.constantFrom("acme", "other", "third"),
    dataClass: fc.constantFrom("general", "personal"),
    origin: fc.constantFrom("shanghai", "beijing", "nowhere"),
    inputTokens: fc.constantFrom(1, 900, 9_000),
  })
  .map(({ tenant, origin, ...rest }) =>
    request({
      ...(rest as Partial<PlacementRequest>),
      tenant: tenant as TenantId,
      origin: origin as OriginId,
    }),
  );

const anyPools = fc
  .array(anyPool(map), { minLength: 3, maxLength: 12 })
  .map((all) => all.map((each, index) => ({ ...each, id: `pool-${index}` as Pool["id"] })));

function whole(decision: Decision): unknown {
  const { kind, candidates, rejections, tally, policyRow, policyRows, overrides } = decision;
  const outcome = decision.kind === "placed" ? [decision.pool, decision.costNano] : decision.reason;
  return { kind, outcome, candidates, rejections, tally, policyRow, policyRows, overrides };
}

test("Chooser makes the decisions of decide() under overrides, whoever asked before", () => {
  fc.assert(
    fc.property(
      anyPools,
      anyOverrides,
      fc.array(anyAsked, { minLength: 2 }),
      (all, over, asked) => {
        const chooser = new Chooser();
        const minds = { ...shipped, powerShare: 0.5, overrides: over };
        const at = { revision: 1, now: 0, geography: map, pools: all };
        for (const each of asked) {
          expect(whole(chooser.choose(each, at, minds))).toEqual(whole(decide(each, at, minds)));
        }
      },
    ),
    { numRuns: 200 },
  );
});

test("an override that applies is the policy with its settings written in", () => {
  fc.assert(
    fc.property(anyPools, anyOverride, anyAsked, (all, over, asked) => {
      const { objectives: fields, rowsOff = new Set(), rowsInstead = [] } = over;
      const { carbonAccount = shipped.carbonAccount, powerShare = shipped.powerShare } = over;
      const { carbonNanoPerGram = shipped.carbonNanoPerGram } = over;
      const plainly: PolicyOverride = override({
        when: {},
        ...present({ objectives: fields, rowsOff, rowsInstead }),
        ...{ carbonAccount, powerShare, carbonNanoPerGram },
      });
      const written: Policy = {
        ...shipped,
        carbonAccount,
        powerShare,
        carbonNanoPerGram,
        objectives: {
          ...shipped.objectives,
          [asked.class]: { ...shipped.objectives[asked.class], ...fields },
        },
        rows: shipped.rows
          .filter(({ id }) => !rowsOff.has(id) || rowsInstead.some((row) => row.id === id))
          .map((row) => rowsInstead.find(({ id }) => id === row.id) ?? row),
      };
      const at = { revision: 1, now: 0, geography: map, pools: all };
      const { overrides: _with, ...under } = decide(asked, at, {
        ...shipped,
        overrides: [plainly],
      });
      const { overrides: _without, ...as } = decide(asked, at, written);
      expect(under).toEqual(as);
    }),
    { numRuns: 200 },
  );
});
