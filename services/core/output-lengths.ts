import type { PlacementRequest } from "./placement/request.ts";

/** Beyond it the kind that was not asked for the longest is forgotten. */
const KINDS_MAX = 10_000;
const WEIGHT_MIN = 0.02;

interface Learned {
  readonly attempts: number;
  readonly meanTokens: number;
}

export type OutputLengthsImage = readonly (readonly [kind: string, Learned])[];

/** How long answers are, learned per tenant, model and class. */
export class OutputLengths {
  readonly #byKind = new Map<string, Learned>();

  /** The request with its expected length, if it has none and its kind has one. */
  filledIn(request: PlacementRequest): PlacementRequest {
    if (request.outputTokensExpected !== undefined) return request;
    const learned = this.#byKind.get(kindOf(request));
    return learned === undefined
      ? request
      : { ...request, outputTokensExpected: learned.meanTokens };
  }

  learn(request: PlacementRequest, outputTokens: number): void {
    const kind = kindOf(request);
    const before = this.#byKind.get(kind) ?? { attempts: 0, meanTokens: 0 };
    const attempts = before.attempts + 1;
    const weight = Math.max(WEIGHT_MIN, 1 / attempts);
    const meanTokens = before.meanTokens + weight * (outputTokens - before.meanTokens);
    this.#byKind.delete(kind);
    this.#byKind.set(kind, { attempts, meanTokens });
    if (this.#byKind.size > KINDS_MAX) this.#forgetOldest();
  }

  image(): OutputLengthsImage {
    return [...this.#byKind];
  }

  restore(image: OutputLengthsImage): void {
    for (const [kind, learned] of image) this.#byKind.set(kind, learned);
  }

  #forgetOldest(): void {
    const [oldest] = this.#byKind.keys();
    if (oldest !== undefined) this.#byKind.delete(oldest);
  }
}

/** A line break is in no id. */
function kindOf({ tenant, model, class: serviceClass }: PlacementRequest): string {
  return `${tenant}\n${model}\n${serviceClass}`;
}
