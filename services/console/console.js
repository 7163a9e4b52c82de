/** The live dispatch view: two streams come in, and a map, three series, a list and a table show them. */

import { Bill } from "./bill.js";
import { Charts } from "./charts.js";
import { element, elementOf, setClass, setText } from "./dom.js";
import { FlowMap } from "./flow-map.js";
import { Grid } from "./grid.js";
import { Placements, shortYuan } from "./placements.js";
import { PoolTable } from "./pool-table.js";
import { follow } from "./rpc.js";
import * as say from "./text.js";

const watchIntervalMs = 1_000;
const decisionsPerSecondMax = 60;
const listMs = 300;
const themeKey = "tokengrid.theme";

const grid = new Grid();
/** @type {Record<"pools" | "decisions", import("./rpc.js").LinkState>} */
const links = { pools: "connecting", decisions: "connecting" };

applyTheme(localStorage.getItem(themeKey));
await Promise.all([say.loadTexts(), loadCities()]);

const bill = new Bill();
const charts = new Charts(grid.series);
const map = new FlowMap(grid, {
  canvas: elementOf("map", HTMLCanvasElement),
  hubs: element("hubs"),
  onRegion: selectRegion,
});
const table = new PoolTable(grid, {
  table: elementOf("pools", HTMLTableElement),
  filter: elementOf("filter", HTMLInputElement),
  onPool: (pool) => map.select(pool?.region.id ?? selectedRegion),
});
const placements = new Placements(grid, {
  list: element("placements"),
  note: element("placements-held"),
  onOpen({ attempt }) {
    bill.open(attempt).catch(report);
  },
});

let selectedRegion = "";
let regionsLaidOut = 0;

layOut();
wireButtons();
watch();
setInterval(tick, 1_000);
setInterval(() => placements.refresh(), listMs);
requestAnimationFrame(frame);

async function loadCities() {
  const response = await fetch("/cities.json");
  grid.setCities(await response.json());
}

function watch() {
  const { signal } = new AbortController();
  follow(
    "PoolService/Watch",
    { intervalMs: watchIntervalMs },
    {
      signal,
      onState: (state) => showLink("pools", state),
      onMessage(message) {
        grid.applyPools(message, Date.now());
        // A hub that was never heard of before needs a place on the map.
        if (grid.regions.size !== regionsLaidOut) layOut();
        regionsLaidOut = grid.regions.size;
        table.refresh();
      },
    },
  ).catch(report);
  follow(
    "PlacementService/WatchDecisions",
    { backlog: 20, perSecondMax: decisionsPerSecondMax },
    {
      signal,
      onState: (state) => showLink("decisions", state),
      onMessage(message) {
        const { placed, fresh } = grid.applyDecisions(message, Date.now());
        map.add(fresh);
        placements.add(placed);
      },
    },
  ).catch(report);
}

/** @param {unknown} error */
function report(error) {
  console.error(error);
}

/** @param {number} now */
function frame(now) {
  map.draw(now);
  requestAnimationFrame(frame);
}

function tick() {
  grid.tick(Date.now());
  charts.refresh();
  showFigures();
}

function showFigures() {
  const { values } = grid.series;
  const pools = [...grid.pools.values()];
  const eligible = pools.filter(({ status, health }) => status === "ready" && health === "fresh");
  const tokens = grid.tokensPerSecond(Date.now());
  const all = tokens.east + tokens.west;
  const cost = mean(values["costNano"], 15);
  setText(element("figure-placements"), say.decimal(mean(values["placements"], 5), 1));
  setText(element("figure-tokens"), say.decimal(all));
  setText(element("figure-west"), all === 0 ? say.unknown : say.percent(tokens.west / all));
  setText(
    element("figure-cost"),
    cost === undefined ? say.unknown : shortYuan(BigInt(Math.round(cost))),
  );
  setText(element("figure-power"), say.power(sum(pools.map(({ powerWatts }) => powerWatts))));
  setText(element("figure-pools"), `${eligible.length} / ${pools.length}`);
}

/**
 * Of the last values that are known.
 * @param {readonly (number | null)[] | undefined} values
 * @param {number} count
 */
function mean(values, count) {
  const known = (values ?? []).slice(-count).filter((each) => each !== null);
  return known.length === 0 ? undefined : (sum(known) ?? 0) / known.length;
}

/** @param {readonly (number | undefined)[]} values */
function sum(values) {
  const known = values.filter((each) => each !== undefined);
  return known.length === 0 ? undefined : known.reduce((total, each) => total + each, 0);
}

/**
 * @param {"pools" | "decisions"} link
 * @param {import("./rpc.js").LinkState} state
 */
function showLink(link, state) {
  links[link] = state;
  const states = Object.values(links);
  const worst = ["lost", "connecting", "live"].find((each) => states.some((one) => one === each));
  setClass(element("link"), `link ${worst}`);
  setText(element("link"), say.text(`link.${worst}`));
}

/** @param {string} region empty for all */
function selectRegion(region) {
  selectedRegion = region;
  map.select(region);
  table.select(region);
  element("region-clear").hidden = region === "";
}

function wireButtons() {
  element("language").addEventListener("click", say.switchLanguage);
  element("theme").addEventListener("click", () => {
    const next = isDark() ? "light" : "dark";
    localStorage.setItem(themeKey, next);
    applyTheme(next);
    layOut();
  });
  element("region-clear").addEventListener("click", () => selectRegion(""));
  for (const input of document.querySelectorAll("input[name=colour]")) {
    input.addEventListener("change", () => {
      const isPromise = elementOf("colour-promise", HTMLInputElement).checked;
      map.colourBy = isPromise ? "promise" : "side";
      document.body.dataset["colour"] = map.colourBy;
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", layOut);
  say.onLanguage(() => {
    layOut();
    table.refresh();
    showLink("pools", links.pools);
    showFigures();
  });
}

function layOut() {
  map.layOut();
  charts.layOut();
}

function isDark() {
  const chosen = document.documentElement.dataset["theme"];
  return chosen === undefined
    ? matchMedia("(prefers-color-scheme: dark)").matches
    : chosen === "dark";
}

/** @param {string | null} theme null for what the system has */
function applyTheme(theme) {
  if (theme === "dark" || theme === "light") document.documentElement.dataset["theme"] = theme;
}
