import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { InvalidArgumentError } from "commander";
import { afterAll, beforeAll, expect, test } from "vitest";
import { proofJson, proofText } from "../../services/cli/placement/proof-text.ts";
import { replayed, type ReplayOptions } from "../../services/cli/placement/replay-command.ts";
import { parseSelector } from "../../services/cli/placement/selector.ts";
import { plotSvg } from "../../services/cli/placement/svg.ts";
import { whatIfJson, whatIfText } from "../../services/cli/placement/what-if-text.ts";
import { Dispatcher } from "../../services/core/dispatcher.ts";
import type { Compared, Totals } from "../../services/core/placement/compare.ts";
import type { Event } from "../../services/core/events.ts";
import type {
  AttemptId,
  PoolId,
  RegionId,
  ReplicaId,
  RequestId,
} from "../../services/core/units.ts";
import { openJournalFile, type JournalFile } from "../../services/io/journal-file.ts";
import { openLog } from "../../services/io/log.ts";
import { fromPriceBook } from "../../services/wire/price.ts";
import { PriceBookSchema } from "../../services/wire/gen/tokengrid/v1/price_pb.js";
import { toJsonString } from "@bufbuild/protobuf";
import { loadCalendar } from "../../services/io/preset.ts";
import {
  figure,
  geography,
  modelReport,
  objectives,
  policy,
  priceBook,
  region,
  registration,
  report,
  request,
} from "../core/fixtures.ts";

const folder = mkdtempSync(join(tmpdir(), "tokengrid-placement-replay-"));
const journalFolder = join(folder, "journal");
const startedAt = Date.parse("2026-11-20T10:00:00+08:00");
const [west, east] = ["west-1", "east-1"] as PoolId[];
const rules = policy({
  ...objectives({ waitNanoPerMs: 10, missNano: 1_000_000 }),
  carbonNanoPerGram: 100,
});

/** A western pool and an eastern one that is nearer, and 60 requests in ten minutes. */
beforeAll(async () => {
  const dispatcher = new Dispatcher("control-1" as ReplicaId, rules);
  const journal = await openJournalFile({
    folder: journalFolder,
    image: () => dispatcher.image(),
    log: openLog({ role: "test", level: "silent" }),
  });
  await recorded(dispatcher, journal);
  await journal.close();
});

afterAll(() => rmSync(folder, { recursive: true }));

async function recorded(dispatcher: Dispatcher, journal: JournalFile): Promise<void> {
  const step = (event: Event) => {
    journal.note(event);
    const effects = dispatcher.step(event);
    journal.given(effects);
    return effects;
  };
  const wuhu = region("wuhu", { side: "east", hub: "Yangtze River Delta" });
  const zhongwei = region();
  const map = geography();
  const regions = new Map([zhongwei, wuhu].map((each) => [each.id, each]));
  step({ kind: "geography-set", at: startedAt, geography: { ...map, regions } });
  step({ kind: "prices-published", at: startedAt, book: priceBook() });
  for (const pool of [west, east]) {
    if (pool === undefined) continue;
    const where = pool === west ? zhongwei.id : ("wuhu" as RegionId);
    step({
      kind: "pool-registered",
      at: startedAt,
      registration: registration(pool, { region: where }),
    });
    step({ kind: "share-set", at: startedAt, pool, share: 1 });
  }
  for (let number = 0; number < 60; number++) {
    const at = startedAt + number * 10_000;
    for (const pool of [west, east]) {
      if (pool === undefined) continue;
      const running = pool === west ? number % 5 : 4;
      const models = [modelReport({ runningRequests: figure(running, { observedAt: at }) })];
      const said = report(pool, { sequence: number + 1, models });
      step({ kind: "pool-reported", at, vendor: registration(pool).vendor, report: said });
    }
    const id = `r${number}`;
    const asked = request({ request: id as RequestId, attempt: `${id}/1` as AttemptId });
    const lease = step({ kind: "placement-requested", at, request: asked }).find(
      (effect) => effect.kind === "answer",
    )?.lease;
    if (lease === undefined) continue;
    const outcome = {
      result: "ok",
      ttftMs: number % 7 === 0 ? 2_000 : 120,
      itlMsMean: 21,
      headersMs: 20,
      inputTokens: 1_000,
      cachedTokens: 0,
      outputTokens: 200,
      durationMs: 4_500,
    } as const;
    const { id: held, fence } = lease;
    step({ kind: "lease-released", at: at + 4_500, lease: held, fence, outcome });
  }
  await journal.flush();
}

