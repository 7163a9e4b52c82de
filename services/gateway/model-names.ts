import { CHOICES_MAX } from "../core/placement/model-choice.ts";
import type { ModelChoice } from "../core/placement/request.ts";
import type { ModelId } from "../core/units.ts";
import type { AliasModel, AliasRecord } from "../io/aliases.ts";
import type { KeyRecord } from "../io/keys.ts";
import { Refusal } from "./errors.ts";

/** What a client's name for a model stands for. */
export interface NamedModel {
  /** The one that is wanted most, of those that the key may use. */
  readonly model: ModelId;
  /** The name and all it stands for, where there is anything to choose or to keep to. */
  readonly alias?: string;
  readonly choices?: readonly ModelChoice[];
}

/**
 * The models behind a name; the name itself where there is no alias. A key that lists the alias may use all that it
 * stands for, now and later; else only the models that it lists. Throws `Refusal` if the key may use none.
 */
export function namedModel(
  name: string,
  alias: AliasRecord | undefined,
  { models: listed }: Pick<KeyRecord, "models">,
): NamedModel {
  const wanted = alias?.models ?? [{ model: name }];
  const mayAll = listed.length === 0 || listed.includes(name);
  const choices = wanted
    .slice(0, CHOICES_MAX)
    .map((each) => toChoice(each, mayAll || listed.includes(each.model)));
  const first = choices.find(({ isAllowed }) => isAllowed);
  if (first === undefined)
    throw new Refusal("NOT_ALLOWED", refusalOf(name, wanted), { param: "model" });
  const hasChoice = choices.length > 1 || wanted.some((each) => Object.keys(each).length > 1);
  return hasChoice ? { model: first.model, alias: name, choices } : { model: first.model };
}

function toChoice(wanted: AliasModel, isAllowed: boolean): ModelChoice {
  const { model, version, inputCnyPerMillionMax, outputCnyPerMillionMax } = wanted;
  return {
    model: model as ModelId,
    version,
    inputNanoPerTokenMax: perToken(inputCnyPerMillionMax),
    outputNanoPerTokenMax: perToken(outputCnyPerMillionMax),
    isAllowed,
  };
}

/** CNY per million tokens in nano-CNY per token. */
function perToken(cnyPerMillion: number | undefined): number | undefined {
  return cnyPerMillion === undefined ? undefined : cnyPerMillion * 1_000;
}

function refusalOf(name: string, wanted: readonly AliasModel[]): string {
  if (wanted.length === 1) return "the API key may not use this model";
  const models = wanted.map(({ model }) => model).join(", ");
  return `the API key may use none of the models that ${name} stands for: ${models}`;
}
