import { SingleBar } from "cli-progress";

/** How far a journal is read, on standard error; nothing where nobody looks. */
export interface ReadProgress {
  bytes(done: number, total: number, decisions: number): void;
  stop(): void;
}

const updateMs = 100;

export function openReadProgress(): ReadProgress {
  if (!process.stderr.isTTY) return { bytes: () => undefined, stop: () => undefined };
  const view = new SingleBar({
    format: "replay [{bar}] {percentage} % | {decisions} decisions | {perSecond}/s",
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    fps: 10,
  });
  const startedAt = performance.now();
  let shownAt = -Infinity;
  return {
    bytes: (done, total, decisions) => {
      const now = performance.now();
      if (now - shownAt < updateMs) return;
      const perSecond = Math.round((decisions * 1_000) / Math.max(1, now - startedAt));
      if (shownAt === -Infinity) view.start(total, done, { decisions, perSecond });
      else view.update(done, { decisions, perSecond });
      shownAt = now;
    },
    stop: () => view.stop(),
  };
}
