import { SingleBar } from "cli-progress";

/** How far long work has come, on standard error; nothing where nobody looks. */
export interface Progress {
  /** `total` of 0 is unknown. */
  at(done: bigint | number, total: bigint | number): void;
  stop(): void;
}

export function openProgress(what: string): Progress {
  if (!process.stderr.isTTY) return { at: () => undefined, stop: () => undefined };
  const view = new SingleBar({
    format: `${what} [{bar}] {percentage} % | {value} of {total} | {duration_formatted}`,
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
    fps: 10,
  });
  let isShown = false;
  return {
    at: (done, total) => {
      const [value, end] = [Number(done), Math.max(Number(total), Number(done))];
      if (isShown) view.setTotal(end);
      else view.start(end, value);
      isShown = true;
      view.update(value);
    },
    stop: () => view.stop(),
  };
}
