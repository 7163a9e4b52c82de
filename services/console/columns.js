/** What the table says of a pool, and how it is sorted by it. */

import { part, setText, setTitle } from "./dom.js";
import { overModels } from "./grid.js";
import * as say from "./text.js";

/**
 * @typedef {import("./messages.js").Pool} Pool
 * @typedef {import("./messages.js").Served} Served
 *
 * @typedef {object} Column
 * @property {string} key of its texts, and its class
 * @property {(pool: Pool) => number | string | undefined} rank for sorting
 * @property {(cell: HTMLElement, pool: Pool) => void} show
 */

/** @param {Served} served */
const bySlots = ({ slotsTotal }) => slotsTotal;
/** @param {Served} served */
const byAttempts = ({ attempts }) => attempts;

/** Slower than declared by more than this is shown as worse. */
const gapWorse = 0.1;
const gapShownMax = 9.99;

/** @type {readonly Column[]} */
export const columns = [
  {
    key: "pool",
    rank: ({ id }) => id,
    show: (cell, { id }) => setText(cell, id),
  },
  {
    key: "region",
    rank: ({ region }) => `${region.side} ${region.id}`,
    show(cell, { region }) {
      const dot = part(cell, 0, `dot ${region.side} ${region.role}`);
      setTitle(dot, say.word("role", region.role));
      setText(part(cell, 1, ""), say.shortName(region));
    },
  },
  {
    key: "state",
    rank: ({ status, health }) => `${status === "ready" ? 0 : 1} ${health}`,
    show(cell, { status, health }) {
      const state = status === "ready" ? health : status;
      const chip = part(cell, 0, `chip ${state}`);
      const kind = status === "ready" ? "health" : "status";
      setText(chip, say.word(kind, state));
    },
  },
  {
    key: "age",
    rank: ({ reportAgeMs }) => reportAgeMs,
    show(cell, { reportAgeMs }) {
      setText(
        cell,
        reportAgeMs === undefined ? say.unknown : `${say.decimal(reportAgeMs / 1e3, 1)} s`,
      );
    },
  },
  {
    key: "load",
    rank: (pool) => overModels(pool, ({ running }) => running),
    show(cell, pool) {
      const running = overModels(pool, (served) => served.running);
      const waiting = overModels(pool, (served) => served.waiting);
      setText(part(cell, 0, ""), say.decimal(running));
      setText(
        part(cell, 1, waiting !== undefined && waiting > 0 ? "queue" : "quiet"),
        ` + ${say.decimal(waiting)}`,
      );
    },
  },
  {
    key: "slots",
    rank: (pool) => ratio(leasedOf(pool), slotsOf(pool)),
    show: (cell, pool) =>
      bar(
        cell,
        ratio(leasedOf(pool), slotsOf(pool)),
        `${say.decimal(leasedOf(pool))} / ${say.decimal(slotsOf(pool))}`,
      ),
  },
  {
    key: "kv",
    rank: (pool) => overModels(pool, ({ kvRatio }) => kvRatio, bySlots),
    show(cell, pool) {
      const kv = overModels(pool, ({ kvRatio }) => kvRatio, bySlots);
      bar(cell, kv, say.percent(kv));
    },
  },
  {
    key: "ttft",
    rank: (pool) => overModels(pool, ({ ttftMs }) => ttftMs, byAttempts),
    show: (cell, pool) =>
      observed(cell, {
        ms: overModels(pool, ({ ttftMs }) => ttftMs, byAttempts),
        gap: overModels(pool, ({ ttftGap }) => ttftGap, byAttempts),
      }),
  },
  {
    key: "itl",
    rank: (pool) => overModels(pool, ({ itlMs }) => itlMs, byAttempts),
    show: (cell, pool) =>
      observed(cell, {
        ms: overModels(pool, ({ itlMs }) => itlMs, byAttempts),
        gap: overModels(pool, ({ itlGap }) => itlGap, byAttempts),
      }),
  },
  {
    key: "roundtrip",
    rank: (pool) => middleRoundTripMs(pool),
    show(cell, pool) {
      setText(cell, say.duration(middleRoundTripMs(pool)));
      setTitle(cell, say.text("pools.roundtrip.of", { origins: pool.roundTripMsByOrigin.size }));
    },
  },
  {
    key: "price",
    rank: (pool) =>
      Math.min(...pool.models.map(({ priceByClass }) => responsePrice(priceByClass) ?? Infinity)),
    show(cell, { models }) {
      setText(part(cell, 0, ""), range(models.map(({ priceByClass }) => inputPrice(priceByClass))));
      const out = range(models.map(({ priceByClass }) => responsePrice(priceByClass)));
      setText(part(cell, 1, "second"), out);
    },
  },
  {
    key: "slot",
    rank: ({ models }) => models[0]?.priceSlot,
    show(cell, { models }) {
      const slot = models.find(({ priceSlot }) => priceSlot !== "")?.priceSlot ?? "any";
      setText(part(cell, 0, `slot ${slot}`), say.word("slot", slot));
    },
  },
  {
    key: "power",
    rank: ({ powerWatts }) => powerWatts,
    show: (cell, { powerWatts }) => setText(cell, say.power(powerWatts)),
  },
  {
    key: "pue",
    rank: ({ pue }) => pue,
    show: (cell, { pue }) => setText(cell, say.decimal(pue, 2)),
  },
  {
    key: "green",
    rank: ({ greenShare }) => greenShare,
    show: (cell, { greenShare }) => setText(cell, say.percent(greenShare)),
  },
  {
    key: "carbon",
    rank: ({ locationGramsPerJoule }) => locationGramsPerJoule,
    show(cell, { locationGramsPerJoule, marketGramsPerJoule }) {
      setText(part(cell, 0, ""), say.gramsPerKwh(locationGramsPerJoule));
      setText(part(cell, 1, "second"), say.gramsPerKwh(marketGramsPerJoule));
    },
  },
];

