/**
 * Demand, supply and what flows between them, on a plane of degrees. No borders are drawn: a map of China needs a
 * review number, points and a graticule do not.
 */

import { arcBetween, disc, pointOn, ring, trace } from "./arcs.js";
import { overModels } from "./grid.js";
import { drawGround, projectionOver } from "./ground.js";
import { placeLabels } from "./labels.js";
import { nameOf, shortName } from "./text.js";

/**
 * @typedef {import("./grid.js").Grid} Grid
 * @typedef {import("./arcs.js").Arc} Arc
 * @typedef {import("./messages.js").Place} Place
 * @typedef {import("./messages.js").Placed} Placed
 *
 * @typedef {"side" | "promise"} ColourBy
 *
 * @typedef {object} Spark
 * @property {Arc} arc
 * @property {string} region
 * @property {string} colour
 * @property {number} startedAt
 */

/** Chance of missing an objective of the class: up to here the promise of 95 % holds, and where it is far off. */
const missGood = 0.05;
const missFair = 0.25;
const sparkMs = 1_100;
const sparksMax = 500;
const arcWidthMax = 4;

export class FlowMap {
  #grid;
  #canvas;
  #hubs;
  #onRegion;
  #ground = document.createElement("canvas");
  /** @type {Spark[]} */ #sparks = [];
  /** @type {Map<string, readonly [number, number]>} */ #pointById = new Map();
  /** @type {Map<string, HTMLButtonElement>} */ #buttonByRegion = new Map();
  /** @type {ReadonlyMap<string, readonly [number, number]>} middle of each name's left edge */
  #hubNames = new Map();
  /** @type {ReadonlyMap<string, readonly [number, number]>} */ #cityNames = new Map();
  /** @type {Record<string, string>} */ #colours = {};
  #font = "";
  /** @type {ColourBy} */ colourBy = "side";
  #selected = "";
  #width = 0;
  #height = 0;
  #isCalm = matchMedia("(prefers-reduced-motion: reduce)");

  /**
   * @param {Grid} grid
   * @param {{ canvas: HTMLCanvasElement, hubs: HTMLElement, onRegion: (region: string) => void }} options
   */
  constructor(grid, { canvas, hubs, onRegion }) {
    this.#grid = grid;
    this.#canvas = canvas;
    this.#hubs = hubs;
    this.#onRegion = onRegion;
    new ResizeObserver(() => this.layOut()).observe(canvas);
  }

