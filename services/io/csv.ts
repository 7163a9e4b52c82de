/** A cell with where it begins: lines and columns from 1, columns in characters. */
export interface CsvCell {
  readonly text: string;
  readonly line: number;
  readonly column: number;
}

/** What is wrong with a file, and where. */
export class CsvError extends Error {
  override name = "CsvError";

  constructor(at: { readonly line: number; readonly column: number }, message: string) {
    super(`${at.line}:${at.column}: ${message}`);
  }
}

/** Longer cells and rows are no table, but a quote that was never closed. */
const cellLengthMax = 10_000;
const rowCellsMax = 500;

type State = "start" | "plain" | "quoted" | "after-quote";

/**
 * RFC 4180 and nothing else, as it comes: rows of cells, with a byte order mark left out, ended by LF or CRLF. A quote
 * inside a plain cell, text behind a quoted one, a lone CR and a last line that is not ended are refused: the last may be
 * a file that was cut.
 */
export class CsvReader {
  #state: State = "start";
  #line = 1;
  #column = 1;
  #cell = "";
  #cellAt = { line: 1, column: 1 };
  #row: CsvCell[] = [];
  #isFirst = true;
  /** A CR that an LF has to follow. */
  #isReturn = false;
  #hasText = false;

  /** The rows that are complete now. */
  push(text: string): CsvCell[][] {
    const rows: CsvCell[][] = [];
    for (const character of text) {
      const isMark = this.#isFirst && character === "\ufeff";
      this.#isFirst = false;
      if (isMark) continue;
      this.#hasText = true;
      if (this.#take(character)) {
        rows.push(this.#row);
        this.#row = [];
      }
    }
    return rows;
  }

  /** To be called at the end of the file. */
  end(): void {
    if (!this.#hasText) throw new CsvError(this.#at, "expected a header, found an empty file");
    if (this.#state === "quoted") {
      throw new CsvError(
        this.#cellAt,
        "expected a closing quote, found the end: the file may be cut",
      );
    }
    const isOpen = this.#row.length > 0 || this.#state !== "start" || this.#isReturn;
    if (isOpen) {
      throw new CsvError(this.#at, "expected a line break, found the end: the file may be cut");
    }
  }

  get #at() {
    return { line: this.#line, column: this.#column };
  }

  /** Whether a row ended. */
  #take(character: string): boolean {
    if (this.#isReturn && character !== "\n") {
      throw new CsvError(this.#at, "expected a line feed after a carriage return");
    }
    if (this.#state === "quoted") {
      this.#quoted(character);
      return false;
    }
    if (character === "\n") return this.#endRow();
    if (character === "\r") this.#isReturn = true;
    else if (character === ",") this.#endCell();
    else this.#plain(character);
    this.#column += 1;
    return false;
  }

  #plain(character: string): void {
    if (this.#state === "after-quote" && character === '"') {
      // Two of them are one that belongs to the text.
      this.#state = "quoted";
      this.#grow(character);
      return;
    }
    if (this.#state === "after-quote") {
      const found = `found ${JSON.stringify(character)}`;
      throw new CsvError(
        this.#at,
        `expected a comma or a line break after a quoted cell, ${found}`,
      );
    }
    const isStart = this.#state === "start";
    if (isStart) this.#cellAt = this.#at;
    if (character === '"') {
      if (!isStart) throw new CsvError(this.#at, "expected no quote inside a cell without quotes");
      this.#state = "quoted";
      return;
    }
    this.#state = "plain";
    this.#grow(character);
  }

  #quoted(character: string): void {
    if (character === '"') this.#state = "after-quote";
    else this.#grow(character);
    if (character === "\n") {
      this.#line += 1;
      this.#column = 1;
    } else this.#column += 1;
  }

  #grow(character: string): void {
    this.#cell += character;
    if (this.#cell.length > cellLengthMax) {
      throw new CsvError(this.#cellAt, `expected at most ${cellLengthMax} characters in a cell`);
    }
  }

  #endCell(): void {
    const at = this.#state === "start" ? this.#at : this.#cellAt;
    this.#row.push({ text: this.#cell, ...at });
    if (this.#row.length > rowCellsMax) {
      throw new CsvError(at, `expected at most ${rowCellsMax} cells in a row`);
    }
    this.#cell = "";
    this.#state = "start";
  }

  #endRow(): boolean {
    this.#endCell();
    this.#isReturn = false;
    this.#line += 1;
    this.#column = 1;
    return true;
  }
}
