import type { Highs, ModelData } from "highs";

/** A coefficient of a column: in which row, and how much. */
export type Entry = readonly [row: number, value: number];

/** A linear program as it is put together: columns of at least 0 that cost something, and rows between limits. */
export class Rows {
  readonly #lower: number[] = [];
  readonly #upper: number[] = [];
  readonly #cost: number[] = [];
  readonly #starts: number[] = [0];
  readonly #indices: number[] = [];
  readonly #values: number[] = [];

  get columns(): number {
    return this.#cost.length;
  }

  /** Its number. */
  row(lower: number, upper: number): number {
    this.#lower.push(lower);
    this.#upper.push(upper);
    return this.#lower.length - 1;
  }

  /** Entries of the same row add up. */
  column(cost: number, entries: readonly Entry[]): number {
    const byRow = new Map<number, number>();
    for (const [row, value] of entries) byRow.set(row, (byRow.get(row) ?? 0) + value);
    for (const [row, value] of byRow) {
      this.#indices.push(row);
      this.#values.push(value);
    }
    this.#starts.push(this.#indices.length);
    this.#cost.push(cost);
    return this.#cost.length - 1;
  }

  model({ infinity }: Highs): ModelData {
    const [numCols, numRows] = [this.#cost.length, this.#lower.length];
    const finite = (value: number): number =>
      Math.abs(value) === Infinity ? Math.sign(value) * infinity : value;
    return {
      numCols,
      numRows,
      colCost: this.#cost,
      colLower: new Float64Array(numCols),
      colUpper: new Float64Array(numCols).fill(infinity),
      rowLower: this.#lower.map(finite),
      rowUpper: this.#upper.map(finite),
      matrix: {
        format: "csc",
        numRows,
        numCols,
        starts: this.#starts,
        indices: this.#indices,
        values: this.#values,
      },
    };
  }
}