/** Columns that a model has figures of its own for. */
export const ofModels = new Set(["load", "slots", "kv", "ttft", "itl", "price", "slot"]);

/**
 * A share as a bar with its number.
 * @param {HTMLElement} cell
 * @param {number | undefined} share 0..1
 * @param {string} written
 */
function bar(cell, share, written) {
  const track = part(cell, 0, "track");
  const fill = part(track, 0, share !== undefined && share > 0.9 ? "fill hot" : "fill");
  const width = `${Math.round(Math.min(1, share ?? 0) * 100)}%`;
  if (fill.style.width !== width) fill.style.width = width;
  setText(part(cell, 1, "figure"), written);
}

/**
 * What we measured, and how far it is from what the vendor declares.
 * @param {HTMLElement} cell
 * @param {{ ms: number | undefined, gap: number | undefined }} figure
 */
function observed(cell, { ms, gap }) {
  setText(part(cell, 0, ""), say.duration(ms));
  const isWorse = gap !== undefined && gap > gapWorse;
  setText(part(cell, 1, isWorse ? "gap worse" : "gap"), gapText(gap));
}

/** @param {number | undefined} gap */
function gapText(gap) {
  if (gap === undefined) return "";
  // Next to nothing was declared: how many times over says nothing more.
  if (gap > gapShownMax) return `> +${say.percent(gapShownMax)}`;
  return `${gap > 0 ? "+" : ""}${say.percent(gap)}`;
}

/** From the cheapest model to the dearest. @param {readonly (number | undefined)[]} picos */
function range(picos) {
  const known = picos.filter((pico) => pico !== undefined);
  if (known.length === 0) return say.unknown;
  const [low, high] = [Math.min(...known), Math.max(...known)];
  if (low === high) return say.yuanPerMillion(low);
  return `${say.yuanPerMillion(low)}–${say.yuanPerMillion(high)}`;
}

/** @param {Record<string, number>} prices */
function inputPrice(prices) {
  return prices["uncachedInput"];
}

/** @param {Record<string, number>} prices */
function responsePrice(prices) {
  return prices["response"];
}

/** @param {Pool} pool */
function slotsOf(pool) {
  return overModels(pool, bySlots);
}

/** @param {Pool} pool */
function leasedOf(pool) {
  return overModels(pool, ({ slotsLeased }) => slotsLeased);
}

/**
 * @param {number | undefined} part
 * @param {number | undefined} whole
 */
function ratio(part, whole) {
  return part === undefined || !whole ? undefined : part / whole;
}

/** @param {Pool} pool */
function middleRoundTripMs({ roundTripMsByOrigin }) {
  const sorted = [...roundTripMsByOrigin.values()].sort((one, other) => one - other);
  return sorted[Math.floor(sorted.length / 2)];
}
