import type { EngineFit } from "./engine-fit.ts";
import { fittedCoefficients } from "./engine-fit.ts";
import type { AgainstProfile, EngineProfile, Observed } from "./pool.ts";
import type { Instant } from "./units.ts";

/** A pool that gets no attempts for so long is no longer what it was known for. */
const IDLE_MS = 60_000;
const HALF_LIFE_MS = 600_000;
/** Times that nothing stands in for are known for so long. */
const TIMES_KNOWN_MS = 3_600_000;

/**
 * What is known of a pool that nobody is sent to. Who is found slow or failing gets no attempts that could show that he is
 * not any more; so what speaks for or against him fades, half of it in ten minutes, and he is tried again. It has faded up
 * to `since` already.
 */
export function faded(observed: Observed, since: Instant, now: Instant): Observed {
  const idleMs = now - Math.max(since, observed.observedAt + IDLE_MS);
  if (!(idleMs > 0)) return observed;
  const left = 2 ** (-idleMs / HALF_LIFE_MS);
  const areTimesKnown = now - observed.observedAt < TIMES_KNOWN_MS;
  const { delivery, fit, tpotRatio } = observed;
  return {
    ...observed,
    ttftMs: areTimesKnown ? observed.ttftMs : undefined,
    itlMs: areTimesKnown ? observed.itlMs : undefined,
    errorRatio: left * observed.errorRatio,
    ttftOffsetMs: left * observed.ttftOffsetMs,
    tpotRatio: 1 + left * (tpotRatio - 1),
    ttftAgainstProfile: nearer(observed.ttftAgainstProfile, left),
    tpotAgainstProfile: nearer(observed.tpotAgainstProfile, left),
    fit: fit && fadedFit(fit, left),
    delivery: { ...delivery, shortRatio: left * delivery.shortRatio },
  };
}

function nearer(found: AgainstProfile | undefined, left: number): AgainstProfile | undefined {
  if (found === undefined) return undefined;
  const { observedMs, declaredMs } = found;
  return { declaredMs, observedMs: declaredMs + left * (observedMs - declaredMs) };
}

/** Back to what the fit began from, and as much less sure. */
function fadedFit(fit: EngineFit, left: number): EngineFit {
  const { prior, profile } = fit;
  const coefficients: Partial<EngineProfile> = Object.fromEntries(
    fittedCoefficients.flatMap((name) =>
      name === "schedulingMs" ? [] : [[name, prior[name] + left * (profile[name] - prior[name])]],
    ),
  );
  return {
    ...fit,
    profile: { ...profile, ...coefficients },
    schedulingMs: left * fit.schedulingMs,
    information: fit.information.map((each) => left * each),
    weighted: fit.weighted.map((each) => left * each),
  };
}
