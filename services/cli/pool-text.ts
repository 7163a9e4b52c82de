import type {
  Figure,
  ModelReport,
  Observed,
  Pool,
  ServedModelState,
} from "../wire/gen/tokengrid/v1/pool_pb.js";
import {
  EngineKind,
  FigureSource,
  PoolHealth,
  PoolStatus,
} from "../wire/gen/tokengrid/v1/pool_pb.js";
import {
  brief,
  type Column,
  enumWord,
  grouped,
  percent,
  span,
  textCard,
  textTable,
} from "./print.ts";

const unknown = "-";

const listColumns: readonly Column[] = [
  { name: "POOL" },
  { name: "STATUS" },
  { name: "HEALTH" },
  { name: "AGE", align: "right" },
  { name: "REGION" },
  { name: "名称", isWide: true },
  { name: "ROLE", isWide: true },
  { name: "VENDOR" },
  { name: "ACCELERATOR", isWide: true },
  { name: "MODEL" },
  { name: "LEASED", align: "right" },
  { name: "SLOTS", align: "right" },
  { name: "KV", align: "right" },
  { name: "TTFT", align: "right" },
  { name: "CNY/M IN", align: "right" },
  { name: "CNY/M OUT", align: "right" },
  { name: "PUE", align: "right", isWide: true },
  { name: "GREEN", align: "right", isWide: true },
  { name: "gCO2e/kWh", align: "right", isWide: true },
];

/** One line per pool and model; what is the pool's alone is not said twice. */
export function poolList(pools: readonly Pool[], isWide: boolean): string {
  if (pools.length === 0) return "no pools\n";
  return textTable(listColumns, pools.flatMap(listRows), isWide);
}

function listRows(pool: Pool): string[][] {
  const { registration: facts, region } = pool;
  return pool.models.map((model, index) => {
    const own = index === 0 ? (text: string) => text : () => "";
    return [
      own(facts?.poolId ?? unknown),
      own(statusWord(pool.status)),
      own(healthWord(pool.health)),
      own(ageOf(pool)),
      own(facts?.regionId ?? unknown),
      own(region?.nameZh ?? unknown),
      own(region?.policyRole ?? unknown),
      own(facts?.vendorId ?? unknown),
      own(facts?.accelerator ?? unknown),
      model.modelId,
      grouped(model.slotsLeased),
      grouped(model.slotsTotal),
      ratio(model.report?.kvUsedRatio),
      millis(model.report?.ttftMsP50),
      pricePerMillion(model, "uncachedInput"),
      pricePerMillion(model, "response"),
      figureText(pool.powerUsageEffectiveness),
      ratio(pool.greenShare),
      brief(pool.locationGramsPerJoule * joulesPerKwh),
    ];
  });
}

const topColumns: readonly Column[] = [
  { name: "POOL" },
  { name: "MODEL" },
  { name: "RUNNING", align: "right" },
  { name: "WAITING", align: "right" },
  { name: "LEASED", align: "right" },
  { name: "FREE", align: "right" },
  { name: "KV", align: "right" },
  { name: "TTFT p50", align: "right" },
  { name: "TTFT p95", align: "right" },
  { name: "ITL", align: "right" },
  { name: "SEEN TTFT", align: "right" },
  { name: "SEEN ERRORS", align: "right" },
  { name: "POWER", align: "right" },
  { name: "TOKENS OUT", align: "right", isWide: true },
  { name: "SHADOW nano/slot/s", align: "right", isWide: true },
];

/** The busiest first. */
export function poolTop(pools: readonly Pool[], isWide: boolean): string {
  const rows = pools
    .flatMap((pool) => pool.models.map((model) => ({ pool, model })))
    .toSorted((a, b) => load(b.model) - load(a.model))
    .map(({ pool, model }) => topRow(pool, model));
  return rows.length === 0 ? "no pools\n" : textTable(topColumns, rows, isWide);
}

