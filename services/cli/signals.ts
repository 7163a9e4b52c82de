/** Exit code of a process that was told twice. */
const impatientExit = 130;

/** Aborts at the first SIGINT or SIGTERM, so that everything can end well; the second one ends it at once. */
export function untilSignal(): AbortSignal {
  const stop = new AbortController();
  const onSignal = (): void => {
    if (stop.signal.aborted) process.exit(impatientExit);
    stop.abort();
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return stop.signal;
}