  /** After a change of size, colours, language or of the places there are. */
  layOut() {
    const { clientWidth, clientHeight } = this.#canvas;
    if (clientWidth === 0) return;
    this.#width = clientWidth;
    this.#height = clientHeight;
    for (const canvas of [this.#canvas, this.#ground]) {
      canvas.width = Math.round(clientWidth * devicePixelRatio);
      canvas.height = Math.round(clientHeight * devicePixelRatio);
    }
    const style = getComputedStyle(this.#canvas);
    for (const name of ["east", "west", "city", "grid", "panel", "muted", "good", "fair", "poor"]) {
      this.#colours[name] = style.getPropertyValue(`--${name}`).trim();
    }
    this.#project();
    this.#placeNames();
  }

  /** @param {readonly Placed[]} placed */
  add(placed) {
    if (this.#isCalm.matches || document.hidden) return;
    const startedAt = performance.now();
    for (const [index, { origin, region, pool, missProbability }] of placed.entries()) {
      const arc = pool === "" ? undefined : this.#arc(origin, region);
      if (arc === undefined || this.#sparks.length >= sparksMax) continue;
      const colour = this.#colourOf(region, missProbability);
      // A message carries a moment's placements: they leave one after the other.
      const delayMs = (index / placed.length) * 500;
      this.#sparks.push({ arc, region, colour, startedAt: startedAt + delayMs });
    }
  }

  /** @param {string} region empty for all */
  select(region) {
    this.#selected = region;
    for (const [id, button] of this.#buttonByRegion) {
      button.setAttribute("aria-pressed", String(id === region));
    }
  }

  /** @param {number} now by `performance.now()` */
  draw(now) {
    const context = this.#canvas.getContext("2d");
    if (context === null || this.#width === 0) return;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, this.#canvas.width, this.#canvas.height);
    context.drawImage(this.#ground, 0, 0);
    context.scale(devicePixelRatio, devicePixelRatio);
    this.#drawFlows(context);
    this.#drawSparks(context, now);
    this.#drawHubs(context);
  }

  #project() {
    const places = [...this.#grid.cities.values(), ...this.#grid.regions.values()];
    if (places.length === 0) return;
    const size = { width: this.#width, height: this.#height };
    const projection = projectionOver(places, size);
    this.#pointById = new Map();
    for (const { id, longitude, latitude } of places) {
      const point = projection([longitude, latitude]);
      if (point !== null) this.#pointById.set(id, point);
    }
    const lights = [...this.#grid.regions.values()].map(({ id, side }) => ({
      at: this.#pointById.get(id) ?? [0, 0],
      colour: this.#colours[side] ?? "",
    }));
    const { grid = "", muted = "" } = this.#colours;
    drawGround(this.#ground, { projection, size, lights, grid, muted });
  }

  /** Hubs first, then cities in the order of the preset, the largest ahead. What finds no room stays unnamed. */
  #placeNames() {
    const style = getComputedStyle(this.#canvas);
    this.#font = `11px ${style.fontFamily}`;
    const context = this.#ground.getContext("2d");
    if (context === null) return;
    const regions = [...this.#grid.regions.values()];
    const cities = [...this.#grid.cities.values()];
    /** @param {Place} place */
    const mark = (place) => {
      const isHub = place.role !== "city";
      context.font = isHub ? `600 12px ${style.fontFamily}` : this.#font;
      const name = isHub ? shortName(place) : nameOf(place);
      const width = context.measureText(name).width + 4;
      const at = this.#pointById.get(place.id) ?? [0, 0];
      return { key: place.id, at, width, height: isHub ? 18 : 14, gap: isHub ? 14 : 7 };
    };
    const frame = { width: this.#width, height: this.#height - 18 };
    /** @type {import("./labels.js").Box[]} */
    const taken = [];
    this.#hubNames = placeLabels(regions.map(mark), frame, taken);
    this.#cityNames = placeLabels(cities.map(mark), frame, taken);
    this.#placeHubs(regions);
  }

  /**
   * The hubs are buttons over the canvas, so that the keyboard and screen readers reach them.
   * @param {readonly Place[]} regions
   */
  #placeHubs(regions) {
    for (const region of regions) {
      const at = this.#hubNames.get(region.id) ?? this.#pointById.get(region.id);
      if (at === undefined) continue;
      const button = this.#buttonByRegion.get(region.id) ?? this.#hubButton(region.id);
      button.classList.toggle("west", region.side === "west");
      button.textContent = shortName(region);
      button.style.left = `${at[0]}px`;
      button.style.top = `${at[1]}px`;
    }
  }

  /** @param {string} id */
  #hubButton(id) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "hub";
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => this.#onRegion(this.#selected === id ? "" : id));
    this.#hubs.append(button);
    this.#buttonByRegion.set(id, button);
    return button;
  }

  /** @param {CanvasRenderingContext2D} context */
  #drawFlows(context) {
    const flows = [...this.#grid.flows.values()];
    const most = Math.max(0.5, ...flows.map(({ perSecond }) => perSecond));
    context.lineCap = "round";
    for (const { origin, region, perSecond, missPerSecond } of flows) {
      const arc = this.#arc(origin, region);
      if (arc === undefined) continue;
      const share = Math.sqrt(perSecond / most);
      const colour = this.#colourOf(region, missPerSecond / perSecond);
      context.strokeStyle = this.#faded(context, arc, colour);
      context.lineWidth = 0.6 + share * (arcWidthMax - 0.6);
      context.globalAlpha = (0.18 + 0.6 * share) * (this.#isDimmed(region) ? 0.12 : 1);
      trace(context, arc);
      context.stroke();
    }
    context.globalAlpha = 1;
    this.#drawCities(context, flows);
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {readonly import("./grid.js").Flow[]} flows
   */
  #drawCities(context, flows) {
    /** @type {Map<string, number>} */
    const perSecondByOrigin = new Map();
    for (const { origin, perSecond } of flows) {
      perSecondByOrigin.set(origin, (perSecondByOrigin.get(origin) ?? 0) + perSecond);
    }
    const most = Math.max(0.5, ...perSecondByOrigin.values());
    context.font = this.#font;
    context.textBaseline = "middle";
    context.strokeStyle = this.#colours["panel"] ?? "";
    context.lineWidth = 3;
    for (const city of this.#grid.cities.values()) {
      const [x, y] = this.#pointById.get(city.id) ?? [0, 0];
      const share = Math.sqrt((perSecondByOrigin.get(city.id) ?? 0) / most);
      context.fillStyle = this.#colours["city"] ?? "";
      context.globalAlpha = share > 0 ? 0.95 : 0.3;
      context.beginPath();
      context.arc(x, y, 1.6 + share * 2.6, 0, 2 * Math.PI);
      context.fill();
      const label = this.#cityNames.get(city.id);
      if (label === undefined) continue;
      context.fillStyle = this.#colours["muted"] ?? "";
      context.globalAlpha = 0.35 + 0.65 * share;
      context.strokeText(nameOf(city), label[0], label[1]);
      context.fillText(nameOf(city), label[0], label[1]);
    }
    context.globalAlpha = 1;
  }

  /**
   * @param {CanvasRenderingContext2D} context
   * @param {number} now
   */
  #drawSparks(context, now) {
    this.#sparks = this.#sparks.filter(({ startedAt }) => now - startedAt < sparkMs);
    for (const { arc, region, colour, startedAt } of this.#sparks) {
      const way = (now - startedAt) / sparkMs;
      if (way < 0 || this.#isDimmed(region)) continue;
      const eased = way < 0.5 ? 2 * way * way : 1 - (2 - 2 * way) ** 2 / 2;
      context.fillStyle = colour;
      for (let tail = 0; tail < 5; tail++) {
        const [x, y] = pointOn(arc, Math.max(0, eased - tail * 0.018));
        context.globalAlpha = 0.95 * (1 - tail / 5);
        context.beginPath();
        context.arc(x, y, 2.1 - tail * 0.3, 0, 2 * Math.PI);
        context.fill();
      }
    }
    context.globalAlpha = 1;
  }

  /**
   * A ring per hub: how much of its slots is leased. Supply hubs are full inside, demand hubs hollow.
   * @param {CanvasRenderingContext2D} context
   */
  #drawHubs(context) {
    const loads = this.#loads();
    const most = Math.max(1, ...[...loads.values()].map(({ slots }) => slots));
    for (const { id, role, side } of this.#grid.regions.values()) {
      const point = this.#pointById.get(id);
      const load = loads.get(id);
      if (point === undefined || load === undefined) continue;
      const colour = this.#colours[side] ?? "";
      const radius = 7 + 6 * Math.sqrt(load.slots / most);
      context.globalAlpha = this.#isDimmed(id) ? 0.35 : 1;
      disc(context, point, { radius: radius - 4, colour: this.#colours["panel"] ?? "" });
      ring(context, point, { radius, colour, share: 1, alpha: 0.28 });
      if (load.slots > 0) {
        ring(context, point, { radius, colour, share: load.leased / load.slots, alpha: 1 });
      }
      const inside = load.isUp ? colour : (this.#colours["poor"] ?? "");
      if (role === "supply-hub") disc(context, point, { radius: radius - 4, colour: inside });
      else ring(context, point, { radius: radius - 5.5, colour: inside, share: 1, alpha: 0.9 });
    }
    context.globalAlpha = 1;
  }

  /** @returns {Map<string, { slots: number, leased: number, isUp: boolean }>} by region */
  #loads() {
    const loads = new Map();
    for (const pool of this.#grid.pools.values()) {
      const load = loads.get(pool.region.id) ?? { slots: 0, leased: 0, isUp: false };
      load.slots += overModels(pool, ({ slotsTotal }) => slotsTotal) ?? 0;
      load.leased += overModels(pool, ({ slotsLeased }) => slotsLeased) ?? 0;
      load.isUp ||= pool.status === "ready" && pool.health === "fresh";
      loads.set(pool.region.id, load);
    }
    return loads;
  }

  /** @param {string} region */
  #isDimmed(region) {
    return this.#selected !== "" && this.#selected !== region;
  }

  /**
   * @param {string} origin
   * @param {string} region
   */
  #arc(origin, region) {
    const from = this.#pointById.get(origin);
    const to = this.#pointById.get(region);
    return from === undefined || to === undefined ? undefined : arcBetween(from, to);
  }

  /**
   * @param {string} region
   * @param {number | undefined} missProbability
   */
  #colourOf(region, missProbability) {
    if (this.colourBy === "side") {
      return this.#colours[this.#grid.regions.get(region)?.side ?? "east"] ?? "";
    }
    if (missProbability === undefined) return this.#colours["muted"] ?? "";
    const grade = missProbability <= missGood ? "good" : "fair";
    return this.#colours[missProbability > missFair ? "poor" : grade] ?? "";
  }

  /**
   * Begins pale where demand is and ends in full colour where the work is done.
   * @param {CanvasRenderingContext2D} context
   * @param {Arc} arc
   * @param {string} colour
   */
  #faded(context, { from, to }, colour) {
    const gradient = context.createLinearGradient(from[0], from[1], to[0], to[1]);
    gradient.addColorStop(0, this.#colours["city"] ?? "");
    gradient.addColorStop(0.35, colour);
    gradient.addColorStop(1, colour);
    return gradient;
  }
}
