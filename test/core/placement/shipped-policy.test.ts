import { describe, expect, test } from "vitest";
import { decide, type Decision } from "../../../services/core/placement/decide.ts";
import type { Policy } from "../../../services/core/placement/policy.ts";
import type { PlacementRequest, ServiceClass } from "../../../services/core/placement/request.ts";
import type { Pool } from "../../../services/core/pool.ts";
import type { OriginId, RowId, TenantId } from "../../../services/core/units.ts";
import { defaultPolicyYaml, parsePolicy } from "../../../services/io/policy-file.ts";
import { loadGeography } from "../../../services/io/preset.ts";
import { figure, observed, pool, poolServing, request } from "../fixtures.ts";

/** The shipped policy on the ten national clusters, one like pool in each. */

const geography = loadGeography();
const parsed = parsePolicy(defaultPolicyYaml(), 1);
const shipped = "policy" in parsed ? parsed.policy : expect.unreachable();

const supply = ["guian", "horinger", "qingyang", "zhongwei"];
const demand = ["chongqing", "shaoguan", "tianfu", "wuhu", "yrd-demo", "zhangjiakou"];
const all = [...supply, ...demand].toSorted();

function poolIn(cluster: string, changes: Partial<Pool> = {}): Pool {
  const region = [...geography.regions.values()].find(({ id }) => id === cluster);
  const paths = [...geography.roundTripMsPrior].flatMap(([origin, byRegion]) => {
    const value = region && byRegion.get(region.id);
    return value === undefined ? [] : [[origin, figure(value, { source: "estimated" })] as const];
  });
  return pool(cluster, {
    region: region ?? expect.unreachable(),
    roundTripMsFrom: new Map(paths),
    pue: undefined,
    ...changes,
  });
}

interface Asked {
  readonly class: ServiceClass;
  readonly from: string;
  readonly request?: Partial<PlacementRequest>;
  readonly pools?: readonly Pool[];
  readonly policy?: Policy;
}

function decided({ class: serviceClass, from, pools, policy, ...asked }: Asked): Decision {
  const origin = from as OriginId;
  return decide(
    request({ class: serviceClass, origin, ...asked.request }),
    { revision: 1, now: 0, geography, pools: pools ?? all.map((cluster) => poolIn(cluster)) },
    policy ?? shipped,
  );
}

function fit(asked: Asked): string[] {
  return decided(asked)
    .candidates.map(({ pool: id }) => id)
    .toSorted();
}

function rowsAgainst(asked: Asked): Record<string, string | undefined> {
  const { rejections } = decided(asked);
  return Object.fromEntries(rejections.map(({ pool: id, row }) => [id, row]));
}

/** Who may serve whom. */
const admitted: [string, ServiceClass, string, string[]][] = [
  ["W0: the user's own hub, in the east", "metro-realtime", "shanghai", ["wuhu", "yrd-demo"]],
  ["W0: and in the west", "metro-realtime", "chengdu", ["chongqing", "tianfu"]],
  ["W0: nobody is near", "metro-realtime", "wuhan", []],
  ["W1: a demand hub of the region", "realtime-interactive", "shanghai", ["wuhu", "yrd-demo"]],
  ["W1: Chengdu-Chongqing is one", "realtime-interactive", "chongqing", ["chongqing", "tianfu"]],
  ["W1x: Horinger helps Beijing", "realtime-interactive", "beijing", ["horinger", "zhangjiakou"]],
  ["W1x: and nobody else", "realtime-interactive", "guangzhou", ["shaoguan"]],
  ["W1: without a hub of their own, any demand hub", "realtime-interactive", "wuhan", demand],
  ["W2: everybody in the circle", "llm-interactive", "shanghai", all],
  [
    "W2: not Shaoguan from Harbin",
    "llm-interactive",
    "harbin",
    all.filter((id) => id !== "shaoguan" && id !== "guian"),
  ],
  ["W3: everybody", "batch-offline", "urumqi", all],
  ["W4: supply hubs", "archival", "shanghai", supply],
];

test.for(admitted)("%s", ([, serviceClass, from, expected]) => {
  expect(fit({ class: serviceClass, from })).toEqual(expected);
});

