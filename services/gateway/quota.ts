import type { UsageKey } from "../core/settlement/packages/departments.ts";
import { noTokens, tokenClasses, type Tokens } from "../core/settlement/counting/usage.ts";
import type { Instant, ModelId, TenantId } from "../core/units.ts";
import type { Clock } from "../io/clock.ts";
import type { Log } from "../io/log.ts";
import { SliceShelf, type GivenSlice, type Part } from "./slice-shelf.ts";

/** Whose packages pay. */
export interface QuotaKey extends UsageKey {
  readonly tenant: TenantId;
}

export interface SliceAsk {
  readonly key: QuotaKey;
  readonly model: ModelId;
  /** At least for so many tokens. */
  readonly tokens: Tokens;
  /** Better for so many times as many. */
  readonly times: number;
}

export type SliceAnswer =
  /** The tenant pays for what no package covers. */
  | { readonly kind: "unlimited" }
  | { readonly kind: "granted"; readonly slices: readonly GivenSlice[] }
  | { readonly kind: "refused"; readonly reason: string };

/** Where slices come from. All throw when it does not answer. */
export interface SliceSource {
  acquire(ask: SliceAsk): Promise<SliceAnswer>;
  /** How long each still holds; what has ended is left out. */
  renew(ids: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** What was used of each; the rest is given back. */
  giveBack(usedById: ReadonlyMap<string, bigint>): Promise<void>;
}

/** Why a request may not go on: nothing is left, or nobody can say whether something is. */
export interface Refused {
  readonly kind: "refused";
  readonly cause: "exhausted" | "unreachable";
  readonly reason: string;
}

/** What an answer may use. It is settled once, however the answer ends. */
export interface Reservation {
  readonly kind: "reserved";
  /** Output tokens that it is good for now. Undefined: nothing was set aside, as nothing limits the tenant. */
  readonly outputTokens: bigint | undefined;
  /** Whether more must be reserved before the answer goes on, when it has so many output tokens. */
  needsMore(outputTokens: bigint): boolean;
  /** Room for more output, beyond so many tokens. Refused: the answer ends here, and its finish reason is `quota`. */
  extend(outputTokens: bigint): Promise<Refused | undefined>;
  settle(used: Tokens): void;
}

export const quotaLimits = {
  /** Output that is reserved at first, and by each extension. */
  outputTokens: 2_048n,
  /** Output that is reserved where that is not to be had: the last of a package. */
  lastTokens: 256n,
  /** This part of it is left when more is asked for: the answer goes on meanwhile. */
  marginParts: 8n,
  /** A slice is asked for so many requests like this one. */
  times: 8,
  /** How long an answer `unlimited` is good, and how long at most where nobody answers. */
  unlimitedMs: 30_000,
  unlimitedMsMax: 3_600_000,
  /** How long the same is not asked again after a refusal. */
  refusedMs: 1_000,
  /** A slice that nobody wanted for so long is given back. */
  idleMs: 30_000,
  /** How often slices are asked for one reservation: others may take what came. */
  asksMax: 3,
  /** Accounts that are remembered; those without slices are forgotten beyond it. */
  accountsMax: 10_000,
} as const;

/** What is asked for an answer. */
export interface OutputAsk {
  readonly model: ModelId;
  readonly promptTokens: bigint;
  /** Undefined: as many as come. */
  readonly outputTokensMax: bigint | undefined;
}

interface Account {
  readonly key: QuotaKey;
  readonly shelf: SliceShelf;
  /** When that was said last. Undefined: limited, as far as we know. */
  unlimitedSaid: Instant | undefined;
  unlimitedUntil: Instant;
  asking: Promise<Refused | undefined> | undefined;
  /** The last one, for so many tokens of a model. */
  refused:
    | {
        readonly model: ModelId;
        readonly until: Instant;
        readonly tokens: bigint;
        readonly by: Refused;
      }
    | undefined;
}

/**
 * Promises tokens to answers out of slices that the ledger has set aside, so that no request waits for the ledger and no
 * tenant uses more than its packages have. What this process forgets comes free by itself when its slices end.
 */
export class QuotaKeeper {
  readonly #source: SliceSource;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #accounts = new Map<string, Account>();

