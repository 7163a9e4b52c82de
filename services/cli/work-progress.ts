import { SingleBar } from "cli-progress";

/** How far long work has come, on standard error; nothing where nobody looks. */
export interface WorkProgress {
  /** `total` of 0 is unknown. */
  readonly at: (done: bigint | number, total: bigint | number) => void;
  stop(): void;
}

const updateMs = 100;

/** `what` is a word for the work, `items` for what is counted. */
export function openWorkProgress(what: string, items: string): WorkProgress {
  if (!process.stderr.isTTY) return { at: () => undefined, stop: () => undefined };
  const view = new SingleBar({
    format: `${what} [{bar}] {percentage} % | {value} of {total} ${items} | {perSecond}/s`,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    fps: 10,
  });
  const startedAt = performance.now();
  let shownAt = -Infinity;
  return {
    at: (done, total) => {
      const now = performance.now();
      if (now - shownAt < updateMs) return;
      const value = Number(done);
      const end = Math.max(Number(total), value);
      const perSecond = Math.round((value * 1_000) / Math.max(1, now - startedAt));
      if (shownAt === -Infinity) view.start(end, value, { perSecond });
      else view.setTotal(end);
      view.update(value, { perSecond });
      shownAt = now;
    },
    stop: () => view.stop(),
  };
}