describe("W rows", () => {
  test("a rejection names its row and its basis", () => {
    const { rejections } = decided({ class: "realtime-interactive", from: "shanghai" });
    expect(rejections.find(({ pool: id }) => id === "guian")).toEqual({
      pool: "guian",
      isLasting: true,
      reason: "region-not-allowed",
      row: "W1",
      basis: "policy text",
      detail: "asked near the user and role demand-hub, found guian, a western supply-hub",
    });
  });

  test("W0: the circle is measured: a near pool on a slow path is out", () => {
    const slow = poolIn("wuhu", {
      roundTripMsFrom: new Map([["shanghai" as OriginId, figure(20.2)]]),
    });
    const asked: Asked = { class: "metro-realtime", from: "shanghai", pools: [slow] };
    expect(rowsAgainst(asked)).toEqual({ wuhu: "W0-circle" });
  });

  test("W1 and W2: a path longer than the circle is out", () => {
    const slow = poolIn("wuhu", {
      roundTripMsFrom: new Map([["shanghai" as OriginId, figure(40.2)]]),
    });
    const against = (serviceClass: ServiceClass) =>
      rowsAgainst({ class: serviceClass, from: "shanghai", pools: [slow] });
    expect(against("realtime-interactive")).toEqual({ wuhu: "W1-circle" });
    expect(against("llm-interactive")).toEqual({ wuhu: "W2-circle" });
    expect(against("batch-offline")).toEqual({});
  });

  test("W1x: Horinger is out again when its path is longer than 5 ms", () => {
    const slow = poolIn("horinger", {
      roundTripMsFrom: new Map([["beijing" as OriginId, figure(10.2)]]),
    });
    const asked: Asked = { class: "realtime-interactive", from: "beijing", pools: [slow] };
    expect(rowsAgainst(asked)).toEqual({ horinger: "W1" });
  });

  test("W2: among like pools a supply hub is preferred, and the row says so", () => {
    const pools = ["wuhu", "guian"].map((cluster) => poolIn(cluster));
    const decision = decided({ class: "llm-interactive", from: "shanghai", pools });
    expect(decision).toMatchObject({
      pool: "guian",
      policyRow: { id: "W2", basis: "house default" },
    });
    const { chosen } = decision.kind === "placed" ? decision : expect.unreachable();
    expect(chosen.tariffs).toContainEqual({
      row: "W2",
      basis: "house default",
      costNano: -180_000,
    });
  });

  test("W2: a supply hub that would miss the time to first token gives way to a demand hub", () => {
    const busy = poolServing("guian", {
      observed: observed({ attempts: 100, ttftMs: 2_500, ttftOffsetMs: 2_400 }),
    });
    const pools = [poolIn("wuhu"), { ...poolIn("guian"), served: busy.served }];
    expect(decided({ class: "llm-interactive", from: "shanghai", pools })).toMatchObject({
      pool: "wuhu",
    });
  });

  test("W3: a demand hub only when the supply hubs are full", () => {
    const cheap = { price: poolServing("x", {}).served.values().next().value?.price };
    const half = cheap.price && { ...cheap.price, outputPicoPerToken: 4_000_000 };
    const near = { ...poolIn("wuhu"), served: poolServing("wuhu", { price: half }).served };
    const far = poolIn("guian");
    const asked: Asked = { class: "batch-offline", from: "shanghai", pools: [near, far] };
    expect(decided(asked)).toMatchObject({ pool: "guian", policyRow: { id: "W3" } });
    expect(decided({ ...asked, pools: [near, { ...far, share: 0 }] })).toMatchObject({
      pool: "wuhu",
    });
  });

  test("W4: a row for a tenant lifts it", () => {
    const lift = {
      kind: "exempt",
      id: "T1" as RowId,
      textEn: "",
      textZh: "",
      basis: "house default",
      sources: [],
      when: { tenants: new Set(["acme" as TenantId]) },
      of: "W4" as RowId,
      pool: {},
    } as const;
    const policy = { ...shipped, rows: [...shipped.rows, lift] };
    expect(fit({ class: "archival", from: "shanghai", policy })).toEqual(all);
    const other = { tenant: "other" as TenantId };
    expect(fit({ class: "archival", from: "shanghai", policy, request: other })).toEqual(supply);
  });
});

