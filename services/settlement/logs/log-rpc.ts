import type { ConnectRouter, ContextValues, ServiceImpl } from "@connectrpc/connect";
import { originOf } from "../../core/settlement/proof/checkpoint.ts";
import { formatKey, noteKey, parseKey, type NoteKey } from "../../core/settlement/proof/note.ts";
import { formatTlogProof } from "../../core/settlement/proof/tlog-proof.ts";
import { parseAddCheckpoint } from "../../core/settlement/proof/witness.ts";
import type { InstantUs } from "../../core/units.ts";
import type { Leaf, LedgerStore } from "../../io/ledger-store.ts";
import { sha256 } from "../../io/signing.ts";
import type { Witness } from "../../io/witness.ts";
import { toConnectError } from "../../wire/errors.ts";
import {
  LogService,
  type GetInclusionProofRequest,
  type TrustKeyRequest,
} from "../../wire/gen/tokengrid/v1/log_pb.js";
import { fromHash, fromHashes, logKeyRoles } from "../../wire/log.ts";
import { pairOf, requireOperator } from "../caller.ts";
import { keyRoles, type LogKeys } from "./log-keys.ts";
import { LogReader, type LogId } from "./log-reader.ts";
import type { Sealer } from "./sealer.ts";
import type { Writer } from "../ingest/writer.ts";

/** Leaves of a page that does not say how many it wants. */
const listLeavesDefault = 100;

export interface LogParts {
  readonly store: LedgerStore;
  readonly writer: Writer;
  readonly sealer: Sealer;
  readonly logKeys: LogKeys;
  /** The operator as witness of others' logs. Undefined: it is none. */
  readonly witness: Witness | undefined;
  /** With which the operator signs its own logs. */
  readonly publicKey: string;
  readonly domain: string;
  readonly nowUs: () => InstantUs;
}

/** LogService. */
export function serveLogs(router: ConnectRouter, parts: LogParts): void {
  router.service(LogService, { ...proofs(parts), ...signatures(parts) });
}

/** What the log holds, and how that is shown. */
function proofs({ store, sealer }: LogParts) {
  const reader = new LogReader(store);
  return {
    async getCheckpoint({ logId }, { values }) {
      return { checkpoint: noteOf(sealer, allowed(values, logId)) };
    },
    async getInclusionProof(request, { values }) {
      const log = allowed(values, request.logId);
      const leaf = await leafOf(store, log, request);
      const checkpoint = noteOf(sealer, log);
      const size = sealer.logs.get(log)?.latest?.size ?? 0n;
      if (leaf.index >= size) {
        const message = `log_id: expected a checkpoint that covers leaf ${leaf.index}, found one of ${size} leaves`;
        throw toConnectError("UNSATISFIABLE", message, { metadata: { field: "log_id" } });
      }
      const { index } = leaf;
      const path = await reader.inclusion(log, index, size);
      return { leaf: fromLeaf(leaf), tlogProof: formatTlogProof({ index, path, checkpoint }) };
    },
    async getConsistencyProof({ logId, oldSize, size }, { values }) {
      const log = allowed(values, logId);
      const has = (await store.logs()).get(log) ?? 0n;
      if (oldSize > size || size > has) {
        const message = `size: expected ${oldSize} to ${has}, found ${size}`;
        throw toConnectError("BAD_REQUEST", message, { metadata: { field: "size" } });
      }
      return { hashes: (await reader.consistency(log, oldSize, size)).map(fromHash) };
    },
    async listLeaves({ logId, fromIndex, limit }, { values }) {
      const log = allowed(values, logId);
      const count = limit === 0 ? listLeavesDefault : limit;
      return { leaves: (await store.leaves(log, fromIndex, count)).map(fromLeaf) };
    },
    async getTile({ logId, level, index }, { values }) {
      const tile = await store.tile(allowed(values, logId), level, index);
      if (tile !== undefined) return { hashes: fromHashes(tile.hashes) };
      throw toConnectError("NOT_FOUND", `index: tile ${index} of level ${level} is not full`);
    },
  } satisfies Partial<ServiceImpl<typeof LogService>>;
}

/** Who signs what. */
function signatures(parts: LogParts) {
  const { sealer } = parts;
  return {
    async listLogs(_request, { values }) {
      return { logs: await statesOf(parts, pairOf(values)) };
    },
    async sealLogs(_request, { values }) {
      requireOperator(values);
      await sealer.round();
      return { logs: await statesOf(parts, undefined) };
    },
    async addCosignature({ logId, checkpoint }, { values }) {
      const log = allowed(values, logId);
      const mistake = await sealer.hear(log, checkpoint);
      if (mistake !== undefined) {
        const metadata = { field: "checkpoint" };
        throw toConnectError("BAD_REQUEST", `checkpoint: ${mistake}`, { metadata });
      }
      const sealed = sealer.logs.get(log);
      return { signedSize: sealed?.latest?.size ?? 0n, refusal: sealed?.refusal ?? "" };
    },
    async addCheckpoint({ body }, { values }) {
      return addCheckpoint(parts, body, values);
    },
    async trustKey(request, { values }) {
      requireOperator(values);
      await trust(parts, request);
      return {};
    },
    async listKeys({ logId }, { values }) {
      return keysOf(parts, allowed(values, logId));
    },
  } satisfies Partial<ServiceImpl<typeof LogService>>;
}

