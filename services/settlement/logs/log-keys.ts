import { z } from "zod";
import { canonicalJson } from "../../core/settlement/canonical.ts";
import { formatKey, parseKey, type NoteKey } from "../../core/settlement/proof/note.ts";
import type { InstantUs } from "../../core/units.ts";
import type { LedgerDocument, LedgerStore } from "../../io/ledger-store.ts";
import { sha256 } from "../../io/signing.ts";
import { chainId, endOfChain } from "./document-chain.ts";
import type { LogId } from "./log-reader.ts";
import type { Writer } from "../ingest/writer.ts";

/** What a counterparty's key is for: it cosigns the pair's log, or signs a log of its own. */
export const keyRoles = ["witness", "log"] as const;

export type KeyRole = (typeof keyRoles)[number];

export interface TrustedKey {
  readonly role: KeyRole;
  readonly key: NoteKey;
  readonly sinceUs: InstantUs;
}

const kind = "log-key";
const pageDocuments = 1_000;

const bodySchema = z.strictObject({
  type: z.literal("log_key"),
  v: z.literal("1"),
  log: z.string(),
  role: z.enum(keyRoles),
  key: z.string(),
  withdrawn: z.boolean(),
  place: z.string(),
});

/** Whose signatures are believed, and of which log. Learnt from documents that are leaves of the log too. */
export class LogKeys {
  readonly #byLog = new Map<LogId, Map<string, TrustedKey>>();

  async load(store: Pick<LedgerStore, "documents">): Promise<void> {
    let afterSeq = 0n;
    for (;;) {
      const page = await store.documents({ kind }, { afterSeq, limit: pageDocuments });
      for (const document of page) this.#learn(document);
      const last = page.at(-1);
      if (last === undefined) return;
      afterSeq = last.seq;
    }
  }

  of(log: LogId, role: KeyRole): TrustedKey[] {
    return [...(this.#byLog.get(log)?.values() ?? [])].filter((each) => each.role === role);
  }

  /** Keys of a log that a counterparty keeps, by its origin, and the pair whose counterparty it is. */
  ownLog(origin: string): { readonly log: LogId; readonly keys: readonly NoteKey[] } | undefined {
    for (const log of this.#byLog.keys()) {
      const keys = this.of(log, "log").map(({ key }) => key);
      const own = keys.filter(({ name }) => name === origin);
      if (own.length > 0) return { log, keys: own };
    }
    return undefined;
  }

  /** From now on, or no longer. Saying it again changes nothing. */
  async trust(
    writer: Writer,
    said: {
      readonly log: LogId;
      readonly role: KeyRole;
      readonly key: NoteKey;
      readonly isWithdrawn: boolean;
      readonly atUs: InstantUs;
    },
  ): Promise<void> {
    const { log, role, key, isWithdrawn, atUs } = said;
    const document = await writer.write(async (store) => {
      if (this.#isTrusted(log, role, key) === !isWithdrawn)
        return { change: {}, result: undefined };
      const { length } = await endOfChain(store, { kind, name: log });
      const id = chainId(log, length + 1);
      const body = canonicalJson({
        type: "log_key",
        v: 1n,
        log,
        role,
        key: formatKey(key),
        withdrawn: isWithdrawn,
        place: BigInt(length + 1),
      });
      const leaf = { log, kind: "key", ref: id, text: body } as const;
      const result = { kind, id, pair: log, atUs, body };
      return { change: { documents: [result], leaves: [leaf] }, result };
    });
    if (document !== undefined) this.#learn(document);
  }

  #isTrusted(log: LogId, role: KeyRole, key: NoteKey): boolean {
    return this.of(log, role).some((each) => formatKey(each.key) === formatKey(key));
  }

  #learn({ body, pair, atUs }: Pick<LedgerDocument, "body" | "pair" | "atUs">): void {
    const { role, key: text, withdrawn } = bodySchema.parse(JSON.parse(body));
    const key = parseKey(text, sha256);
    if (typeof key === "string") throw new Error(`document of a key of ${pair}: ${key}`);
    const byKey = this.#byLog.get(pair) ?? new Map<string, TrustedKey>();
    this.#byLog.set(pair, byKey);
    if (withdrawn) byKey.delete(`${role} ${text}`);
    else byKey.set(`${role} ${text}`, { role, key, sinceUs: atUs });
  }
}
