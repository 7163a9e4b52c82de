import { randomFillSync } from "node:crypto";

const poolBytes = 10 * 512;
const pool = Buffer.alloc(poolBytes);
let used = poolBytes;

/** UUIDv7: sorts by the time it was made, which is given in ms since the epoch. */
export function uuidV7(nowMs: number): string {
  if (used === poolBytes) {
    randomFillSync(pool);
    used = 0;
  }
  const random = pool.toString("hex", used, used + 10);
  const variant = (8 + ((pool[used + 2] ?? 0) & 3)).toString(16);
  used += 10;
  const time = Math.floor(nowMs).toString(16).padStart(12, "0");
  const groups = [
    time.slice(0, 8),
    time.slice(8),
    `7${random.slice(0, 3)}`,
    `${variant}${random.slice(5, 8)}`,
    random.slice(8),
  ];
  return groups.join("-");
}
