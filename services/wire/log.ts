import { fromHex, toHex } from "../core/settlement/proof/bytes.ts";
import type { Hash } from "../core/settlement/proof/merkle.ts";
import { LogKeyRole } from "./gen/tokengrid/v1/log_pb.js";
import { words } from "./field.ts";
import { toConnectError } from "./errors.ts";

/** What a counterparty's key is for. */
export const logKeyRoles = words<"witness" | "log", LogKeyRole>({
  witness: LogKeyRole.WITNESS,
  log: LogKeyRole.LOG,
});

const hashBytes = 32;

export function fromHash(hash: Hash): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(fromHex(hash) ?? []);
}

/** Hashes that stand one behind the other in hex. */
export function fromHashes(hashes: string): Uint8Array<ArrayBuffer> {
  return fromHash(hashes);
}

/** Throws INVALID_ARGUMENT unless all of them have 32 bytes. */
export function toHashes(field: string, hashes: readonly Uint8Array[]): Hash[] {
  return hashes.map((each) => {
    if (each.length === hashBytes) return toHex(each);
    throw toConnectError(
      "BAD_REQUEST",
      `${field}: expected ${hashBytes} bytes, found ${each.length}`,
      {
        metadata: { field },
      },
    );
  });
}
