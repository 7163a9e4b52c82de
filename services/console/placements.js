/** Placements as they happen, newest on top. Each opens its bill. */

import { make } from "./dom.js";
import { decimal, nameOf, text, unknown, word, onLanguage, yuan } from "./text.js";

/**
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./messages.js").Placed} Placed
 */

/** Faster than this nobody reads; what is left out is counted all the same. */
const addedMax = 4;
const shownMax = 40;

export class Placements {
  #grid;
  #list;
  #onOpen;
  /** @type {Placed[]} */ #waiting = [];
  /** @type {Placed[]} newest first */ #shown = [];
  #isHeld = false;

  /**
   * @param {Grid} grid
   * @param {{ list: HTMLElement, note: HTMLElement, onOpen: (placed: Placed) => void }} options
   */
  constructor(grid, { list, note, onOpen }) {
    this.#grid = grid;
    this.#list = list;
    this.#onOpen = onOpen;
    const hold = (/** @type {boolean} */ isHeld) => () => {
      this.#isHeld = isHeld;
      note.hidden = !isHeld;
    };
    list.addEventListener("mouseenter", hold(true));
    list.addEventListener("mouseleave", hold(false));
    list.addEventListener("focusin", hold(true));
    list.addEventListener("focusout", hold(false));
    list.addEventListener("keydown", (event) => step(list, event));
    onLanguage(() => this.#redraw());
  }

  /** @param {readonly Placed[]} placed oldest first */
  add(placed) {
    this.#waiting = [...this.#waiting, ...placed].slice(-addedMax);
  }

  /** Under the pointer or the keyboard's focus nothing moves, so that one can be opened. */
  refresh() {
    if (this.#isHeld || this.#waiting.length === 0) return;
    for (const placed of this.#waiting) {
      this.#shown.unshift(placed);
      this.#list.prepend(this.#item(placed));
    }
    this.#waiting = [];
    this.#shown.length = Math.min(this.#shown.length, shownMax);
    while (this.#list.children.length > shownMax) this.#list.lastElementChild?.remove();
  }

  #redraw() {
    this.#list.replaceChildren(...this.#shown.map((placed) => this.#item(placed)));
  }

  /** @param {Placed} placed */
  #item(placed) {
    const side =
      placed.pool === "" ? "poor" : (this.#grid.regions.get(placed.region)?.side ?? "east");
    const button = make("button", `placed ${side}`, this.#way(placed), this.#about(placed));
    button.type = "button";
    button.addEventListener("click", () => this.#onOpen(placed));
    return make("li", "", button);
  }

  /** @param {Placed} placed */
  #way({ origin, pool, costNano }) {
    const city = this.#grid.originOf(origin);
    return make(
      "span",
      "way",
      make("span", "from", city === undefined ? origin : nameOf(city)),
      make("span", "arrow", "→"),
      make("span", "to", pool === "" ? text("placed.nowhere") : pool),
      make("span", "cost", pool === "" ? unknown : shortYuan(costNano)),
    );
  }

  /** @param {Placed} placed */
  #about({ model, serviceClass, row }) {
    const parts = [
      model,
      word("class", serviceClass),
      row === "" ? "" : text("placed.row", { row }),
    ];
    return make("span", "about", parts.filter(Boolean).join(" · "));
  }
}

/** A list is no bill: five digits are enough here. @param {bigint} nano */
export function shortYuan(nano) {
  const value = Number(nano) / 1e9;
  return Math.abs(value) >= 1 ? `¥${decimal(value, 2)}` : yuan(nano).slice(0, -4);
}

/**
 * The arrow keys go from one placement to the next.
 * @param {HTMLElement} list
 * @param {KeyboardEvent} event
 */
function step(list, event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (by === undefined) return;
  const buttons = [...list.querySelectorAll("button")];
  const at = buttons.findIndex((button) => button === document.activeElement);
  buttons[at + by]?.focus();
  event.preventDefault();
}
