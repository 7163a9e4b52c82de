import { z } from "zod";

/** Most models that an alias may stand for. */
export const aliasModelsMax = 16;

const nameSchema = z.string().min(1).max(128);

/** What tenants may ask for: the name of a model, without blanks, which nobody would see. */
export const aliasNameSchema = nameSchema.regex(/^[^\s\p{C}]+$/u, "expected no blanks");
const capSchema = z.number().min(0).max(1_000_000);

const modelSchema = z.strictObject({
  model: nameSchema,
  /** Only pools that serve this version. */
  version: nameSchema.exactOptional(),
  /** Most that a token may cost at the price in force, in CNY per million tokens. */
  inputCnyPerMillionMax: capSchema.exactOptional(),
  outputCnyPerMillionMax: capSchema.exactOptional(),
});

/** What the registry keeps of an alias: one model, or several in order of preference. */
export const aliasSchema = z.union([
  z.strictObject({ models: z.array(modelSchema).min(1).max(aliasModelsMax) }),
  modelSchema.transform((model) => ({ models: [model] })),
]);

export type AliasRecord = z.output<typeof aliasSchema>;

export type AliasModel = AliasRecord["models"][number];

/** A single model without conditions is kept as it always was. */
export function aliasValue({ models }: AliasRecord): z.input<typeof aliasSchema> {
  const [only, ...others] = models;
  return only !== undefined && others.length === 0 ? only : { models };
}
