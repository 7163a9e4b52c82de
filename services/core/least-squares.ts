/** Small symmetric positive definite systems, row by row. */

/** Solves A·x = b with x ≥ 0: what comes out below 0 is held at 0, the lowest first, and the rest is solved again. */
export function solvedNonNegative(matrix: readonly number[], wanted: readonly number[]): number[] {
  const solution = wanted.map(() => 0);
  const free = [...wanted.keys()];
  while (free.length > 0) {
    const part = solved(matrix, wanted, free);
    const lowest = part.indexOf(Math.min(...part));
    if ((part[lowest] ?? 0) >= 0) {
      for (let place = 0; place < free.length; place++) {
        solution[free[place] ?? 0] = part[place] ?? 0;
      }
      break;
    }
    free.splice(lowest, 1);
  }
  return solution;
}

/** The element of the inverse on the diagonal: the variance of one unknown while the others are unknown as well. */
export function varianceOf(matrix: readonly number[], count: number, index: number): number {
  const unit = Array.from({ length: count }, (_, at) => Number(at === index));
  return Math.max(0, solved(matrix, unit, [...unit.keys()])[index] ?? 0);
}

/** By Cholesky's decomposition, of the rows and columns that are named. Lists that grow, as each attempt comes here. */
function solved(
  matrix: readonly number[],
  wanted: readonly number[],
  named: readonly number[],
): number[] {
  const width = wanted.length;
  const count = named.length;
  /** Row by row as far as the diagonal. */
  const lower: number[] = [];
  const solution: number[] = [];
  for (let row = 0; row < count; row++) {
    const from = triangle(row);
    for (let column = 0; column <= row; column++) {
      const above = triangle(column);
      let sum = matrix[(named[row] ?? 0) * width + (named[column] ?? 0)] ?? 0;
      for (let at = 0; at < column; at++) sum -= (lower[from + at] ?? 0) * (lower[above + at] ?? 0);
      const isDiagonal = row === column;
      lower.push(isDiagonal ? Math.sqrt(Math.max(sum, 1e-12)) : sum / (lower[above + column] ?? 1));
    }
    let sum = wanted[named[row] ?? 0] ?? 0;
    for (let at = 0; at < row; at++) sum -= (lower[from + at] ?? 0) * (solution[at] ?? 0);
    solution.push(sum / (lower[from + row] ?? 1));
  }
  for (let row = count - 1; row >= 0; row--) {
    let sum = solution[row] ?? 0;
    for (let at = row + 1; at < count; at++) {
      sum -= (lower[triangle(at) + row] ?? 0) * (solution[at] ?? 0);
    }
    solution[row] = sum / (lower[triangle(row) + row] ?? 1);
  }
  return solution;
}

/** Where a row begins when each has one element more than the one before. */
function triangle(row: number): number {
  return (row * (row + 1)) / 2;
}