function load({ slotsLeased, slotsTotal, report }: ServedModelState): number {
  const running = report?.runningRequests?.value ?? 0;
  return Math.max(slotsLeased, running) / Math.max(slotsTotal, 1);
}

function topRow(pool: Pool, model: ServedModelState): string[] {
  const { report, observed } = model;
  return [
    pool.registration?.poolId ?? unknown,
    model.modelId,
    figureText(report?.runningRequests),
    figureText(report?.waitingRequests),
    grouped(model.slotsLeased),
    grouped(model.slotsGrantable),
    ratio(report?.kvUsedRatio),
    millis(report?.ttftMsP50),
    millis(report?.ttftMsP95),
    millis(report?.itlMsMean),
    observed?.ttftMs === undefined ? unknown : span(observed.ttftMs),
    observed === undefined ? unknown : percent(observed.errorRatio),
    pool.powerWatts === undefined ? unknown : `${brief(pool.powerWatts.value / 1_000)} kW`,
    figureText(report?.outputTokensTotal),
    brief(model.shadowNanoPerSlotMs * 1_000),
  ];
}

/** Everything that is known of one pool, each figure with its source and age. */
export function poolCard(pool: Pool): string {
  const { registration: facts, region } = pool;
  const head = textCard([
    ["pool", facts?.poolId ?? unknown],
    ["status", `${statusWord(pool.status)}, ${healthWord(pool.health)}`],
    ["vendor", facts?.vendorId ?? unknown],
    ["region", regionLine(pool)],
    [
      "hub",
      `${region?.hub ?? unknown}, ${region?.policyRole ?? unknown}, ${region?.side ?? unknown}`,
    ],
    ["endpoint", `${facts?.endpoint ?? unknown} (${enumWord(EngineKind[facts?.engine ?? 0])})`],
    ["accelerator", facts?.accelerator ?? unknown],
    ["MLPS level", String(facts?.mlpsLevel ?? unknown)],
    ["tags", facts?.tags.join(", ") ?? ""],
    [
      "last report",
      `${ageOf(pool)} ago, number ${pool.reportSequence}, ${percent(pool.confidence)} believed`,
    ],
    ["generation", String(facts?.generation ?? unknown)],
    ["power", withSource(pool.powerWatts, "W")],
    ["energy", withSource(pool.energyJoulesTotal, "J")],
    ["PUE", withSource(pool.powerUsageEffectiveness)],
    ["green share", withSource(pool.greenShare)],
    ["grid carbon", `${brief(pool.locationGramsPerJoule * joulesPerKwh)} g/kWh location-based`],
    ["", `${brief(pool.marketGramsPerJoule * joulesPerKwh)} g/kWh market-based`],
  ]);
  return [head, ...pool.models.map(modelCard), roundTrips(pool)]
    .filter((part) => part !== "")
    .join("\n");
}

function regionLine({ registration, region }: Pool): string {
  return `${registration?.regionId ?? unknown} ${region?.nameEn ?? ""} ${region?.nameZh ?? ""}`.trim();
}

function modelCard(model: ServedModelState): string {
  const { report, observed } = model;
  return textCard([
    ["model", model.modelId],
    [
      "  slots",
      `${model.slotsTotal} in all, ${model.slotsLeased} leased, ${model.slotsGrantable} to grant`,
    ],
    ["  price", priceLine(model)],
    ["  shadow", `${brief(model.shadowNanoPerSlotMs)} nano per slot and ms`],
    ...reportLines(report),
    ["  seen", observed === undefined ? "no attempt of ours yet" : seenLine(observed)],
    ...(observed === undefined ? [] : learnedLines(observed)),
    ...Object.entries(model.discrepancyRatioByFigure).map(
      ([figure, value]) => [`  ${figure}`, `${percent(value)} off what is declared`] as const,
    ),
  ]);
}

function seenLine({ ttftMs, itlMs, errorRatio, attempts }: Observed): string {
  const times = [
    ...(ttftMs === undefined ? [] : [`TTFT ${span(ttftMs)}`]),
    ...(itlMs === undefined ? [] : [`ITL ${span(itlMs)}`]),
  ];
  return [...times, `errors ${percent(errorRatio)}`, `${attempts} attempts`].join(", ");
}