/** A night in which a third of the work goes west. */
function totals(west: number, changes: Partial<Totals> = {}): Totals {
  return {
    decisions: 120_000,
    placed: 119_990,
    unplaceable: 10,
    costNano: {
      price: 812_345_678_901,
      energy: 0,
      carbon: 9_876_543_210,
      latency: 45_678_901_234,
      congestion: 12_345_678_901,
      budget: 0,
      preference: -4_567_890_123,
    },
    kwh: 321.5,
    gramsCo2Location: 198_700,
    gramsCo2Market: 44_100,
    ttftMs: 119_990 * 187.5,
    finishMs: 119_990 * 5_432,
    missesExpected: 1_234.5,
    tokens: 250_000_000,
    tokensWest: 250_000_000 * west,
    ...changes,
  };
}

const costs = totals(0).costNano;
const told: Compared = {
  recorded: totals(0.3),
  other: totals(0.6, {
    costNano: { ...costs, price: 700_000_000_000, latency: 50_000_000_000 },
    kwh: 300,
    gramsCo2Location: 190_000,
    ttftMs: 119_990 * 201,
  }),
  changed: 40_000,
  flows: Array.from({ length: 12 }, (_, index) => ({
    from: index === 11 ? "none" : `east-wuhu-${index}`,
    to: "west-ningxia-1",
    decisions: 30_000 >> index,
  })),
  realisedSame: { outcomes: 79_000, ttftMissed: 800, tpotMissed: 90, failed: 7 },
  realisedMoved: { outcomes: 39_500, ttftMissed: 400, tpotMissed: 40, failed: 3 },
  bucketMs: 600_000,
  buckets: Array.from({ length: 24 }, (_, index) => ({
    at: startedAt + index * 600_000,
    recorded: totals(index / 40),
    other: totals(index / 24, { tokens: 250_000_000 + index * 1e7 }),
  })).filter((_, index) => index !== 9),
};

const plain: ReplayOptions = {
  addr: "",
  output: "table",
  drain: [],
  color: true,
  journal: journalFolder,
};

async function found(changes: Partial<ReplayOptions>) {
  const { proof, study, asked } = await replayed({ ...plain, ...changes });
  if (study === undefined) throw new Error("expected a change to be studied, found none");
  return { proof, comparison: study.comparison, asked };
}

test("the proof reads as it did", async () => {
  const { proof } = await replayed(plain);
  const text = proofText(proof, ".tokengrid/journal", true);
  const stable = text.replaceAll(/[0-9a-f]{16}/g, "0123456789abcdef");
  await expect(stable).toMatchFileSnapshot("../golden/cli/placement-replay.txt");
});

test("what if reads as it did", async () => {
  const text = whatIfText(told, { policy: "night.yaml", prices: undefined, drained: [] }, false);
  await expect(text).toMatchFileSnapshot("../golden/cli/placement-replay-what-if.txt");
});

test("the names of the JSON are API", async () => {
  const { proof, comparison, asked } = await found({ drain: [parseSelector("west-1")] });
  const json = { proof: proofJson(proof), whatIf: whatIfJson(comparison, asked) };
  const names = new Set<string>();
  JSON.stringify(json, (key, value: unknown) => {
    if (!/^\d*$/.test(key)) names.add(key);
    return value;
  });
  await expect([...names].toSorted().join("\n")).toMatchFileSnapshot(
    "../golden/cli/placement-replay-names.txt",
  );
});