  constructor(options: { readonly source: SliceSource; readonly clock: Clock; readonly log: Log }) {
    this.#source = options.source;
    this.#clock = options.clock;
    this.#log = options.log;
  }

  /** Room for a prompt and as much output as may come, up to what is reserved at once. */
  async reserve(key: QuotaKey, ask: OutputAsk): Promise<Reservation | Refused> {
    const account = this.#account(key);
    const holding = new Holding();
    const refused = await this.#extend(account, holding, { ...ask, outputTokens: 0n });
    return refused ?? this.#reservation(account, ask, holding);
  }

  /** Holds slices longer that are wanted, and gives back the others. To be called every few seconds. */
  async tick(): Promise<void> {
    const now = this.#clock.now();
    const idleSince = now - quotaLimits.idleMs;
    await this.#giveBack(idleSince);
    const shelves = [...this.#accounts.values()].map(({ shelf }) => shelf);
    const wanted = shelves.map((shelf) => ({ shelf, ids: shelf.wanted(idleSince) }));
    const ids = wanted.flatMap((each) => each.ids);
    if (ids.length > 0) {
      try {
        const ttlById = await this.#source.renew(ids);
        for (const each of wanted) each.shelf.renewed(each.ids, ttlById, now);
      } catch (error) {
        this.#log.warn({ error, slices: ids.length }, "slices were not renewed");
      }
    }
    if (this.#accounts.size > quotaLimits.accountsMax) this.#forget();
  }

  /** Gives back all that nobody has a promise of. */
  async close(): Promise<void> {
    await this.#giveBack(this.#clock.now());
  }

  #reservation(account: Account, ask: OutputAsk, holding: Holding): Reservation {
    const { model, outputTokensMax } = ask;
    return {
      kind: "reserved",
      get outputTokens() {
        return holding.parts.length === 0 ? undefined : holding.output;
      },
      needsMore: (outputTokens) =>
        holding.output !== outputTokensMax && outputTokens + holding.margin > holding.output,
      extend: async (outputTokens) => this.#extend(account, holding, { ...ask, outputTokens }),
      settle: (used) => {
        const parts = holding.end();
        if (parts !== undefined) account.shelf.settle(model, used, parts, this.#clock.now());
      },
    };
  }

  /** As much as is reserved at once, or a little where that is not to be had. */
  async #extend(
    account: Account,
    holding: Holding,
    ask: OutputAsk & { readonly outputTokens: bigint },
  ): Promise<Refused | undefined> {
    const { model, promptTokens, outputTokens, outputTokensMax } = ask;
    let refused: Refused | undefined;
    for (const step of [quotaLimits.outputTokens, quotaLimits.lastTokens]) {
      const output = lower(outputTokens + step, outputTokensMax);
      if (output <= holding.output) return refused;
      refused = await this.#hold(
        account,
        { model, tokens: tokensOf(promptTokens, output) },
        holding,
      );
      if (refused === undefined) {
        holding.output = output;
        holding.margin = step / quotaLimits.marginParts;
        return undefined;
      }
      if (refused.cause === "unreachable") return refused;
    }
    return refused;
  }

  async #hold(
    account: Account,
    { model, tokens }: { readonly model: ModelId; readonly tokens: Tokens },
    holding: Holding,
  ): Promise<Refused | undefined> {
    for (let asks = 0; ;) {
      const now = this.#clock.now();
      // It may have been settled meanwhile: then it needs nothing any more.
      if (isUnlimited(account, now) || holding.isOver) return undefined;
      const taken = account.shelf.take(model, tokens, holding.parts, now);
      if (taken.kind === "taken") {
        holding.parts = taken.parts;
        return undefined;
      }
      if (account.asking !== undefined) {
        await account.asking;
        continue;
      }
      if (asks++ === quotaLimits.asksMax) return exhausted("others took what was granted");
      const refused = await this.#ask(account, model, taken.by);
      if (refused !== undefined) return refused;
    }
  }

