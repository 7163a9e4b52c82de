/** What does not move: the projection, its meridians and parallels, and a light over each hub. */

import { geoConicEquidistant, geoGraticule, geoPath } from "d3-geo";

/**
 * @typedef {import("d3-geo").GeoProjection} GeoProjection
 * @typedef {{ width: number, height: number }} Size
 *
 * @typedef {object} Ground
 * @property {GeoProjection} projection
 * @property {Size} size in CSS pixels
 * @property {readonly { at: readonly [number, number], colour: string }[]} lights
 * @property {string} grid colour of the lines
 * @property {string} muted colour of the degrees
 */

const lightRadius = 120;

/**
 * Fits all places into the picture.
 * @param {readonly { longitude: number, latitude: number }[]} places
 * @param {Size} size
 */
export function projectionOver(places, { width, height }) {
  const sides = { left: 56, top: 40, right: 64, bottom: 44 };
  const points = places.map(({ longitude, latitude }) => [longitude, latitude]);
  // Standard parallels far in the south draw the country wide, as screens are.
  return geoConicEquidistant()
    .parallels([0, 8])
    .rotate([-106, 0])
    .fitExtent(
      [
        [sides.left, sides.top],
        [width - sides.right, height - sides.bottom],
      ],
      { type: "MultiPoint", coordinates: points },
    );
}

/**
 * @param {HTMLCanvasElement} canvas
 * @param {Ground} ground
 */
export function drawGround(canvas, { projection, size, lights, grid, muted }) {
  const context = canvas.getContext("2d");
  if (context === null) return;
  context.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
  context.clearRect(0, 0, size.width, size.height);
  const graticule = geoGraticule()
    .extent([
      [70, 10],
      [140, 58],
    ])
    .step([5, 5]);
  context.beginPath();
  geoPath(projection, context)(graticule());
  context.strokeStyle = grid;
  context.lineWidth = 1;
  context.stroke();
  for (const light of lights) drawLight(context, light);
  context.fillStyle = muted;
  drawDegrees(context, projection, size);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {{ at: readonly [number, number], colour: string }} light
 */
function drawLight(context, { at: [x, y], colour }) {
  const light = context.createRadialGradient(x, y, 0, x, y, lightRadius);
  light.addColorStop(0, colour);
  // The same colour without any of it: towards `transparent` it would turn grey on the way.
  light.addColorStop(1, `${colour}00`);
  context.globalAlpha = 0.13;
  context.fillStyle = light;
  context.fillRect(x - lightRadius, y - lightRadius, 2 * lightRadius, 2 * lightRadius);
  context.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {GeoProjection} projection
 * @param {Size} size
 */
function drawDegrees(context, projection, size) {
  context.font = "10px system-ui";
  context.textBaseline = "alphabetic";
  context.globalAlpha = 0.6;
  for (let longitude = 80; longitude <= 130; longitude += 10) {
    const at = crossing(projection, longitude, size);
    if (at !== undefined) context.fillText(`${longitude}°E`, at + 4, size.height - 8);
  }
  context.globalAlpha = 1;
}

/**
 * Where a meridian leaves the picture at its lower edge.
 * @param {GeoProjection} projection
 * @param {number} longitude
 * @param {Size} size
 */
function crossing(projection, longitude, { width, height }) {
  for (let latitude = 58; latitude >= 10; latitude -= 0.5) {
    const [x = -1, y = 0] = projection([longitude, latitude]) ?? [];
    if (y > height - 14) return x > 0 && x < width - 30 ? x : undefined;
  }
  return undefined;
}
