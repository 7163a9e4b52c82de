/** The curve between demand and supply, and the marks at its ends. */

/**
 * @typedef {readonly [number, number]} Point
 *
 * @typedef {object} Arc
 * @property {Point} from
 * @property {Point} bend
 * @property {Point} to
 */

/** Of the distance. */
const height = 0.22;

/**
 * Bent to the north whichever way it goes, as a dispatcher's board has it.
 * @param {Point} from
 * @param {Point} to
 * @returns {Arc}
 */
export function arcBetween(from, to) {
  const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
  const turn = dx < 0 ? 1 : -1;
  const middle = [(from[0] + to[0]) / 2, (from[1] + to[1]) / 2];
  const bend = /** @type {const} */ ([
    (middle[0] ?? 0) + dy * height * turn * -1,
    (middle[1] ?? 0) + dx * height * turn,
  ]);
  return { from, bend, to };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Arc} arc
 */
export function trace(context, { from, bend, to }) {
  context.beginPath();
  context.moveTo(from[0], from[1]);
  context.quadraticCurveTo(bend[0], bend[1], to[0], to[1]);
}

/**
 * @param {Arc} arc
 * @param {number} way 0..1
 * @returns {[number, number]}
 */
export function pointOn({ from, bend, to }, way) {
  const [a, b, c] = [(1 - way) ** 2, 2 * (1 - way) * way, way ** 2];
  return [a * from[0] + b * bend[0] + c * to[0], a * from[1] + b * bend[1] + c * to[1]];
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {readonly [number, number]} at
 * @param {{ radius: number, colour: string, share: number, alpha: number }} look
 */
export function ring(context, [x, y], { radius, colour, share, alpha }) {
  const before = context.globalAlpha;
  context.globalAlpha = before * alpha;
  context.strokeStyle = colour;
  context.lineWidth = 3;
  context.beginPath();
  context.arc(x, y, radius, -Math.PI / 2, -Math.PI / 2 + 2 * Math.PI * Math.min(1, share));
  context.stroke();
  context.globalAlpha = before;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Point} at
 * @param {{ radius: number, colour: string }} look
 */
export function disc(context, [x, y], { radius, colour }) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}
