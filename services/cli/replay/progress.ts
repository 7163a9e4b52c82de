import { SingleBar } from "cli-progress";
import { grouped, span } from "../print.ts";

/** How far a replay is. Written to standard error, so that a report in JSON can be piped. */
export interface Progress {
  /** One more request is over. */
  answered(isOk: boolean): void;
  stop(): void;
}

/** Between two lines where there is no terminal to redraw. */
const lineIntervalMs = 10_000;

/** `etaMs` says how much of the run is left: a recording knows, a count of requests only guesses. */
export function openProgress(options: {
  readonly total: number;
  readonly etaMs: () => number;
}): Progress {
  return process.stderr.isTTY ? bar(options) : lines(options);
}

function bar({ total, etaMs }: { total: number; etaMs: () => number }): Progress {
  const startedAt = performance.now();
  let errors = 0;
  const view = new SingleBar({
    format:
      "replay [{bar}] {percentage} % | {value}/{total} | {elapsed}, {left} left | {errors} errors",
    stream: process.stderr,
    hideCursor: true,
    fps: 5,
  });
  const payload = () => ({
    elapsed: span(performance.now() - startedAt),
    left: span(etaMs()),
    errors,
  });
  view.start(total, 0, payload());
  return {
    answered: (isOk) => {
      if (!isOk) errors += 1;
      view.increment(1, payload());
    },
    stop: () => view.stop(),
  };
}

function lines({ total, etaMs }: { total: number; etaMs: () => number }): Progress {
  const startedAt = performance.now();
  let [answered, errors] = [0, 0];
  const write = () => {
    const elapsed = span(performance.now() - startedAt);
    process.stderr.write(
      `replay: ${grouped(answered)} of ${grouped(total)} answered, ${grouped(errors)} errors, ` +
        `${elapsed} gone, ${span(etaMs())} left\n`,
    );
  };
  const timer = setInterval(write, lineIntervalMs);
  return {
    answered: (isOk) => {
      answered += 1;
      if (!isOk) errors += 1;
    },
    stop: () => {
      clearInterval(timer);
      write();
    },
  };
}
