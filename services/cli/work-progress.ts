import { SingleBar } from "cli-progress";

/** How far long work is, on standard error; nothing where nobody looks. */
export interface WorkProgress {
  readonly at: (done: number, total: number) => void;
  stop(): void;
}

const updateMs = 100;

/** `what` is a word for the work, `rows` for what is counted. */
export function openWorkProgress(what: string, rows: string): WorkProgress {
  if (!process.stderr.isTTY) return { at: () => undefined, stop: () => undefined };
  const view = new SingleBar({
    format: `${what} [{bar}] {percentage} % | {value} of {total} ${rows} | {perSecond}/s`,
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
      const perSecond = Math.round((done * 1_000) / Math.max(1, now - startedAt));
      if (shownAt === -Infinity) view.start(total, done, { perSecond });
      else view.update(done, { perSecond });
      shownAt = now;
    },
    stop: () => view.stop(),
  };
}
