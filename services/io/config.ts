import { readFileSync } from "node:fs";
import { parse } from "yaml";
import { z } from "zod";

/** A file or a setting that cannot be used: every mistake at once, each with its path. */
export class ConfigError extends Error {
  override name = "ConfigError";
  readonly mistakes: readonly string[];

  constructor(source: string, mistakes: readonly string[]) {
    super(`${source}:\n${mistakes.map((each) => `  ${each}`).join("\n")}`);
    this.mistakes = mistakes;
  }
}

/** Reads YAML or JSON and returns what the schema says, with nothing optional left. Throws `ConfigError`. */
export function readConfig<Schema extends z.ZodType>(
  path: string,
  schema: Schema,
): z.output<Schema> {
  // A file that is not there says nothing of what is in it: that is no ConfigError.
  const text = readFileSync(path, "utf8");
  let data: unknown;
  try {
    data = parse(text);
  } catch (cause) {
    throw new ConfigError(path, [cause instanceof Error ? cause.message : String(cause)]);
  }
  return checked(path, data, schema);
}

/** Checks data from anywhere against a schema. */
export function checked<Schema extends z.ZodType>(
  source: string,
  data: unknown,
  schema: Schema,
): z.output<Schema> {
  const result = schema.safeParse(data);
  if (result.success) return result.data;
  throw new ConfigError(source, mistakesIn(result.error));
}

/** `rows[3].when: expected array, received string`, one line per mistake. */
export function mistakesIn(error: z.ZodError): string[] {
  return error.issues.map(({ path, message }) => {
    const place = path
      .map((part, index) =>
        typeof part === "number" ? `[${part}]` : `${index > 0 ? "." : ""}${String(part)}`,
      )
      .join("");
    return place === "" ? message : `${place}: ${message}`;
  });
}

/** The only place that reads the environment. `TOKENGRID_GATEWAY_PORT` for `gateway-port`. */
export function fromEnvironment(name: string): string | undefined {
  const value = process.env[`TOKENGRID_${name.replaceAll("-", "_").toUpperCase()}`];
  return value === "" ? undefined : value;
}
