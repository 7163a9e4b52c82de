import type { Bucket, Compared, Totals } from "../../core/placement/compare.ts";
import { cellsOf, curves, mostOf, type Curve } from "./plot.ts";
import { at } from "./proof-text.ts";

const width = 960;
const panelHeight = 240;
const margin = { left: 88, right: 24, top: 40, bottom: 32 };

const style = `text{font:13px system-ui,sans-serif;fill:#1f2937}.title{font-weight:600}
.recorded{stroke:#64748b}.other{stroke:#0f766e}polyline,circle{fill:none;stroke-width:2}line{stroke:#cbd5e1}`;

/** The curves of the terminal as a picture, one panel each. */
export function plotSvg({ buckets, bucketMs }: Compared): string {
  const cells = cellsOf(buckets, bucketMs);
  const [from, to] = [buckets[0]?.at, buckets.at(-1)?.at];
  const panels = curves.map(
    (curve, index) =>
      `<g transform="translate(0 ${index * panelHeight})">${panel(curve, cells)}</g>`,
  );
  const height = curves.length * panelHeight + margin.bottom;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" role="img">`,
    `<title>Placement as recorded and what if</title><style>${style}</style>`,
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...panels,
    text(margin.left, height - 12, at(from)),
    text(width - margin.right, height - 12, at(to === undefined ? to : to + bucketMs), "end"),
    "</svg>\n",
  ].join("\n");
}

function panel(curve: Curve, cells: readonly (Bucket | undefined)[]): string {
  const valuesOf = (side: (bucket: Bucket) => Totals) =>
    cells.map((cell) => cell && curve.of(side(cell)));
  const recorded = valuesOf((cell) => cell.recorded);
  const other = valuesOf((cell) => cell.other);
  const most = curve.most ?? mostOf([...recorded, ...other]);
  const bottom = panelHeight - 24;
  const frame = [0, 0.5, 1].map((part) => {
    const y = bottom - part * (bottom - margin.top);
    return (
      `<line x1="${margin.left}" x2="${width - margin.right}" y1="${y}" y2="${y}"/>` +
      text(margin.left - 8, y + 4, curve.text(part * most), "end")
    );
  });
  const lines = [
    ["recorded", recorded],
    ["other", other],
  ] as const;
  return [
    text(margin.left, 24, `${curve.title}: recorded (grey), what if (green)`, "start", "title"),
    ...frame,
    ...lines.flatMap(([name, values]) => polylines(name, values, { most, bottom })),
  ].join("");
}

/** Broken where nothing was placed. */
function polylines(
  name: string,
  values: readonly (number | undefined)[],
  { most, bottom }: { readonly most: number; readonly bottom: number },
): string[] {
  const stepX = (width - margin.left - margin.right) / Math.max(1, values.length - 1);
  const lines: string[][] = [[]];
  for (const [index, value] of values.entries()) {
    if (value === undefined) {
      lines.push([]);
      continue;
    }
    const x = margin.left + index * stepX;
    const y = bottom - (most === 0 ? 0 : value / most) * (bottom - margin.top);
    lines.at(-1)?.push(`${x.toFixed(1)},${y.toFixed(1)}`);
  }
  return lines.filter((points) => points.length > 0).map((points) => lineOf(name, points));
}

/** A point alone is a dot: a line of one point is not seen. */
function lineOf(name: string, points: readonly string[]): string {
  const [first = ""] = points;
  const [x, y] = first.split(",");
  return points.length === 1
    ? `<circle class="${name}" cx="${x}" cy="${y}" r="3"/>`
    : `<polyline class="${name}" points="${points.join(" ")}"/>`;
}

function text(x: number, y: number, words: string, anchor = "start", name = ""): string {
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const as = name === "" ? "" : ` class="${name}"`;
  return `<text x="${x}" y="${y}" text-anchor="${anchor}"${as}>${escaped}</text>`;
}
