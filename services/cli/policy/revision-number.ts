import { InvalidArgumentError } from "commander";

export function revisionNumber(text: string): bigint {
  if (/^\d+$/.test(text)) return BigInt(text);
  throw new InvalidArgumentError(`expected a revision number, found ${JSON.stringify(text)}`);
}
