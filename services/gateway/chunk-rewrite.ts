import { asciiJson, edited, scanObject } from "./json-text.ts";
import { isObject, type JsonObject } from "./json-value.ts";
import { hasIds, withoutIds } from "./token-ids.ts";
import { isMalformedUsage } from "./usage-shape.ts";

/** How a pool's chunks differ from what the client shall see. */
export interface ChunkRewrite {
  /** The name by which the tenant asked for the model. */
  readonly alias: string;
  /**
   * `none`: the client asked for no counts. `final`: one chunk with them, `null` in all others.
   * `continuous`: as the engine says them.
   */
  readonly usage: "none" | "final" | "continuous";
  /** False where the client gets the whole answer at its end: then no event is made for it. */
  readonly isShown: boolean;
  /** True where the client asked for the ids of tokens. Absent: they are kept from it. */
  readonly showsIds?: boolean;
}

const limits = { depthMax: 64, keysMax: 10_000 };

/**
 * The chunk as the client shall see it, cut into the pool's own bytes; undefined if it is none of its business. A
 * member `error` that is null goes: some clients drop the text beside it. Counts that are none go too.
 */
export function rewritten(
  json: string,
  chunk: JsonObject,
  { alias, usage, isShown, showsIds = false }: ChunkRewrite,
): string | undefined {
  if (!isShown) return "";
  const hasChoices = Array.isArray(chunk["choices"]) && chunk["choices"].length > 0;
  const isMalformed = isMalformedUsage(chunk["usage"]);
  const isHidden = usage === "none" || isMalformed;
  if (!hasChoices && isObject(chunk["usage"]) && isHidden) return undefined;
  const changes = new Map<string, string | undefined>();
  if ("model" in chunk && chunk["model"] !== alias) changes.set("model", asciiJson(alias));
  if ("error" in chunk) changes.set("error", undefined);
  if ("usage" in chunk && usage === "none") changes.set("usage", undefined);
  else if (isMalformed) changes.set("usage", "null");
  if (hasChoices && isObject(chunk["usage"]) && usage === "final") changes.set("usage", "null");
  if (!showsIds && hasIds(chunk)) {
    changes.set("prompt_token_ids", undefined);
    changes.set("choices", asciiJson(withoutIds(chunk)["choices"] ?? []));
  }
  if (changes.size === 0) return json;
  const scan = scanObject(json, limits);
  return scan.kind === "object" ? edited(json, scan.members, changes) : json;
}
