import { readFileSync } from "node:fs";
import { type DescMessage, fromJson, type JsonValue, type MessageShape } from "@bufbuild/protobuf";
import { parse } from "yaml";
import { ConfigError } from "../io/config.ts";

/** A file, or standard input for `-`. */
export function readText(path: string): string {
  return readFileSync(path === "-" ? 0 : path, "utf8");
}

/** YAML or JSON with the protobuf JSON names. A field that does not exist is refused: it may be a typo. */
export function readMessage<Desc extends DescMessage>(
  path: string,
  schema: Desc,
): MessageShape<Desc> {
  const text = readText(path);
  try {
    return toMessage(text, schema);
  } catch (cause) {
    throw new ConfigError(path, [cause instanceof Error ? cause.message : String(cause)]);
  }
}

/** `parse` gives what JSON can say, as long as the text has no tags of its own; those are refused. */
function toMessage<Desc extends DescMessage>(text: string, schema: Desc): MessageShape<Desc> {
  const data: JsonValue = parse(text, { schema: "core" });
  return fromJson(schema, data);
}
