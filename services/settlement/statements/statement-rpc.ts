import { create } from "@bufbuild/protobuf";
import type { HandlerContext, ServiceImpl } from "@connectrpc/connect";
import { nameOfPeriod } from "../../core/settlement/statements/period.ts";
import type { Statement } from "../../core/settlement/statements/statement.ts";
import type { PairId } from "../../core/units.ts";
import { toConnectError } from "../../wire/errors.ts";
import { required } from "../../wire/field.ts";
import {
  type CloseStatementRequest,
  RecomputeSource as WireSource,
  type SettlementService,
  StatementProgressSchema,
  StatementSignatureSchema,
} from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import { fromClosing, fromHour, fromStatement, toPair, toPeriod } from "../../wire/settlement.ts";
import { operatorName, pairOf, requireOperator, requirePair } from "../caller.ts";
import type { ClosedPeriods } from "./closed-periods.ts";
import { LogReader } from "../logs/log-reader.ts";
import { recompute, type RecomputeSource } from "./recompute.ts";
import { bookedHours } from "./statement-hours.ts";
import type { StatementProgress, StatementSignature, StatementSteps } from "./statement-steps.ts";
import type { Statements } from "./statements.ts";
import type { LedgerStore } from "../../io/ledger-store.ts";

/** Items of a list that does not say how many it wants. */
const listItemsDefault = 100;
/** Hours, and leaves, of one message of a stream. */
const messageItems = 500;
/** Records or leaves between two words of progress. */
const progressItems = 50_000;

export interface StatementRpcParts {
  readonly store: LedgerStore;
  readonly statements: Statements;
  readonly steps: StatementSteps;
  readonly closed: ClosedPeriods;
  /** Whether anything can be owed between the operator and a pair. */
  readonly isKnown: (pair: PairId) => Promise<boolean>;
  readonly nowUs: () => bigint;
}

type Handlers = Pick<
  ServiceImpl<typeof SettlementService>,
  | "closeStatement"
  | "getStatement"
  | "list"
  | "signStatement"
  | "listStatementSignatures"
  | "approveStatement"
  | "recordPayment"
  | "recomputeStatement"
  | "listStatementHours"
  | "listStatementLeaves"
>;

/** What of SettlementService is about statements. */
export function statementHandlers(parts: StatementRpcParts): Handlers {
  return { ...stepHandlers(parts), ...readHandlers(parts), ...streamHandlers(parts) };
}

function readHandlers(parts: StatementRpcParts) {
  const { statements, steps, closed } = parts;
  return {
    async closeStatement(request: CloseStatementRequest, { values }: HandlerContext) {
      return { statement: fromStatement(await closeAsked(parts, request, values)) };
    },
    async getStatement({ statementId }: { statementId: string }, { values }: HandlerContext) {
      const statement = await own(parts, statementId, values);
      const progress = fromProgress(await steps.progress(statement.id));
      return { statement: fromStatement(statement), progress };
    },
    async list(
      request: { vendorId: string; pairId: string; periodName: string; limit: number },
      { values }: HandlerContext,
    ) {
      const isAll = request.vendorId === "" && request.pairId === "";
      const asked = isAll ? pairOf(values) : toPair(request);
      if (asked !== undefined) requirePair(values, asked);
      const { periodName } = request;
      const found = (asked === undefined ? closed.all : closed.of(asked)).filter(
        ({ name }) => periodName === "" || name === periodName,
      );
      const newest = found.toSorted((a, b) => (a.atUs < b.atUs ? 1 : a.atUs > b.atUs ? -1 : 0));
      const limit = request.limit === 0 ? listItemsDefault : request.limit;
      return { statements: newest.slice(0, limit).map(fromClosing) };
    },
    async listStatementSignatures(
      { statementId }: { statementId: string },
      { values }: HandlerContext,
    ) {
      const { id } = await own({ ...parts, statements }, statementId, values);
      const { signatures } = await steps.progress(id);
      return { signatures: signatures.map(fromSignature) };
    },
  } satisfies Partial<Handlers>;
}

function stepHandlers(parts: StatementRpcParts) {
  const { steps } = parts;
  return {
    async signStatement(
      { statementId, jws }: { statementId: string; jws: string },
      { values }: HandlerContext,
    ) {
      const { id } = await own(parts, statementId, values);
      const party = pairOf(values) === undefined ? "operator" : "counterparty";
      return { signature: fromSignature(await steps.sign(id, party, jws)) };
    },
    async approveStatement({ statementId }: { statementId: string }, { values }: HandlerContext) {
      const by = operatorName(values);
      return { progress: fromProgress(await steps.approve(statementId, by)) };
    },
    async recordPayment(
      request: { statementId: string; amountNano: bigint; reference: string },
      { values }: HandlerContext,
    ) {
      const { statementId, reference } = request;
      const amountNano = request.amountNano === 0n ? undefined : request.amountNano;
      const by = operatorName(values);
      return {
        progress: fromProgress(await steps.pay(statementId, { by, amountNano, reference })),
      };
    },
  } satisfies Partial<Handlers>;
}