function keysOf({ logKeys, witness, publicKey, domain }: LogParts, log: LogId) {
  const own = noteKey({ name: originOf(domain, log), type: "signature", publicKey }, sha256);
  const keys = keyRoles.flatMap((role) =>
    logKeys.of(log, role).map(({ key }) => ({
      role: logKeyRoles.fromWord(role),
      key: formatKey(key),
    })),
  );
  const witnessKey = witness === undefined ? "" : formatKey(witness.key);
  return { logKey: formatKey(own), witnessKey, keys };
}

/** To a vendor, another's log is as unknown as none. */
function allowed(values: ContextValues, logId: string): LogId {
  const own = pairOf(values);
  if (own !== undefined && own !== logId) {
    throw toConnectError("NOT_ALLOWED", `expected log ${own}, found ${logId}`);
  }
  return logId as LogId;
}

/** Of all logs, or of one. */
async function statesOf(parts: LogParts, own: LogId | undefined) {
  const sizes = await parts.store.logs();
  // Also what the ledger has lost as a whole.
  const known = new Set([...sizes.keys(), ...parts.sealer.logs.keys()]);
  const logs = [...known].toSorted().filter((log) => own === undefined || own === log);
  return logs.map((log) => stateOf(parts, log, sizes.get(log) ?? 0n));
}

function stateOf({ sealer, domain }: LogParts, log: LogId, size: bigint) {
  const sealed = sealer.logs.get(log);
  const since = sealer.unwitnessedSinceUs(log);
  return {
    logId: log,
    origin: originOf(domain, log),
    size,
    signedSize: sealed?.latest?.size ?? 0n,
    witnessedSize: sealed?.witnessedSize ?? 0n,
    refusal: sealed?.refusal ?? "",
    ...(since === undefined ? {} : { unwitnessedSinceUs: since }),
  };
}

function noteOf(sealer: Sealer, log: LogId): string {
  const note = sealer.logs.get(log)?.note;
  if (note !== undefined) return note;
  throw toConnectError("NOT_FOUND", `log_id: nothing of ${log} is signed yet`);
}

async function leafOf(
  store: LedgerStore,
  log: LogId,
  { leaf }: GetInclusionProofRequest,
): Promise<Leaf> {
  if (leaf.case === "name") {
    const { kind, ref } = leaf.value;
    const found = await store.leafOf(log, kind, ref);
    if (found !== undefined) return found;
    throw toConnectError("NOT_FOUND", `name: log ${log} has no leaf ${kind} ${ref}`);
  }
  const index = leaf.value ?? 0n;
  const [found] = await store.leaves(log, index, 1);
  if (found !== undefined) return found;
  throw toConnectError("NOT_FOUND", `index: log ${log} has no leaf ${index}`);
}

function fromLeaf({ index, kind, ref, text }: Leaf) {
  return { index, kind, ref, text };
}

/** A vendor brings its own log alone. */
async function addCheckpoint({ witness, logKeys }: LogParts, body: string, values: ContextValues) {
  const own = pairOf(values);
  if (witness === undefined) {
    throw toConnectError("NOT_OFFERED", "the operator has no key as a witness");
  }
  const request = parseAddCheckpoint(body);
  if (typeof request === "string") return { status: 400, reason: request };
  const owner = logKeys.ownLog(request.checkpoint.origin)?.log;
  // To a vendor, another's log is as unknown as none.
  if (owner === undefined || (own !== undefined && own !== owner)) {
    return { status: 404, reason: `nobody knows the log ${request.checkpoint.origin}` };
  }
  return witness.witness(request);
}

async function trust(
  { logKeys, writer, nowUs }: LogParts,
  request: TrustKeyRequest,
): Promise<void> {
  const { logId, role: wireRole, key: text, isWithdrawn } = request;
  const role = logKeyRoles.toWord("role", wireRole);
  const key = parseKey(text, sha256);
  if (typeof key === "string" || key.type !== typeByRole[role]) {
    const found = typeof key === "string" ? key : `key: expected that of a ${role}, found another`;
    throw toConnectError("BAD_REQUEST", found, { metadata: { field: "key" } });
  }
  const owner = logKeys.ownLog(key.name)?.log;
  if (role === "log" && owner !== undefined && owner !== logId) {
    const message = `key: the log ${key.name} is that of ${owner}`;
    throw toConnectError("BAD_REQUEST", message, { metadata: { field: "key" } });
  }
  await logKeys.trust(writer, { log: logId as LogId, role, key, isWithdrawn, atUs: nowUs() });
}

const typeByRole: Readonly<Record<(typeof keyRoles)[number], NoteKey["type"]>> = {
  witness: "cosignature",
  log: "signature",
};
