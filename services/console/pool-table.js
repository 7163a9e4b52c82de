/** Every pool with its live figures; a pool of several models opens into one row for each. */

import { make, setClass, setText, setTitle } from "./dom.js";
import { overModels } from "./grid.js";
import { shortName } from "./flow-map.js";
import * as say from "./text.js";

/**
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./grid.js").Pool} Pool
 * @typedef {import("./grid.js").Served} Served
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

/** @type {readonly Column[]} */
const columns = [
  {
    key: "pool",
    rank: ({ id }) => id,
    show: (cell, { id }) => setText(cell, id),
  },
  {
    key: "region",
    rank: ({ region }) => `${region.side} ${region.id}`,
    show(cell, { region }) {
      const dot = part(cell, 0, `dot ${region.role === "supply-hub" ? "west" : "east"}`);
      setTitle(dot, say.word("role", region.role));
      setText(part(cell, 1, ""), shortName(region));
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
    show(cell, pool) {
      setText(part(cell, 0, ""), priceText(pool.models));
      const slot = pool.models.find(({ priceSlot }) => priceSlot !== "")?.priceSlot ?? "";
      setText(
        part(cell, 1, slot === "" || slot === "any" ? "none" : `slot ${slot}`),
        say.word("slot", slot),
      );
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

export class PoolTable {
  #grid;
  #head;
  #body;
  #onPool;
  /** @type {Map<string, HTMLTableRowElement>} by pool, or pool and model */ #rows = new Map();
  /** @type {Set<string>} */ #open = new Set();
  #sortKey = "region";
  #isDescending = false;
  #words = "";
  #region = "";

  /**
   * @param {Grid} grid
   * @param {{ table: HTMLTableElement, filter: HTMLInputElement, onPool: (pool: Pool | undefined) => void }} options
   */
  constructor(grid, { table, filter, onPool }) {
    this.#grid = grid;
    this.#onPool = onPool;
    this.#head = table.createTHead().insertRow();
    this.#body = table.createTBody();
    for (const { key } of columns) this.#head.append(this.#heading(key));
    filter.addEventListener("input", () => {
      this.#words = filter.value.trim().toLowerCase();
      this.refresh();
    });
    say.onLanguage(() => this.#label());
  }

  /** @param {string} region empty for all */
  select(region) {
    this.#region = region;
    this.refresh();
  }

  refresh() {
    const wanted = [];
    for (const pool of this.#sorted()) {
      wanted.push(this.#poolRow(pool));
      if (!this.#open.has(pool.id)) continue;
      for (const served of pool.models) wanted.push(this.#modelRow(pool, served));
    }
    place(this.#body, wanted);
  }

  /** @param {string} key */
  #heading(key) {
    const cell = make("th", key);
    cell.scope = "col";
    const button = make("button", "", say.text(`pools.${key}`));
    button.type = "button";
    button.dataset["text"] = `pools.${key}`;
    button.dataset["hint"] = `pools.${key}.hint`;
    button.title = say.text(`pools.${key}.hint`);
    button.addEventListener("click", () => this.#sortBy(key));
    cell.append(button);
    return cell;
  }

  /** @param {string} key */
  #sortBy(key) {
    this.#isDescending = this.#sortKey === key && !this.#isDescending;
    this.#sortKey = key;
    this.#label();
    this.refresh();
  }

  #label() {
    for (const [index, { key }] of columns.entries()) {
      const order = this.#isDescending ? "descending" : "ascending";
      const isSorted = key === this.#sortKey;
      this.#head.cells[index]?.setAttribute("aria-sort", isSorted ? order : "none");
    }
  }

  #sorted() {
    const { rank } = columns.find(({ key }) => key === this.#sortKey) ?? { rank: () => "" };
    const turn = this.#isDescending ? -1 : 1;
    return [...this.#grid.pools.values()]
      .filter((pool) => this.#isWanted(pool))
      .map((pool) => ({ pool, place: rank(pool) }))
      .sort(
        (one, other) =>
          turn * inOrder(one.place, other.place) || (one.pool.id < other.pool.id ? -1 : 1),
      )
      .map(({ pool }) => pool);
  }

  /** @param {Pool} pool */
  #isWanted({ id, vendor, region, accelerator, status, health, models }) {
    if (this.#region !== "" && region.id !== this.#region) return false;
    if (this.#words === "") return true;
    const words = [
      id,
      vendor,
      region.id,
      region.nameEn,
      region.nameZh,
      region.side,
      accelerator,
      status,
      health,
    ];
    const all = [...words, ...models.map(({ model }) => model)].join(" ").toLowerCase();
    return this.#words.split(/\s+/).every((each) => all.includes(each));
  }

  /** @param {Pool} pool */
  #poolRow(pool) {
    const row = this.#rows.get(pool.id) ?? this.#newRow(pool.id, pool.id);
    row.classList.toggle("off", pool.health === "lost");
    for (const [index, { key, show }] of columns.entries()) {
      const cell = row.cells[index];
      if (cell === undefined) continue;
      if (key === "pool") this.#showName(cell, pool);
      else show(cell, pool);
    }
    return row;
  }

  /**
   * @param {HTMLElement} cell
   * @param {Pool} pool
   */
  #showName(cell, { id, vendor, accelerator, models }) {
    const button = cell.querySelector("button");
    const isOpen = this.#open.has(id);
    button?.setAttribute("aria-expanded", String(isOpen));
    if (button !== null) setText(button, id);
    const [only] = models;
    const served =
      models.length === 1
        ? (only?.model ?? "")
        : say.text("pools.models", { count: models.length });
    setText(part(cell, 1, "small"), [vendor, accelerator, served].filter(Boolean).join(" · "));
  }

  /**
   * A model's figures in the columns of its pool's.
   * @param {Pool} pool
   * @param {Served} served
   */
  #modelRow(pool, served) {
    const row =
      this.#rows.get(`${pool.id} ${served.model}`) ??
      this.#newRow(`${pool.id} ${served.model}`, "");
    const alone = { ...pool, models: [served] };
    for (const [index, { key, show }] of columns.entries()) {
      const cell = row.cells[index];
      if (cell === undefined) continue;
      if (key === "pool") setText(cell, served.model);
      else if (ofModels.has(key)) show(cell, alone);
    }
    return row;
  }

  /**
   * @param {string} key
   * @param {string} pool empty for a model's row
   */
  #newRow(key, pool) {
    const row = make("tr", pool === "" ? "model" : "");
    for (const { key: column } of columns)
      row.append(make(column === "pool" ? "th" : "td", column));
    const name = row.cells[0];
    name?.setAttribute("scope", "row");
    if (pool !== "" && name !== undefined) name.append(this.#nameButton(pool));
    row.addEventListener("mouseenter", () => this.#onPool(this.#grid.pools.get(pool)));
    row.addEventListener("mouseleave", () => this.#onPool(undefined));
    this.#rows.set(key, row);
    return row;
  }

  /** @param {string} pool */
  #nameButton(pool) {
    const button = make("button", "name", pool);
    button.type = "button";
    button.addEventListener("click", () => {
      if (!this.#open.delete(pool)) this.#open.add(pool);
      this.refresh();
    });
    return button;
  }
}

const ofModels = new Set(["load", "slots", "kv", "ttft", "itl", "price"]);

/**
 * The child of a cell at a place, made where it is missing.
 * @param {HTMLElement} cell
 * @param {number} index
 * @param {string} className
 */
function part(cell, index, className) {
  let child = cell.children[index];
  while (child === undefined) {
    cell.append(make("span", ""));
    child = cell.children[index];
  }
  if (child instanceof HTMLElement) {
    setClass(child, className);
    return child;
  }
  throw new Error("a cell holds HTML alone");
}

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
  const isWorse = gap !== undefined && gap > 0.1;
  const sign = gap !== undefined && gap > 0 ? "+" : "";
  setText(
    part(cell, 1, isWorse ? "gap worse" : "gap"),
    gap === undefined ? "" : `${sign}${say.percent(gap)}`,
  );
}

/** @param {readonly Served[]} models */
function priceText(models) {
  const inputs = models.flatMap(({ priceByClass }) => inputPrice(priceByClass) ?? []);
  const outputs = models.flatMap(({ priceByClass }) => responsePrice(priceByClass) ?? []);
  if (outputs.length === 0) return say.unknown;
  return `${range(inputs)} · ${range(outputs)}`;
}

/** @param {readonly number[]} picos */
function range(picos) {
  const [low, high] = [Math.min(...picos), Math.max(...picos)];
  if (low === high) return say.yuanPerMillion(low);
  return `${say.yuanPerMillion(low)}–${say.yuanPerMillion(high)}`;
}

/** @param {Record<string, number>} prices */
function inputPrice(prices) {
  return prices["uncached-input"] ?? prices["uncached_input"];
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

/**
 * Unknown comes last.
 * @param {number | string | undefined} one
 * @param {number | string | undefined} other
 */
function inOrder(one, other) {
  if (one === other) return 0;
  if (one === undefined) return 1;
  if (other === undefined) return -1;
  return one < other ? -1 : 1;
}

/**
 * Touches the document only where the order changed.
 * @param {HTMLTableSectionElement} body
 * @param {readonly HTMLTableRowElement[]} rows
 */
function place(body, rows) {
  for (const [index, row] of rows.entries()) {
    const there = body.rows[index];
    if (there !== row) body.insertBefore(row, there ?? null);
  }
  while (body.rows.length > rows.length) body.deleteRow(-1);
}
