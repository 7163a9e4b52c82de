/** Small symmetric positive definite systems, row by row. */

/** Solves A·x = b with x ≥ 0: what comes out below 0 is held at 0, the lowest first, and the rest is solved again. */
export function solvedNonNegative(matrix: readonly number[], wanted: readonly number[]): number[] {
  const count = wanted.length;
  const free = wanted.map((_, index) => index);
  const solution = Array<number>(count).fill(0);
  while (free.length > 0) {
    const part = solved(
      free.flatMap((row) => free.map((column) => matrix[row * count + column] ?? 0)),
      free.map((index) => wanted[index] ?? 0),
    );
    const lowest = part.indexOf(Math.min(...part));
    if ((part[lowest] ?? 0) >= 0) {
      for (const [place, index] of free.entries()) solution[index] = part[place] ?? 0;
      break;
    }
    free.splice(lowest, 1);
  }
  return solution;
}

/** The element of the inverse on the diagonal: the variance of one unknown while the others are unknown as well. */
export function varianceOf(matrix: readonly number[], count: number, index: number): number {
  const unit = Array.from({ length: count }, (_, at) => Number(at === index));
  return Math.max(0, solved(matrix, unit)[index] ?? 0);
}

/** By Cholesky's decomposition. */
function solved(matrix: readonly number[], wanted: readonly number[]): number[] {
  const count = wanted.length;
  const lower = Array<number>(count * count).fill(0);
  const half = Array<number>(count).fill(0);
  for (let row = 0; row < count; row++) {
    for (let column = 0; column <= row; column++) {
      let sum = matrix[row * count + column] ?? 0;
      for (let at = 0; at < column; at++) {
        sum -= (lower[row * count + at] ?? 0) * (lower[column * count + at] ?? 0);
      }
      const pivot = lower[column * count + column] ?? 1;
      lower[row * count + column] = row === column ? Math.sqrt(Math.max(sum, 1e-12)) : sum / pivot;
    }
    let sum = wanted[row] ?? 0;
    for (let at = 0; at < row; at++) sum -= (lower[row * count + at] ?? 0) * (half[at] ?? 0);
    half[row] = sum / (lower[row * count + row] ?? 1);
  }
  const solution = Array<number>(count).fill(0);
  for (let row = count - 1; row >= 0; row--) {
    let sum = half[row] ?? 0;
    for (let at = row + 1; at < count; at++) {
      sum -= (lower[at * count + row] ?? 0) * (solution[at] ?? 0);
    }
    solution[row] = sum / (lower[row * count + row] ?? 1);
  }
  return solution;
}
