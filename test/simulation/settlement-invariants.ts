import { partsOfLineId } from "../../services/core/settlement/pricing/charge.ts";
import {
  addBalances,
  noBalance,
  type Balance,
} from "../../services/core/settlement/ledger/ledger.ts";
import type { SaleRow } from "../../services/core/settlement/ledger/posting.ts";
import {
  fromRecordText,
  toRecordText,
} from "../../services/core/settlement/counting/record-text.ts";
import { fromSaleText } from "../../services/core/settlement/ledger/sale-text.ts";
import {
  tokenClasses,
  type Tokens,
  type UsageRecord,
} from "../../services/core/settlement/counting/usage.ts";
import type { LedgerBatch } from "../../services/io/ledger-store.ts";
import { sha256 } from "../../services/io/signing.ts";
import type { ClosedPeriods } from "../../services/settlement/statements/closed-periods.ts";
import type { Truth } from "./settlement-gateway.ts";
import { vendors } from "./settlement-terms.ts";
import type { Run } from "./settlement-time.ts";

/** Tokens that a contract grants without text of their own. */
const slackTokens = 32n;

/** What is remembered of all commits: a second set of books, made of nothing but what was committed. */
interface Books {
  readonly entries: Set<string>;
  /** Hash of each record, by id. */
  readonly records: Map<string, string>;
  readonly balances: Map<string, Balance>;
  readonly holds: Map<string, { readonly state: string; readonly left: bigint }>;
  /** Of slices whose time was over before what was used of them came. */
  readonly lost: { units: bigint };
  readonly leaves: Map<string, bigint>;
  readonly billed: Map<string, Map<string, SaleRow>>;
  readonly hours: Map<string, string>;
  readonly roots: Map<string, string>;
  readonly statements: Map<string, string>;
  readonly sizes: Map<string, bigint>;
}

function emptyBooks(): Books {
  return {
    ...{ entries: new Set(), records: new Map(), balances: new Map(), holds: new Map() },
    ...{ leaves: new Map(), billed: new Map(), hours: new Map(), roots: new Map() },
    ...{ statements: new Map(), sizes: new Map(), lost: { units: 0n } },
  };
}

/** Checks every commit against all that came before it. The cheap half of the invariants. */
export class CommitWatch {
  readonly #run: Run;
  readonly #truths: ReadonlyMap<string, Truth>;
  #books = emptyBooks();
  readonly #kept: Books[] = [];
  commits = 0;

  constructor(run: Run, truths: ReadonlyMap<string, Truth>) {
    this.#run = run;
    this.#truths = truths;
  }

