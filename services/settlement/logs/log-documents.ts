import { z } from "zod";
import { canonicalJson } from "../../core/settlement/canonical.ts";
import type { Checkpoint } from "../../core/settlement/proof/checkpoint.ts";
import type { Hash } from "../../core/settlement/proof/merkle.ts";
import type { NoteKey, PublicKey } from "../../core/settlement/proof/note.ts";
import type { Chain } from "./document-chain.ts";
import type { LogId } from "./log-reader.ts";

/** What is kept of a checkpoint before it is signed. */
export interface KeptCheckpoint {
  readonly origin: string;
  readonly size: bigint;
  readonly root: Hash;
  /** With which it is signed. */
  readonly key: PublicKey;
}

/** A witness's signature of a checkpoint. */
export interface KeptCosignature {
  readonly size: bigint;
  readonly root: Hash;
  readonly timeSeconds: bigint;
  /** As it stands in the note. */
  readonly line: string;
}

export const checkpointKind = "checkpoint";
export const cosignatureKind = "cosignature";
export const rotationKind = "key-rotation";

const decimal = z.string().regex(/^\d+$/).transform(BigInt);

const checkpointSchema = z.strictObject({
  type: z.literal("checkpoint"),
  v: z.literal("1"),
  origin: z.string(),
  size: decimal,
  root: z.string(),
  key: z.string(),
});

const cosignatureSchema = z.strictObject({
  type: z.literal("cosignature"),
  v: z.literal("1"),
  size: decimal,
  root: z.string(),
  time_seconds: decimal,
  line: z.string(),
});

export function checkpointBody({ origin, size, root }: Checkpoint, key: PublicKey): string {
  return canonicalJson({ type: "checkpoint", v: 1n, origin, size, root, key });
}

export function toKeptCheckpoint(body: string): KeptCheckpoint {
  return checkpointSchema.parse(JSON.parse(body));
}

export function cosignatureBody({ size, root, timeSeconds, line }: KeptCosignature): string {
  return canonicalJson({
    type: "cosignature",
    v: 1n,
    size,
    root,
    time_seconds: timeSeconds,
    line,
  });
}

export function toKeptCosignature(body: string): KeptCosignature {
  const { size, root, time_seconds: timeSeconds, line } = cosignatureSchema.parse(JSON.parse(body));
  return { size, root, timeSeconds, line };
}

/** Checkpoints of a log, one after the other. */
export function checkpointsOf(log: LogId): Chain {
  return { kind: checkpointKind, name: log };
}

/** What a witness signed of a log, one after the other. */
export function cosignaturesOf(log: LogId, witness: NoteKey): Chain {
  return { kind: cosignatureKind, name: `${log} ${keyName(witness)}` };
}

export function rotationsOf(log: LogId): Chain {
  return { kind: rotationKind, name: log };
}

export function keyName({ name, id }: Pick<NoteKey, "name" | "id">): string {
  return `${name}+${id}`;
}
