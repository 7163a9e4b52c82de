import type { InstantUs } from "../core/units.ts";

/** Records that share one answer to when the first of them was opened. */
const groupRecords = 1_000;

/**
 * Closed records that the ledger has not confirmed, in the order of the spool. Knows when the first of them was opened, by
 * the thousand, so that a million of them cost nothing.
 */
export class Unconfirmed {
  readonly #groups: { records: number; left: number; oldestUs: InstantUs }[] = [];

  add(openedUs: InstantUs): void {
    const last = this.#groups.at(-1);
    if (last === undefined || last.records >= groupRecords) {
      this.#groups.push({ records: 1, left: 1, oldestUs: openedUs });
      return;
    }
    last.records += 1;
    last.left += 1;
    if (openedUs < last.oldestUs) last.oldestUs = openedUs;
  }

  /** The oldest ones. */
  confirm(records: number): void {
    let confirmed = records;
    while (confirmed > 0) {
      const [first] = this.#groups;
      if (first === undefined) return;
      const taken = Math.min(confirmed, first.left);
      first.left -= taken;
      confirmed -= taken;
      if (first.left === 0) this.#groups.shift();
    }
  }

  /** Or earlier; undefined if there are none. */
  get oldestUs(): InstantUs | undefined {
    return this.#groups.reduce<InstantUs | undefined>(
      (least, { oldestUs }) => (least === undefined || oldestUs < least ? oldestUs : least),
      undefined,
    );
  }
}