function streamHandlers(parts: StatementRpcParts) {
  const { store, statements } = parts;
  return {
    async *recomputeStatement(
      { statementId, source }: { statementId: string; source: WireSource },
      { values }: HandlerContext,
    ) {
      requireOperator(values);
      const statement = await own(parts, statementId, values);
      yield* recomputed(parts, statement, sources[source]);
    },
    async *listStatementHours(
      request: Parameters<Handlers["listStatementHours"]>[0],
      { values }: HandlerContext,
    ) {
      const statement = await asked(parts, request, values);
      yield { statement: fromStatement(statement), hours: [] };
      for await (const hours of bookedHours(store, statement, messageItems)) {
        yield { hours: hours.map(fromHour) };
      }
    },
    async *listStatementLeaves(
      { statementId }: { statementId: string },
      { values }: HandlerContext,
    ) {
      const statement = await own({ ...parts, statements }, statementId, values);
      yield* leavesOf(store, statement);
    },
  } satisfies Partial<Handlers>;
}

/** Operators close. The others are shown what is closed, or how their own period stands. */
async function closeAsked(
  parts: StatementRpcParts,
  request: CloseStatementRequest,
  values: HandlerContext["values"],
): Promise<Statement> {
  const { statements, isKnown, nowUs } = parts;
  const pair = toPair(request);
  requirePair(values, pair);
  const period = toPeriod(required("period", request.period));
  if (!(await isKnown(pair))) {
    const field = request.pairId === "" ? "vendor_id" : "pair_id";
    const id = request.pairId === "" ? request.vendorId : request.pairId;
    throw toConnectError("NOT_FOUND", `${field}: nobody has heard of ${id}`);
  }
  if (period.fromUs > nowUs()) {
    const message = `period: expected one that has begun, found ${period.fromUs} at ${nowUs()}`;
    throw toConnectError("BAD_REQUEST", message, { metadata: { field: "period" } });
  }
  if (pairOf(values) !== undefined) {
    const closing = parts.closed.of(pair).find(({ name }) => name === nameOfPeriod(period));
    const known = closing && (await statements.find(closing.statement));
    return known ?? (await statements.interim(pair, period));
  }
  return request.catchUp ? statements.closeThrough(pair, period) : statements.close(pair, period);
}

async function own(
  { statements }: Pick<StatementRpcParts, "statements">,
  statementId: string,
  values: HandlerContext["values"],
): Promise<Statement> {
  const pair = pairOf(values);
  const statement = await statements.find(required("statement_id", statementId));
  // To a counterparty, another's statement is as unknown as none.
  if (statement === undefined || (pair !== undefined && pair !== statement.pair)) {
    throw toConnectError("NOT_FOUND", `statement_id: there is no ${statementId}`);
  }
  return statement;
}

/** A closed statement, or what stands in a period now. */
async function asked(
  parts: StatementRpcParts,
  request: Parameters<Handlers["listStatementHours"]>[0],
  values: HandlerContext["values"],
): Promise<Statement> {
  if (request.statementId !== "") return own(parts, request.statementId, values);
  const pair = toPair({ vendorId: "", pairId: request.pairId });
  requirePair(values, pair);
  return parts.statements.interim(pair, toPeriod(required("period", request.period)));
}

const sources: Readonly<Record<WireSource, RecomputeSource>> = {
  // Refused before it comes here.
  [WireSource.UNSPECIFIED]: "hours",
  [WireSource.HOURS]: "hours",
  [WireSource.RECORDS]: "records",
  [WireSource.LEAVES]: "leaves",
};

async function* recomputed(
  { store }: StatementRpcParts,
  statement: Statement,
  source: RecomputeSource,
) {
  const total = {
    hours: 0n,
    records: statement.totals.attempts ?? 0n,
    leaves: leavesIn(statement),
  };
  const progress = new Progress();
  const work = recompute(store, statement, {
    source,
    onItems: (items) => progress.add(items),
  }).finally(() => progress.end());
  for await (const items of progress.steps()) {
    yield { items, itemsTotal: total[source], isDone: false, differences: [] };
  }
  const differences = await work;
  yield { items: progress.items, itemsTotal: total[source], isDone: true, differences };
}

function leavesIn({ log }: Statement): bigint {
  return log.endIndex - log.firstIndex;
}

/** Says how far a piece of work has come, each time when that is much further. */
class Progress {
  #items = 0n;
  #said = 0n;
  #isOver = false;
  #wake: () => void = () => undefined;

  get items(): bigint {
    return this.#items;
  }

  add(items: number): void {
    this.#items += BigInt(items);
    if (this.#items - this.#said >= BigInt(progressItems)) this.#wake();
  }

  end(): void {
    this.#isOver = true;
    this.#wake();
  }

  async *steps(): AsyncGenerator<bigint> {
    while (!this.#isOver) {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      this.#wake = () => resolve(undefined);
      await promise;
      this.#said = this.#items;
      yield this.#items;
    }
  }
}

async function* leavesOf(store: LedgerStore, statement: Statement) {
  const { pair, log } = statement;
  const { firstIndex, endIndex } = log;
  const roots = await new LogReader(store).roots(pair, firstIndex);
  const leavesTotal = leavesIn(statement);
  yield { roots, leaves: [], firstIndex, leavesTotal };
  for (let index = firstIndex; index < endIndex;) {
    const limit = Math.min(Number(endIndex - index), messageItems);
    const page = await store.leaves(pair, index, limit);
    if (page.length === 0) throw new Error(`log ${pair}: expected leaf ${index}, found none`);
    yield { roots: [], leaves: page.map(({ text }) => text), firstIndex: index, leavesTotal };
    index += BigInt(page.length);
  }
}

function fromSignature(signature: StatementSignature) {
  return create(StatementSignatureSchema, signature);
}

function fromProgress({ signatures, approvedNano, paidNano }: StatementProgress) {
  const all = signatures.map(fromSignature);
  return create(StatementProgressSchema, { signatures: all, approvedNano, paidNano });
}