test("only what is between the times counts; what is before is stepped all the same", async () => {
  const since = startedAt + 300_000;
  const { proof, comparison } = await found({
    since,
    until: since + 100_000,
    drain: [parseSelector("west-1")],
  });
  expect([proof.isProven, proof.fromMs, proof.decisions]).toEqual([true, since, 11]);
  // The first event of the time is where the other world begins.
  expect(comparison.recorded.decisions).toBe(11);
  expect(comparison.other.tokensWest).toBe(0);
});

test("draining both leaves requests without a pool; a selector for none is a mistake", async () => {
  const { comparison } = await found({
    drain: [parseSelector("west-1"), parseSelector("side=east")],
  });
  expect(comparison.other).toMatchObject({ placed: 0, unplaceable: 60 });
  await expect(found({ drain: [parseSelector("hub=Nowhere")] })).rejects.toThrow(
    "expected pools of the journal, found none for hub=Nowhere",
  );
});

function bookFile(name: string, changes: Parameters<typeof priceBook>[0]): string {
  const path = join(folder, name);
  const book = fromPriceBook(priceBook({ calendar: loadCalendar(), ...changes }));
  writeFileSync(path, toJsonString(PriceBookSchema, book));
  return path;
}

test("the same prices change nothing, others are counted, another book is a mistake", async () => {
  const same = await found({ price: bookFile("same.json", {}) });
  expect([same.comparison.changed, same.comparison.other]).toEqual([0, same.comparison.recorded]);
  const lines = priceBook().lines.map((line) => ({
    ...line,
    tiers: line.tiers.map((tier) => ({ ...tier, pricePicoPerToken: 3n * tier.pricePicoPerToken })),
  }));
  const { comparison } = await found({ price: bookFile("dear.json", { lines }) });
  expect(comparison.other.costNano.price).toBe(3 * comparison.recorded.costNano.price);
  const unknown = bookFile("unknown.json", { id: "other-2026" as never });
  await expect(found({ price: unknown })).rejects.toThrow("expected a book of the journal");
});

test("a policy that is refused is told with its place", async () => {
  const path = join(folder, "policy.yaml");
  writeFileSync(path, "name: 7\n");
  await expect(found({ policy: path })).rejects.toThrow(
    /policy\.yaml:\n[^]*1:7: name: expected string/,
  );
});

test("a picture has both curves of each panel", async () => {
  const { comparison } = await found({ drain: [parseSelector("side=west")] });
  const svg = plotSvg(comparison);
  expect(svg.match(/<polyline class="recorded"/g)).toHaveLength(2);
  expect(svg.match(/<polyline class="other"/g)).toHaveLength(2);
  expect(svg).not.toContain("NaN");
});

test("parseSelector() knows what a pool is selected by", () => {
  const pool = { id: west as PoolId, vendor: "northgrid" as never, region: region() };
  const words = [
    "west-1",
    "id=west-1",
    "vendor=northgrid,side=west",
    "region=zhongwei",
    "hub=Ningxia",
  ];
  for (const word of words) expect(parseSelector(word).matches(pool), word).toBe(true);
  for (const word of ["west-2", "vendor=northgrid,side=east"]) {
    expect(parseSelector(word).matches(pool), word).toBe(false);
  }
  for (const word of ["", "colour=red", "side=", "a,"]) {
    expect(() => parseSelector(word), word).toThrow(InvalidArgumentError);
  }
});

test("a folder without a journal is told", async () => {
  await expect(replayed({ ...plain, journal: join(folder, "none") })).rejects.toThrow("found no");
  expect(readFileSync(join(folder, "policy.yaml"), "utf8")).toBe("name: 7\n");
});
