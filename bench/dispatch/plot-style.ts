import { families } from "./contestants.ts";

/** Okabe and Ito: told apart by the colour-blind too. */
export const colours = {
  ours: "#D55E00",
  bound: "#000000",
  fluid: "#7F7F7F",
  counting: "#56B4E9",
  "reported load": "#0072B2",
  "prefix and region": "#009E73",
  "price and latency": "#CC79A7",
  references: "#E69F00",
} as const;

export const plotConfig = {
  background: "white",
  font: "sans-serif",
  axis: { labelFontSize: 11, titleFontSize: 12, gridColor: "#e5e5e5" },
  legend: { labelFontSize: 11, titleFontSize: 12, labelLimit: 400 },
  header: { labelFontSize: 12, titleFontSize: 12 },
  title: { fontSize: 14, subtitleFontSize: 11, subtitleColor: "#444444", anchor: "start" },
} as const;

export const costTitle = "CNY per 1,000 requests";

/** How ours is called in a legend. */
export const ownSeries = "tokengrid";

export const baselineFamilies = families.filter((each) => each !== "ours" && each !== "mixed");
