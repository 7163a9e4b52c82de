import { readFileSync, statSync } from "node:fs";
import { type DescMessage, fromJson, type JsonValue, type MessageShape } from "@bufbuild/protobuf";
import { parse } from "yaml";
import { ConfigError } from "../io/config.ts";
import { Failure } from "./outcome.ts";

/** A file, or standard input for `-`. Other encodings are refused: their characters would be replaced in silence. */
export function readText(path: string): string {
  if (path !== "-" && statSync(path).isDirectory()) {
    throw new Failure(`${path}: expected a file, found a folder`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(readFileSync(path === "-" ? 0 : path));
  } catch (cause) {
    if (cause instanceof TypeError) throw new ConfigError(path, ["expected text in UTF-8"]);
    throw cause;
  }
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
