import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ModelChoice, PassedOver, PlacementRequest } from "../core/placement/request.ts";
import type { ModelId } from "../core/units.ts";
import { fromMap } from "./field.ts";
import type * as gen from "./gen/tokengrid/v1/placement_pb.js";
import type { BytesReader } from "./protobuf-bytes.ts";
import { TooUnusual } from "./protobuf-bytes.ts";

/** How a request came to its class and model, as far as it says so. */
type Derived = Pick<PlacementRequest, "classSource" | "alias" | "choices">;

/** What is not said stays out, so that a request which says nothing is the same value as ever. */
export function toDerived(message: gen.PlaceRequest): Derived {
  const { classSource, modelAlias, modelChoices } = message;
  return {
    ...(classSource !== "" && { classSource }),
    ...(modelAlias !== "" && { alias: modelAlias }),
    ...(modelChoices.length > 0 && { choices: modelChoices.map(toChoice) }),
  };
}

export function fromDerived({
  classSource = "",
  alias = "",
  choices = [],
}: Derived): MessageInitShape<typeof gen.PlaceRequestSchema> {
  return { classSource, modelAlias: alias, modelChoices: choices.map(fromChoice) };
}

function toChoice(message: gen.ModelChoice): ModelChoice {
  const { modelId, version, inputNanoPerTokenMax, outputNanoPerTokenMax, isForbidden } = message;
  return {
    model: modelId as ModelId,
    version: version === "" ? undefined : version,
    inputNanoPerTokenMax,
    outputNanoPerTokenMax,
    isAllowed: !isForbidden,
  };
}

function fromChoice(choice: ModelChoice): MessageInitShape<typeof gen.ModelChoiceSchema> {
  const { inputNanoPerTokenMax, outputNanoPerTokenMax } = choice;
  return {
    modelId: choice.model,
    version: choice.version ?? "",
    ...(inputNanoPerTokenMax !== undefined && { inputNanoPerTokenMax }),
    ...(outputNanoPerTokenMax !== undefined && { outputNanoPerTokenMax }),
    isForbidden: !choice.isAllowed,
  };
}

export function fromPassedOver(
  each: PassedOver,
): MessageInitShape<typeof gen.PassedOverModelSchema> {
  return {
    modelId: each.model,
    version: each.version ?? "",
    reason: each.reason,
    poolsByFilter: fromMap(each.poolsByReason, (count) => count),
  };
}

/** Bounds of the contract. */
const choicesMax = 16;
const idBytesMax = 128;
const nanoPerTokenTag = { input: 3 * 8 + 1, output: 4 * 8 + 1 };

/** The same without a message in between. */
export function readChoice(reader: BytesReader): ModelChoice {
  let model = "";
  let version: string | undefined;
  let inputNanoPerTokenMax: number | undefined;
  let outputNanoPerTokenMax: number | undefined;
  let isAllowed = true;
  for (let next = reader.tag(); next !== 0; next = reader.tag()) {
    if (next === 1 * 8 + 2) model = reader.text(idBytesMax);
    else if (next === 2 * 8 + 2) version = reader.text(idBytesMax);
    else if (next === nanoPerTokenTag.input) inputNanoPerTokenMax = capIn(reader);
    else if (next === nanoPerTokenTag.output) outputNanoPerTokenMax = capIn(reader);
    else if (next === 5 * 8) isAllowed = reader.uint() === 0;
    else throw new TooUnusual("expected the usual form of a choice");
  }
  if (model === "") throw new TooUnusual("expected the model of a choice");
  return {
    model: model as ModelId,
    version,
    inputNanoPerTokenMax,
    outputNanoPerTokenMax,
    isAllowed,
  };
}

/** Throws `TooUnusual` above the bound. */
export function withChoice(
  choices: readonly ModelChoice[] | undefined,
  choice: ModelChoice,
): readonly ModelChoice[] {
  const all = [...(choices ?? []), choice];
  if (all.length <= choicesMax) return all;
  throw new TooUnusual("expected fewer choices");
}

function capIn(reader: BytesReader): number {
  const nano = reader.double();
  if (nano >= 0 && nano < Infinity) return nano;
  throw new TooUnusual("expected a cap of at least 0");
}
