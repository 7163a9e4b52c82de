import { InvalidArgumentError } from "commander";
import { grouped } from "./print.ts";

/** How many of a list are wanted. */
export function limitOf(most: number): (text: string) => number {
  return (text) => {
    const limit = /^\d{1,9}$/.test(text) ? Number(text) : 0;
    if (limit >= 1 && limit <= most) return limit;
    throw new InvalidArgumentError(
      `expected a number from 1 to ${grouped(most)}, found ${JSON.stringify(text)}`,
    );
  };
}