describe("D rows", () => {
  const abroad = {
    ...poolIn("guian"),
    region: { ...poolIn("guian").region, isMainland: false },
    dataClasses: new Set(["general", "personal", "important", "core"] as const),
  };
  const sworn = poolIn("horinger", {
    dataClasses: new Set(["general", "personal", "important", "core"] as const),
    tags: new Set(["core-data-allowed"]),
  });
  const admits = poolIn("zhongwei", {
    dataClasses: new Set(["general", "personal", "important", "core"] as const),
  });
  const open = poolIn("qingyang", { dataClasses: new Set(["general"] as const) });
  const pools = [abroad, sworn, admits, open];

  const rows: [PlacementRequest["dataClass"], string[], Record<string, string>][] = [
    ["general", ["guian", "horinger", "qingyang", "zhongwei"], {}],
    ["personal", ["horinger", "zhongwei"], { guian: "D2", qingyang: "D2" }],
    ["important", ["horinger", "zhongwei"], { guian: "D3", qingyang: "D3" }],
    ["core", ["horinger"], { guian: "D4", qingyang: "D4", zhongwei: "D4" }],
  ];

  test.for(rows)("%s data goes to %j", ([dataClass, expected, against]) => {
    const asked: Asked = {
      class: "batch-offline",
      from: "shanghai",
      pools,
      request: { dataClass },
    };
    expect(fit(asked)).toEqual(expected);
    expect(rowsAgainst(asked)).toEqual(against);
  });

  test("D1: a pool abroad is marked for general data", () => {
    const { candidates } = decided({ class: "batch-offline", from: "shanghai", pools: [abroad] });
    expect(candidates[0]?.warnings).toContain("D1");
  });

  test("D5: a pool carries no work above its own level", () => {
    const low = poolIn("guian", { mlpsLevel: 2 });
    const asked: Asked = {
      class: "batch-offline",
      from: "shanghai",
      pools: [low, poolIn("zhongwei")],
      request: { mlpsLevelMin: 3 },
    };
    expect(fit(asked)).toEqual(["zhongwei"]);
    expect(rowsAgainst(asked)).toEqual({ guian: "D5" });
  });
});

describe("G and N rows", () => {
  function candidateOf(changes: Partial<Pool>, cluster = "guian") {
    const pools = [poolIn(cluster, changes)];
    const { candidates } = decided({ class: "batch-offline", from: "harbin", pools });
    return candidates[0] ?? expect.unreachable();
  }

  test("G1: the share of green power that is missing costs, and one nobody has shown is missing", () => {
    const g1 = (greenShare: Pool["greenShare"]) =>
      candidateOf({ greenShare }).tariffs.find(({ row }) => row === "G1")?.costNano;
    expect([figure(0.9), figure(0.8), figure(0.4), undefined].map(g1)).toEqual([
      undefined,
      undefined,
      30_000,
      60_000,
    ]);
  });

  test("G2: a PUE above the hub's target is marked, by its role", () => {
    const marks = (pue: number, cluster: string) =>
      candidateOf({ pue: figure(pue) }, cluster).warnings.filter((row) => row.startsWith("G2"));
    expect(marks(1.22, "guian")).toEqual(["G2-supply"]);
    expect(marks(1.22, "wuhu")).toEqual([]);
    expect(marks(1.26, "wuhu")).toEqual(["G2"]);
  });

  test("G3: an emptier pool attracts, up to 65 % of its slots", () => {
    const g3 = (slotsLeased: number) => {
      const { served } = poolServing("guian", { slotsLeased });
      return candidateOf({ served }).tariffs.find(({ row }) => row === "G3")?.costNano;
    };
    expect([0, 4, 6].map(g3)).toEqual([-60_000, -13_846, undefined]);
  });

  test("N1: a slow path is marked and not refused", () => {
    const path = (roundTripMs: number, source: "measured" | "estimated") =>
      candidateOf({
        roundTripMsFrom: new Map([["harbin" as OriginId, figure(roundTripMs, { source })]]),
      }).warnings.filter((row) => row.startsWith("N1"));
    // Harbin to Gui'an: about 2,600 km, 13 ms in a straight fibre.
    expect(path(37, "measured")).toEqual([]);
    expect(path(41, "estimated")).toEqual(["N1"]);
    expect(path(45, "measured")).toEqual(["N1", "N1-route"]);
  });
});

test("every row of the shipped policy is tested above, and there is a pool in every cluster", () => {
  const tested = {
    W: ["W0", "W0-circle", "W1", "W1-other", "W1-circle", "W1x", "W2", "W2-circle", "W3", "W4"],
    D: ["D1", "D2", "D3", "D4", "D5"],
    G: ["G1", "G2", "G2-supply", "G3"],
    N: ["N1", "N1-route"],
  };
  expect(shipped.rows.map(({ id }) => id)).toEqual(Object.values(tested).flat());
  expect(all).toEqual([...geography.regions.keys()].toSorted());
});
