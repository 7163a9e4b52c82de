import type { AliasModel } from "../io/aliases.ts";

const capNames = {
  in: "inputCnyPerMillionMax",
  out: "outputCnyPerMillionMax",
} as const;

/**
 * `MODEL[@VERSION][,in=CNY][,out=CNY]`, caps in CNY per million tokens. A text says what was expected and found. A model
 * whose own name has an `@` at its end takes a version only after another.
 */
export function choiceOf(text: string): AliasModel | string {
  const [named = "", ...caps] = text.split(",");
  const at = named.lastIndexOf("@");
  const model = at < 0 ? named : named.slice(0, at);
  const version = at < 0 ? undefined : named.slice(at + 1);
  if (model === "" || version === "") {
    return `expected MODEL[@VERSION][,in=CNY][,out=CNY], found ${JSON.stringify(text)}`;
  }
  let choice: AliasModel = version === undefined ? { model } : { model, version };
  for (const each of caps) {
    const [, name, cny] = /^(in|out)=(\d+(?:\.\d+)?)$/.exec(each) ?? [];
    if (name === undefined) {
      return `expected in=CNY or out=CNY per million tokens, found ${JSON.stringify(each)}`;
    }
    choice = { ...choice, [capNames[name as keyof typeof capNames]]: Number(cny) };
  }
  return choice;
}

/** The other way. */
export function choiceText({ model, version, ...caps }: AliasModel): string {
  const { inputCnyPerMillionMax, outputCnyPerMillionMax } = caps;
  return [
    version === undefined ? model : `${model}@${version}`,
    ...(inputCnyPerMillionMax === undefined ? [] : [`in=${inputCnyPerMillionMax}`]),
    ...(outputCnyPerMillionMax === undefined ? [] : [`out=${outputCnyPerMillionMax}`]),
  ].join(",");
}
