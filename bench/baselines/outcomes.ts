import type { AttemptOutcome, AttemptResult } from "../../services/core/lease.ts";

/** Results that are the pool's fault. */
const failures: Readonly<Record<AttemptResult, boolean>> = {
  ok: false,
  "connect-error": true,
  timeout: true,
  "upstream-4xx": false,
  "upstream-5xx": true,
  reset: true,
  cancelled: false,
};

/** A caller who hangs up, and his own mistakes, are no failures of the pool. */
export function isFailure({ result }: AttemptOutcome): boolean {
  return failures[result];
}