function learnedLines(observed: Observed): (readonly [string, string])[] {
  const errors = Object.entries(observed.predictionErrorByFigure).map(
    ([figure, { relative, bias }]) => `${figure} ${percent(relative)} (bias ${percent(bias)})`,
  );
  const parts = Object.entries(observed.trustByPart).map(
    ([part, value]) => `${part} ${percent(value)}`,
  );
  const coefficients = Object.entries(observed.engineFit?.coefficients ?? {}).map(
    ([name, { value, deviation }]) => `${name} ${brief(value)} ± ${brief(deviation)}`,
  );
  return [
    ["  foretold", errors.length === 0 ? "nothing yet" : `off by ${errors.join(", ")}`],
    ["  trust", `${percent(observed.trust)}: ${parts.join(", ")}`],
    ...(coefficients.length === 0 ? [] : [["  engine fit", coefficients.join(", ")] as const]),
  ];
}

function reportLines(report: ModelReport | undefined): (readonly [string, string])[] {
  if (report === undefined) return [["  report", "none yet"]];
  return [
    ["  running", withSource(report.runningRequests)],
    ["  waiting", withSource(report.waitingRequests)],
    ["  KV used", withSource(report.kvUsedRatio)],
    ["  TTFT p50", withSource(report.ttftMsP50, "ms")],
    ["  TTFT p95", withSource(report.ttftMsP95, "ms")],
    ["  ITL mean", withSource(report.itlMsMean, "ms")],
    ["  tokens in", withSource(report.promptTokensTotal)],
    ["  tokens out", withSource(report.outputTokensTotal)],
  ];
}

function roundTrips(pool: Pool): string {
  const trips = Object.entries(pool.roundTripMsByOrigin).toSorted(
    ([, a], [, b]) => a.value - b.value,
  );
  if (trips.length === 0) return "";
  return textCard([
    ["round trip", ""],
    ...trips.map(([origin, figure]) => [`  ${origin}`, withSource(figure, "ms")] as const),
  ]);
}

function priceLine(model: ServedModelState): string {
  const classes = Object.entries(model.pricePicoPerTokenByClass);
  if (classes.length === 0) return "none in force";
  const prices = classes.map(([name, pico]) => `${name} ${picoPerMillion(pico)}`);
  return `${prices.join(", ")} CNY per million (${model.priceBookId}@${model.priceVersion}, slot ${model.priceSlot})`;
}

function pricePerMillion(model: ServedModelState, tokenClass: string): string {
  const pico = model.pricePicoPerTokenByClass[tokenClass];
  return pico === undefined ? unknown : picoPerMillion(pico);
}

/** 1 CNY per million tokens is 1,000,000 pico-CNY per token. */
function picoPerMillion(picoPerToken: bigint): string {
  return (Number(picoPerToken) / 1_000_000).toFixed(2);
}

export function statusWord(status: PoolStatus): string {
  return enumWord(PoolStatus[status]);
}

export function healthWord(health: PoolHealth): string {
  return enumWord(PoolHealth[health]);
}

function ageOf({ reportAgeMs }: Pool): string {
  return reportAgeMs === undefined ? "never" : span(reportAgeMs);
}

function figureText(figure: Figure | undefined): string {
  return figure === undefined ? unknown : brief(figure.value);
}

function ratio(figure: Figure | undefined): string {
  return figure === undefined ? unknown : percent(figure.value);
}

function millis(figure: Figure | undefined): string {
  return figure === undefined ? unknown : span(figure.value);
}

function withSource(figure: Figure | undefined, unit = ""): string {
  if (figure === undefined) return "unknown";
  const value = unit === "" ? brief(figure.value) : `${brief(figure.value)} ${unit}`;
  return `${value} (${enumWord(FigureSource[figure.source])}, ${span(figure.ageMs)} old)`;
}

const joulesPerKwh = 3_600_000;
