import type { EntryKind, Registry } from "../../io/registry.ts";
import { Failure } from "../outcome.ts";

/** Author of what comes with the product, so that a change by people can be told from it. */
export const presetAuthor = "preset";

/**
 * Writes an entry unless it is there already, the same to the letter, or somebody else has set it. True if it was
 * written.
 */
export async function writeEntry(
  registry: Registry,
  entry: { readonly kind: EntryKind; readonly key: string; readonly value: unknown },
): Promise<boolean> {
  const { kind, key } = entry;
  const value = JSON.stringify(entry.value);
  const current = await registry.get(kind, key);
  if (current !== undefined && current.author !== presetAuthor) return false;
  if (current?.value === value) return false;
  const baseRevision = current?.revision ?? 0;
  const outcome = await registry.set({
    kind,
    key,
    value,
    baseRevision,
    author: presetAuthor,
    comment: "",
  });
  if (outcome.kind === "conflict") {
    throw new Failure(`registry ${kind} ${key}: someone else changed it just now; start again`);
  }
  return true;
}
