import type { PlacementRequest } from "./placement/request.ts";

/** Beyond it the kind that was not asked for the longest is forgotten. */
const KINDS_MAX = 10_000;
const WEIGHT_MIN = 0.02;
/** What more requests are like says as much as so many attempts of the kind itself. */
const ATTEMPTS_OF_WIDER = 4;
/** A class of input lengths is this many times as long as the one before. */
const INPUT_CLASS_RATIO_LOG = Math.log(4);

interface Learned {
  readonly attempts: number;
  readonly meanTokens: number;
  /** Mean square of the distance to the mean. */
  readonly varianceTokens: number;
}

export type OutputLengthsImage = readonly (readonly [kind: string, Learned])[];

/**
 * How long answers are, learned per tenant, model and class, and among those by how long the prompt is. A kind with few
 * attempts leans on the wider ones: the tenant's, then all tenants' of the class, then all of the model.
 */
export class OutputLengths {
  readonly #byKind = new Map<string, Learned>();

  /** The request with its expected length and how far that scatters, if it has none and there is something to go by. */
  filledIn(request: PlacementRequest): PlacementRequest {
    if (request.outputTokensExpected !== undefined) return request;
    const expected = this.#expected(request);
    if (expected === undefined) return request;
    return {
      ...request,
      outputTokensExpected: expected.meanTokens,
      outputTokensDeviation: Math.sqrt(expected.varianceTokens),
    };
  }

  learn(request: PlacementRequest, outputTokens: number): void {
    for (const kind of kindsOf(request)) {
      const next = withOne(this.#byKind.get(kind), outputTokens);
      this.#byKind.delete(kind);
      this.#byKind.set(kind, next);
      if (this.#byKind.size > KINDS_MAX) this.#forgetOldest();
    }
  }

  image(): OutputLengthsImage {
    return [...this.#byKind];
  }

  restore(image: OutputLengthsImage): void {
    for (const [kind, learned] of image) this.#byKind.set(kind, learned);
  }

  /** From the widest kind to the narrowest, each moves what is expected as far as its attempts carry. */
  #expected(request: PlacementRequest): Learned | undefined {
    let expected: Learned | undefined;
    for (const kind of kindsOf(request)) {
      const learned = this.#byKind.get(kind);
      if (learned !== undefined) expected = leaning(learned, expected);
    }
    return expected;
  }

  #forgetOldest(): void {
    const [oldest] = this.#byKind.keys();
    if (oldest !== undefined) this.#byKind.delete(oldest);
  }
}

function withOne(before: Learned | undefined, tokens: number): Learned {
  if (before === undefined) return { attempts: 1, meanTokens: tokens, varianceTokens: 0 };
  const attempts = before.attempts + 1;
  const weight = Math.max(WEIGHT_MIN, 1 / attempts);
  const off = tokens - before.meanTokens;
  return {
    attempts,
    meanTokens: before.meanTokens + weight * off,
    varianceTokens: (1 - weight) * (before.varianceTokens + weight * off * off),
  };
}

/** The mean of two groups, and the variance over both, the distance of their means included. */
function leaning(own: Learned, wider: Learned | undefined): Learned {
  if (wider === undefined) return own;
  const part = own.attempts / (own.attempts + ATTEMPTS_OF_WIDER);
  const apart = own.meanTokens - wider.meanTokens;
  return {
    attempts: own.attempts,
    meanTokens: wider.meanTokens + part * apart,
    varianceTokens:
      part * own.varianceTokens +
      (1 - part) * wider.varianceTokens +
      part * (1 - part) * apart * apart,
  };
}

/** The widest first. A line break is in no id. */
function kindsOf({ tenant, model, class: serviceClass, inputTokens }: PlacementRequest): string[] {
  const inputClass = Math.round(Math.log(Math.max(1, inputTokens)) / INPUT_CLASS_RATIO_LOG);
  const ofClass = `${model}\n${serviceClass}`;
  const ofTenant = `${ofClass}\n${tenant}`;
  return [model, ofClass, ofTenant, `${ofTenant}\n${inputClass}`];
}