  /** The database was set back, and what was committed since is not there any more. */
  copy(): Books {
    const { entries, records, balances, holds, leaves, billed, hours } = this.#books;
    return {
      ...{ entries: new Set(entries), records: new Map(records), balances: new Map(balances) },
      ...{ holds: new Map(holds), leaves: new Map(leaves), hours: new Map(hours) },
      billed: new Map([...billed].map(([key, rows]) => [key, new Map(rows)])),
      ...{ roots: new Map(this.#books.roots), statements: new Map(this.#books.statements) },
      sizes: new Map(this.#books.sizes),
      lost: { ...this.#books.lost },
    };
  }

  restore(books: Books): void {
    this.#kept.push(this.#books);
    this.#books = books;
  }

  /** The newest books are there again. */
  takeBack(): void {
    const before = this.#kept.pop();
    if (before !== undefined) this.#books = before;
  }

  isPosted(record: string): boolean {
    return this.#books.records.has(record);
  }

  readonly onCommitted = (batch: LedgerBatch, closed: ClosedPeriods): void => {
    this.commits += 1;
    const { posted, entries, leaves, documents } = batch;
    this.#run.note(
      `commit ${posted.map(({ record }) => record).join(" ")} ${entries.length} entries ${leaves.map(({ hash }) => hash.slice(0, 8)).join(" ")} ${documents.map(({ kind, id }) => `${kind}/${id}`).join(" ")}`,
    );
    this.#entries(batch);
    this.#records(batch);
    this.#holds(batch);
    this.#sales(batch);
    this.#leaves(batch);
    this.#closed(batch, closed);
    this.#documents(batch);
  };

  #expect(isTrue: boolean, invariant: string, found: () => string): void {
    this.#run.expect(isTrue, invariant, found);
  }

  #entries({ entries, movements }: LedgerBatch): void {
    for (const { id, amount, unit, debit, credit } of entries) {
      this.#expect(amount > 0n && debit !== credit, "I1", () => `entry ${id} of ${amount}`);
      this.#expect(!this.#books.entries.has(id), "I11", () => `entry ${id} is posted twice`);
      this.#books.entries.add(id);
      const isCash = [debit, credit].every((each) => /^(asset|liab|exp|rev|equity):/.test(each));
      const isUnits = [debit, credit].every((each) => !/^(asset|liab|exp|rev|equity):/.test(each));
      const fits = unit === "CNY:nano" ? isCash : isUnits;
      this.#expect(fits, "I10", () => `entry ${id} moves ${unit} from ${debit} to ${credit}`);
    }
    for (const [key, by] of movements) {
      const balance = addBalances(this.#books.balances.get(key) ?? noBalance, by);
      this.#books.balances.set(key, balance);
      const { debit, credit, heldDebit } = balance;
      const isWallet = key.includes("\nwallet:");
      const free = credit - debit - heldDebit;
      this.#expect(!isWallet || free >= 0n, "I3", () => `${key} has ${free} free`);
    }
  }

  #records({ posted, waiting }: LedgerBatch): void {
    for (const { record, hash, text } of [...posted, ...waiting]) {
      const before = this.#books.records.get(record);
      this.#expect(
        before === undefined || before === hash,
        "I12",
        () => `${record} has other bytes`,
      );
      this.#books.records.set(record, hash);
      this.#expect(sha256(text) === hash, "I12", () => `${record} is not what its hash says`);
      const parsed = fromRecordText(text);
      this.#expect(toRecordText(parsed) === text, "I16", () => `${record} does not read back`);
      this.#unchanged(parsed);
    }
    for (const { record, tokens, sold, charges, amountNano, text, cost } of posted) {
      const parsed = fromRecordText(text);
      for (const each of tokenClasses) {
        this.#expect(tokens[each] >= 0n, "I15", () => `${record} has ${tokens[each]} ${each}`);
        this.#expect(sold[each] <= tokens[each], "I18", () => `${record} sells more ${each}`);
      }
      this.#bounded(parsed, tokens);
      const sum = charges.reduce((nano, charge) => nano + charge.amountNano, 0n);
      this.#expect(sum === amountNano, "I5", () => `${record} owes ${amountNano}, charges ${sum}`);
      this.#expect(
        cost !== "cogs" || parsed.isWinner || amountNano === 0n || parsed.end !== "gateway-cancel",
        "I18",
        () => record,
      );
      this.#priced(
        parsed,
        charges.map(({ line }) => line),
      );
    }
  }

  /** What nobody counted is not there as a number. */
  #unchanged(record: UsageRecord): void {
    const closed = this.#truths.get(record.attempt)?.closed;
    if (closed === undefined || record.id !== closed.id) return;
    const { engineCounts } = record;
    for (const side of ["input", "output", "cacheRead", "cacheWrite", "reasoning"] as const) {
      const [is, was] = [engineCounts[side], closed.engineCounts[side]];
      this.#expect(
        is === was,
        "I16",
        () => `${record.id} counts ${is} ${side}, the gateway ${was}`,
      );
    }
  }

  #bounded(
    { id, attempt, evidence, watermarkOutput, outputTokensMax }: UsageRecord,
    tokens: Tokens,
  ): void {
    const output = tokens.response + tokens.reasoning;
    const most = evidence.outBytes + evidence.reasoningBytes + evidence.toolBytes + slackTokens;
    const isWithin =
      output <= most && (outputTokensMax === undefined || output <= outputTokensMax + slackTokens);
    this.#expect(isWithin, "I17", () => `${id} has ${output} output tokens for ${most}`);
    const isAbove =
      watermarkOutput === undefined || output >= watermarkOutput || tokens.response === 0n;
    this.#expect(
      isAbove,
      "I20",
      () => `${id} settles ${output}, the watermark was ${watermarkOutput}`,
    );
    const truth = this.#truths.get(attempt);
    if (truth === undefined) return;
    this.#expect(output <= truth.output, "I17", () => `${id}: ${output} of ${truth.output} made`);
  }

  #priced({ id, openedUs, vendor, priceVersion }: UsageRecord, lines: readonly string[]): void {
    const books = vendors.find((each) => each.id === vendor)?.books ?? [];
    for (const line of lines) {
      const { book: name, version } = partsOfLineId(line);
      const book = books.find((each) => each.id === name && each.version === version);
      const isInForce =
        book !== undefined &&
        version === priceVersion &&
        book.effectiveFromUs <= openedUs &&
        (book.effectiveToUs === undefined || openedUs < book.effectiveToUs);
      this.#expect(isInForce, "I33", () => `${id} opened at ${openedUs} is charged by ${line}`);
    }
  }

  #holds({ holds }: LedgerBatch): void {
    const last = new Map(holds.map((hold) => [hold.id, hold]));
    for (const { id, state, left, amount } of last.values()) {
      const before = this.#books.holds.get(id)?.state;
      if (state === "expired") this.#books.lost.units += this.#books.holds.get(id)?.left ?? 0n;
      const isOnce = before === undefined || before === "open";
      this.#expect(isOnce, "I14", () => `hold ${id} was ${before}, and is ${state}`);
      this.#expect(
        left >= 0n && left <= amount,
        "I14",
        () => `hold ${id} has ${left} of ${amount}`,
      );
      this.#books.holds.set(id, { state, left });
    }
  }

  /** A request is billed for one attempt. */
  #sales({ sales }: LedgerBatch): void {
    for (const row of sales) {
      const rows = this.#books.billed.get(row.request) ?? new Map<string, SaleRow>();
      this.#books.billed.set(row.request, rows);
      rows.set(`${row.attempt}:${row.rev}`, row);
    }
    for (const { request } of sales) {
      const rows = [...(this.#books.billed.get(request)?.values() ?? [])];
      const served = rows.filter(({ state, text }) => state === "billed" && isServed(text));
      const names = served.map(({ attempt, rev }) => `${attempt}:${rev}`).join(" ");
      this.#expect(served.length <= 1, "I18", () => `request ${request} is billed for ${names}`);
    }
    for (const { attempt, text, billedNano } of sales.filter(({ state }) => state === "billed")) {
      const { sale } = fromSaleText(text);
      const parts = sale.parts.reduce((sum, { amountNano }) => sum + amountNano, 0n);
      this.#expect(parts === sale.earnedNano, "I6", () => `${attempt}: parts ${parts}`);
      const isWhole = sale.billedNano + sale.coveredNano === sale.saleNano;
      this.#expect(
        isWhole && sale.billedNano === billedNano,
        "I6",
        () => `${attempt} is not whole`,
      );
    }
  }

  #leaves({ leaves, posted }: LedgerBatch): void {
    const refs = new Set<string>();
    for (const { log, index, kind, ref, text } of leaves) {
      const size = this.#books.sizes.get(log) ?? 0n;
      this.#expect(
        index === size,
        "I21",
        () => `log ${log} has ${size} leaves, the next is ${index}`,
      );
      this.#books.sizes.set(log, size + 1n);
      const key = `${log} ${kind} ${ref}`;
      this.#expect(!this.#books.leaves.has(key), "I22", () => `leaf ${key} is there twice`);
      this.#books.leaves.set(key, index);
      refs.add(key);
      // A vendor is shown nothing of tenants, so nothing of them can be in what it is paid.
      const isVendor = log.startsWith("vendor:") && kind === "usage";
      this.#expect(
        !isVendor || !/tenant:|"tenant_id"/.test(text),
        "I9",
        () => `${key} names a tenant`,
      );
    }
    for (const { vendor, record } of posted) {
      const key = `vendor:${vendor} usage ${record}`;
      this.#expect(refs.has(key), "I22", () => `${record} is posted without its leaf`);
    }
    const usages = leaves.filter(({ log, kind }) => kind === "usage" && log.startsWith("vendor:"));
    this.#expect(usages.length === posted.length, "I22", () => "a leaf has no record");
  }

  #closed({ hours }: LedgerBatch, closed: ClosedPeriods): void {
    for (const { key, total } of hours) {
      const name = Object.values(key).join(" ");
      const text = `${total.tokens} ${total.pico} ${total.amountNano}`;
      const before = this.#books.hours.get(name);
      const first = closed.firstOpenOf(key.pair);
      const isOpen = first === undefined || key.booking >= first || before === text;
      this.#expect(isOpen, "I29", () => `${name} is changed, ${first} is the first open day`);
      this.#books.hours.set(name, text);
    }
  }

  #documents({ documents, leaves }: LedgerBatch): void {
    for (const { kind, id, body, pair } of documents) {
      if (kind === "statement") {
        const before = this.#books.statements.get(id);
        this.#expect(before === undefined || before === body, "I36", () => `${id} is made again`);
        this.#books.statements.set(id, body);
        const isLeaf = leaves.some((leaf) => leaf.log === pair && leaf.kind === "statement");
        this.#expect(isLeaf, "I22", () => `statement ${id} has no leaf`);
      }
      if (kind !== "checkpoint") continue;
      const { size, root } = JSON.parse(body) as { size: string; root: string };
      const name = `${pair} ${size}`;
      const before = this.#books.roots.get(name);
      this.#expect(before === undefined || before === root, "I24", () => `${name} has two roots`);
      this.#books.roots.set(name, root);
    }
  }

  /** Of every checkpoint that was kept, by log and size. */
  get roots(): ReadonlyMap<string, string> {
    return this.#books.roots;
  }

  /** In the ledger, or in the one that an old backup stands in for. */
  isKept(name: string, root: string): boolean {
    return [this.#books, ...this.#kept].some(({ roots }) => roots.get(name) === root);
  }

  get lostUnits(): bigint {
    return this.#books.lost.units;
  }

  get balances(): ReadonlyMap<string, Balance> {
    return this.#books.balances;
  }

  get records(): ReadonlyMap<string, string> {
    return this.#books.records;
  }
}

function isServed(text: string): boolean {
  const { tokens } = fromSaleText(text).sale;
  return tokenClasses.some((each) => tokens[each] > 0n);
}