  /** One question at a time for an account: what comes may be enough for all who wait. */
  async #ask(account: Account, model: ModelId, tokens: Tokens): Promise<Refused | undefined> {
    const { refused } = account;
    const isTold = refused?.model === model && refused.until > this.#clock.now();
    if (isTold && sum(tokens) >= refused.tokens) return refused.by;
    account.asking = this.#acquire(account, model, tokens);
    try {
      return await account.asking;
    } finally {
      account.asking = undefined;
    }
  }

  async #acquire(account: Account, model: ModelId, tokens: Tokens): Promise<Refused | undefined> {
    const { key, unlimitedSaid } = account;
    // Before it is asked: so nothing ends later here than in the ledger.
    const asked = this.#clock.now();
    let answer: SliceAnswer;
    try {
      answer = await this.#source.acquire({ key, model, tokens, times: quotaLimits.times });
    } catch (error) {
      this.#log.warn({ error, tenant: key.tenant }, "no slice: the ledger does not answer");
      const now = this.#clock.now();
      // Who was not limited a while ago is taken at his word; who may be limited is not.
      if (unlimitedSaid !== undefined && now - unlimitedSaid < quotaLimits.unlimitedMsMax) {
        account.unlimitedUntil = now + quotaLimits.refusedMs;
        return undefined;
      }
      return { kind: "refused", cause: "unreachable", reason: "the ledger does not answer" };
    }
    const now = this.#clock.now();
    account.unlimitedSaid = answer.kind === "unlimited" ? asked : undefined;
    account.unlimitedUntil = answer.kind === "unlimited" ? asked + quotaLimits.unlimitedMs : asked;
    account.refused = undefined;
    if (answer.kind === "granted") account.shelf.add(answer.slices, asked);
    if (answer.kind !== "refused") return undefined;
    const by = exhausted(answer.reason);
    const until = now + quotaLimits.refusedMs;
    account.refused = { model, until, tokens: sum(tokens), by };
    return by;
  }

  async #giveBack(idleSince: Instant): Promise<void> {
    const now = this.#clock.now();
    const shelves = [...this.#accounts.values()].map(({ shelf }) => shelf);
    const usedById = new Map(shelves.flatMap((shelf) => [...shelf.idle(idleSince, now)]));
    if (usedById.size === 0) return;
    try {
      await this.#source.giveBack(usedById);
    } catch (error) {
      this.#log.warn({ error, slices: usedById.size }, "slices were not given back, and will end");
    }
  }

  #account(key: QuotaKey): Account {
    const name = [key.tenant, key.department, key.project, key.scenario].join("\n");
    const known = this.#accounts.get(name);
    if (known !== undefined) return known;
    const account: Account = {
      ...{ key, shelf: new SliceShelf(), unlimitedSaid: undefined, unlimitedUntil: 0 },
      ...{ asking: undefined, refused: undefined },
    };
    this.#accounts.set(name, account);
    return account;
  }

  #forget(): void {
    for (const [name, { shelf, asking }] of this.#accounts) {
      if (this.#accounts.size <= quotaLimits.accountsMax) return;
      if (shelf.isEmpty && asking === undefined) this.#accounts.delete(name);
    }
  }
}

/** What a reservation has. */
class Holding {
  parts: readonly Part[] = [];
  /** Output tokens that it is good for; below 0: not even for none. */
  output = -1n;
  margin = 0n;
  #isOver = false;

  get isOver(): boolean {
    return this.#isOver;
  }

  /** The parts, once. */
  end(): readonly Part[] | undefined {
    if (this.#isOver) return undefined;
    this.#isOver = true;
    return this.parts;
  }
}

function isUnlimited({ unlimitedSaid, unlimitedUntil }: Account, now: Instant): boolean {
  return unlimitedSaid !== undefined && now < unlimitedUntil;
}

function tokensOf(promptTokens: bigint, outputTokens: bigint): Tokens {
  return { ...noTokens, uncachedInput: promptTokens, response: outputTokens };
}

function lower(a: bigint, b: bigint | undefined): bigint {
  return b !== undefined && b < a ? b : a;
}

function sum(tokens: Tokens): bigint {
  return tokenClasses.reduce((all, each) => all + tokens[each], 0n);
}

function exhausted(reason: string): Refused {
  return { kind: "refused", cause: "exhausted", reason };
}
