import type { Ask, Prospect } from "./prospect.ts";
import type { ModelChoice } from "./request.ts";
import { picoPerToken } from "./terms.ts";
import { rounded } from "./wording.ts";

/** What an alias wants of a pool that serves the model which is being tried. */

export function servesVersion({ served }: Prospect, { request }: Ask): boolean {
  const version = request.choice?.version;
  return version === undefined || served.version === version;
}

/** What is asked and what is found, where a token costs more at the pool than the alias allows. */
export function choiceCapAgainst(
  at: Prospect,
  ask: Ask,
): { readonly asked: string; readonly found: string } | undefined {
  const { choice } = ask.request;
  if (choice === undefined || !hasCap(choice) || at.served.price === undefined) return undefined;
  const { uncachedInputPicoPerToken, outputPicoPerToken } = picoPerToken(at, ask);
  return (
    above(choice.inputNanoPerTokenMax, uncachedInputPicoPerToken / 1_000, "input") ??
    above(choice.outputNanoPerTokenMax, outputPicoPerToken / 1_000, "output")
  );
}

/** The choice alone may reject pools that other requests of the kind find fit. */
export function isChoosy(choice: ModelChoice): boolean {
  return choice.version !== undefined || hasCap(choice);
}

function hasCap({ inputNanoPerTokenMax, outputNanoPerTokenMax }: ModelChoice): boolean {
  return (inputNanoPerTokenMax ?? outputNanoPerTokenMax) !== undefined;
}

function above(nanoMax: number | undefined, nano: number, what: string) {
  if (nanoMax === undefined || nano <= nanoMax) return undefined;
  return {
    asked: `at most ${rounded(nanoMax)} nano per token of ${what}`,
    found: rounded(nano),
  };
}
