/** Three short series of the last five minutes. */

import uPlot from "uplot";
import { element } from "./dom.js";
import { seriesSeconds } from "./grid.js";
import { decimal, onLanguage, percent, text } from "./text.js";

/**
 * @typedef {import("./grid.js").Series} Series
 *
 * @typedef {object} Line
 * @property {string} name of the series
 * @property {string} label key of its text
 * @property {string} colour name of the style property
 *
 * @typedef {object} Chart
 * @property {string} id of its element
 * @property {readonly Line[]} lines from the lowest up
 * @property {(value: number) => string} write
 * @property {number | undefined} most end of the axis, undefined for as much as there is
 * @property {boolean} isStacked
 */

/** @type {readonly Chart[]} */
const charts = [
  {
    id: "chart-placements",
    lines: [{ name: "placements", label: "chart.placements", colour: "ink" }],
    write: (value) => decimal(value, value < 10 ? 1 : 0),
    most: undefined,
    isStacked: false,
  },
  {
    id: "chart-tokens",
    lines: [
      { name: "tokensWest", label: "side.west", colour: "west" },
      { name: "tokensEast", label: "side.east", colour: "east" },
    ],
    write: (value) => (value < 10_000 ? decimal(value) : `${decimal(value / 1_000, 1)}k`),
    most: undefined,
    isStacked: true,
  },
  {
    id: "chart-share",
    lines: [{ name: "westShare", label: "side.west", colour: "west" }],
    write: (value) => percent(value),
    most: 1,
    isStacked: false,
  },
];

export class Charts {
  #series;
  /** @type {{ chart: Chart, plot: uPlot, root: HTMLElement }[]} */ #drawn = [];

  /** @param {Series} series */
  constructor(series) {
    this.#series = series;
    onLanguage(() => this.layOut());
    const resized = new ResizeObserver(() => this.#fit());
    for (const { id } of charts) resized.observe(element(id));
  }

  /** Made anew after a change of colours or language. */
  layOut() {
    for (const { plot } of this.#drawn) plot.destroy();
    this.#drawn = charts.map((chart) => {
      const root = element(chart.id);
      return { chart, root, plot: new uPlot(optionsOf(chart, root), this.#dataOf(chart), root) };
    });
  }

  refresh() {
    for (const { chart, plot } of this.#drawn) plot.setData(this.#dataOf(chart));
  }

  #fit() {
    for (const { plot, root } of this.#drawn) plot.setSize(sizeOf(root));
  }

  /** @param {Chart} chart @returns {uPlot.AlignedData} */
  #dataOf({ lines, isStacked }) {
    const { times, values } = this.#series;
    const columns = lines.map(({ name }) => values[name] ?? times.map(() => null));
    if (!isStacked) return [times, ...columns];
    // Drawn from the sum down, so that each area lies in front of the one above it.
    const sums = columns.map((_column, top) =>
      times.map((_time, at) =>
        columns.slice(0, top + 1).reduce((sum, column) => sum + (column[at] ?? 0), 0),
      ),
    );
    return [times, ...sums.toReversed()];
  }
}

/**
 * @param {Chart} chart
 * @param {HTMLElement} root
 * @returns {uPlot.Options}
 */
function optionsOf({ lines, write, most, isStacked }, root) {
  const style = getComputedStyle(root);
  /** @param {string} name */
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  const font = `10px ${style.fontFamily}`;
  const axis = { stroke: colour("muted"), font, ticks: { show: false } };
  const shown = isStacked ? lines.toReversed() : lines;
  return {
    ...sizeOf(root),
    padding: [8, 14, 0, 0],
    legend: { show: false },
    cursor: { show: false },
    scales: {
      x: { range: (_plot, _from, to) => [to - seriesSeconds, to] },
      y: { range: (_plot, _from, to) => [0, most ?? Math.max(1, (to || 0) * 1.15)] },
    },
    axes: [
      {
        ...axis,
        space: 70,
        size: 18,
        gap: 2,
        grid: { show: false },
        values: ages,
        splits: minutes,
      },
      {
        ...axis,
        size: 40,
        gap: 4,
        space: 26,
        grid: { stroke: colour("grid"), width: 1 },
        values: (_plot, splits) => splits.map(write),
      },
    ],
    series: [
      {},
      ...shown.map(({ label, colour: name }) => ({
        label: text(label),
        stroke: colour(name),
        fill: `color-mix(in srgb, ${colour(name)} ${isStacked ? 55 : 14}%, ${colour("panel")})`,
        width: 1.5,
        points: { show: false },
      })),
    ],
  };
}

/**
 * @param {uPlot} _plot
 * @param {number} _axis
 * @param {number} from
 * @param {number} to
 */
function minutes(_plot, _axis, from, to) {
  return [4, 3, 2, 1, 0].map((each) => to - each * 60).filter((at) => at > from);
}

/**
 * How long ago, since nobody reads a clock on a line of five minutes.
 * @param {uPlot} plot
 * @param {number[]} splits
 */
function ages(plot, splits) {
  const end = plot.scales["x"]?.max ?? 0;
  return splits.map((at) => {
    const minutes = Math.round((end - at) / 60);
    return minutes === 0 ? text("chart.now") : text("chart.minutes", { minutes });
  });
}

/** @param {HTMLElement} root */
function sizeOf(root) {
  return { width: root.clientWidth, height: root.clientHeight };
}
