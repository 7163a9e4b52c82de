import type { Grant } from "./grants.ts";
import type { EngineConditions } from "./engine-fit.ts";
import type { AttemptOutcome } from "./lease.ts";
import { LoadHistory, type LoadHistoryImage, type LoadNow } from "./load-history.ts";
import { observe } from "./observe.ts";
import { OutputLengths, type OutputLengthsImage } from "./output-lengths.ts";
import { loadOf, type Load } from "./placement/load.ts";
import type { Policy } from "./placement/policy.ts";
import type { PlacementRequest } from "./placement/request.ts";
import type { Observed, Pool, Served } from "./pool.ts";
import { PrefixIndex, type PrefixIndexImage } from "./prefixes.ts";
import { cacheBelief } from "./trust.ts";
import type { Instant, ModelId, PoolId } from "./units.ts";

export interface ForesightImage {
  readonly lengths: OutputLengthsImage;
  readonly prefixes: PrefixIndexImage;
  readonly history: LoadHistoryImage;
}

/** What one replica learns of its attempts, to foretell the next: lengths of answers, prompts that are cached, loads. */
export class Foresight {
  readonly #lengths = new OutputLengths();
  readonly #prefixes = new PrefixIndex();
  readonly #history = new LoadHistory();

  /** The request with what it will probably take: the length of its answer, and what of its prompt is cached where. */
  filledIn(request: PlacementRequest, poolOf: (id: PoolId) => Pool | undefined): PlacementRequest {
    const filled = this.#lengths.filledIn(request);
    if ((request.prefixBlocks?.length ?? 0) === 0 || request.cachedTokensAt.size > 0) return filled;
    const cachedTokensAt = this.#prefixes.tokensAt(request);
    for (const [id, tokens] of cachedTokensAt) {
      const served = poolOf(id)?.served.get(request.model);
      const believed = served === undefined ? 0 : tokens * cacheBelief(served.observed);
      if (believed < 1) cachedTokensAt.delete(id);
      else cachedTokensAt.set(id, believed);
    }
    return { ...filled, cachedTokensAt };
  }

  /** Prompts whose first token is due are cached. */
  pass(now: Instant): void {
    this.#prefixes.pass(now);
  }

  /** Its load is another now. */
  changed(pool: Pool, model: ModelId, now: Instant): void {
    const served = pool.served.get(model);
    if (served === undefined) return;
    this.#history.note(pool.id, model, nowOf(loadOf(pool, served, now), served), now);
  }

  /** A lease was granted: called before its pool is another value. */
  granted({ lease, decision }: Pick<Grant, "lease" | "decision">, now: Instant): void {
    const { request } = decision;
    const cachedTokens = Math.min(request.inputTokens, request.cachedTokensAt.get(lease.pool) ?? 0);
    this.#history.begin(lease, request.inputTokens - cachedTokens, now);
    if ((request.prefixBlocks?.length ?? 0) === 0) return;
    const { evidence, expected } = decision.chosen;
    const served = evidence.served.get(lease.model);
    if (served === undefined) return;
    this.#prefixes.granted(lease, request, {
      now,
      ttftMs: expected.ttftMs,
      kvTokens: loadOf(evidence, served, now).kvTokensTotal,
      foretoldTokens: expected.cachedTokens / cacheBelief(served.observed),
    });
  }

  /** The engine began anew, and its cache is empty. */
  restarted(pool: PoolId, model: ModelId): void {
    this.#prefixes.forget(pool, model);
  }

  /**
   * A lease is over; called before its pool is another value. Returns what the model at the pool is known for now, if
   * the attempt told of it.
   */
  ended(
    { lease, decision }: Grant,
    outcome: AttemptOutcome | undefined,
    context: {
      readonly before: Observed | undefined;
      readonly policy: Policy;
      readonly now: Instant;
    },
  ): Observed | undefined {
    const { now, policy, before } = context;
    const mean = this.#history.end(lease.id, lease.pool, lease.model, now);
    const hadFirstToken =
      outcome !== undefined && (outcome.ttftMs !== undefined || outcome.result === "ok");
    const cachedTokensForetold = this.#prefixes.ended(lease.id, hadFirstToken) ?? 0;
    if (outcome === undefined) return undefined;
    const { request, chosen } = decision;
    const { evidence, expected } = chosen;
    const served = evidence.served.get(lease.model);
    if (served === undefined) return undefined;
    this.learnLength(request, outcome, served.contextTokensMax);
    const own = request.inputTokens + expected.outputTokens / 2;
    const others = nowOf(loadOf(evidence, served, decision.decidedAt), served);
    return observe(before, outcome, {
      now,
      expected,
      served,
      share: evidence.share,
      others: perReplica(others, served, own),
      during: mean && withOne(perReplica(mean, served, own)),
      cachedTokensForetold,
      policy,
      objectives: policy.objectives[request.class],
    });
  }

  /** How long an answer is does not hang on who gave it: what another world saw is learned here as well. */
  learnLength(
    request: PlacementRequest,
    { outputTokens, result }: AttemptOutcome,
    contextTokensMax: number,
  ): void {
    if (outputTokens === undefined || result !== "ok") return;
    const tokensMax = request.outputTokensMax ?? contextTokensMax;
    this.#lengths.learn(request, Math.min(outputTokens, tokensMax));
  }

  image(): ForesightImage {
    return {
      lengths: this.#lengths.image(),
      prefixes: this.#prefixes.image(),
      history: this.#history.image(),
    };
  }

  restore({ lengths, prefixes, history }: ForesightImage): void {
    this.#lengths.restore(lengths);
    this.#prefixes.restore(prefixes);
    this.#history.restore(history);
  }
}

/** KV of what came since the report is taken to be like that of those who were there. */
function nowOf(load: Load, { report, promptTokensPerSecond }: Served): LoadNow {
  const told = report?.runningRequests?.value ?? 0;
  const grown = told > 0 ? Math.max(0, 1 + load.unreported / told) : 1;
  const kvTokens = (load.kvTokensUsed ?? 0) * grown;
  return {
    running: Math.min(load.inFlight, load.runningWhenFull ?? Infinity),
    kvTokens: Math.min(kvTokens, load.kvTokensTotal ?? Infinity),
    prefillTokensPerMs: (promptTokensPerSecond ?? 0) / 1_000,
  };
}

/** Without a figure of the KV cache all are taken to be like this request. */
function perReplica(
  load: LoadNow,
  { report, replicas }: Served,
  ownTokens: number,
): EngineConditions {
  const isKnown = report?.kvUsedRatio !== undefined;
  return {
    batch: load.running / replicas,
    kvTokens: (isKnown ? load.kvTokens : load.running * ownTokens) / replicas,
    prefillTokensPerMs: load.prefillTokensPerMs / replicas,
  };
}

/** The attempt was in it all the time. */
function withOne(conditions: EngineConditions): EngineConditions {
  return { ...conditions, batch: Math.max(1, conditions.batch) };
}
