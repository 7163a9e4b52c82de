/** Every pool with its live figures; a pool of several models opens into one row for each. */

import { columns, ofModels } from "./columns.js";
import { make, part, setText } from "./dom.js";
import * as say from "./text.js";

/**
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./messages.js").Pool} Pool
 * @typedef {import("./messages.js").Served} Served
 */

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
    this.#label();
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
