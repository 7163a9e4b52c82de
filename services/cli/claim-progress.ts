import { SingleBar } from "cli-progress";

/** How far long work is, on standard error; nothing where nobody looks. */
export interface Progress {
  at(done: number, total: number, words: string): void;
  stop(): void;
}

const updateMs = 100;

export function openProgress(name: string): Progress {
  if (!process.stderr.isTTY) return { at: () => undefined, stop: () => undefined };
  const view = new SingleBar({
    format: `${name} [{bar}] {percentage} % | {words}`,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    fps: 10,
  });
  let shownAt = -Infinity;
  return {
    at: (done, total, words) => {
      const now = performance.now();
      if (now - shownAt < updateMs) return;
      if (shownAt === -Infinity) view.start(total, done, { words });
      else view.update(done, { words });
      shownAt = now;
    },
    stop: () => view.stop(),
  };
}
