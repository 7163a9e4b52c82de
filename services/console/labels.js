/** Finds room for the names of places, so that none lies on another. */

/**
 * @typedef {object} Mark
 * @property {string} key
 * @property {readonly [number, number]} at
 * @property {number} width of its name
 * @property {number} height
 * @property {number} gap between the place and its name
 *
 * @typedef {{ left: number, top: number, right: number, bottom: number }} Box
 */

/** Where a name may stand, best first: its middle relative to the place, in halves of width and height plus gap. */
const seats = [
  [1, 0],
  [-1, 0],
  [0, 1],
  [0, -1],
  [1, 1],
  [1, -1],
  [-1, 1],
  [-1, -1],
];

/**
 * The middle of the left edge of each name that found room. Earlier marks choose first, and what was taken before is
 * added to.
 * @param {readonly Mark[]} marks
 * @param {{ width: number, height: number }} frame
 * @param {Box[]} taken
 * @returns {Map<string, readonly [number, number]>}
 */
export function placeLabels(marks, frame, taken) {
  const before = taken.length;
  taken.push(...marks.map(({ at: [x, y], gap }) => box(x, y, gap, gap)));
  const placed = new Map();
  for (const [index, mark] of marks.entries()) {
    const found = seats
      .map((seat) => seatBox(mark, seat))
      .find(
        (each) =>
          isInside(each, frame) &&
          !taken.some((other, at) => at !== before + index && meets(each, other)),
      );
    if (found === undefined) continue;
    taken.push(found);
    placed.set(mark.key, [found.left, (found.top + found.bottom) / 2]);
  }
  return placed;
}

/**
 * @param {Mark} mark
 * @param {readonly number[]} seat
 */
function seatBox({ at: [x, y], width, height, gap }, [across = 0, down = 0]) {
  // Beside the place a name begins after the gap; above and below it is centred.
  const isCorner = across !== 0 && down !== 0;
  const reach = isCorner ? gap * 0.7 : gap;
  const middleX = x + across * (width / 2 + reach);
  const middleY = y + down * (height / 2 + (isCorner ? gap * 0.4 : gap));
  return box(middleX, middleY, width / 2, height / 2);
}

/**
 * @param {number} x
 * @param {number} y
 * @param {number} halfWidth
 * @param {number} halfHeight
 * @returns {Box}
 */
function box(x, y, halfWidth, halfHeight) {
  return { left: x - halfWidth, top: y - halfHeight, right: x + halfWidth, bottom: y + halfHeight };
}

/**
 * @param {Box} one
 * @param {Box} other
 */
function meets(one, other) {
  return (
    one.left < other.right &&
    other.left < one.right &&
    one.top < other.bottom &&
    other.top < one.bottom
  );
}

/**
 * @param {Box} each
 * @param {{ width: number, height: number }} frame
 */
function isInside({ left, top, right, bottom }, { width, height }) {
  return left >= 0 && top >= 0 && right <= width && bottom <= height;
}
