import { SettlementService, type Statement } from "../../wire/gen/tokengrid/v1/settlement_pb.js";
import { answered, client, type ServerOptions } from "../connect.ts";
import { Failure, Refusal } from "../outcome.ts";
import { pairOf, type PairOptions } from "../pair.ts";
import { type NamedPeriod, parsePeriod } from "../period.ts";

export const listLimit = 1_000;

export function periodOf(text: string): NamedPeriod {
  const period = parsePeriod(text, Date.now());
  if (typeof period === "string") throw new Failure(`--period: ${period}`);
  return period;
}

/** Those of everybody who was named, or of all vendors. */
export async function pairsOf(options: ServerOptions & PairOptions): Promise<string[]> {
  const pair = pairOf(options);
  if (pair !== "") return [pair];
  const { vendorIds } = await answered(options, () =>
    client(SettlementService, options).listVendors({}),
  );
  if (vendorIds.length === 0) {
    throw new Refusal("expected at least one vendor with a pool or a price book, found none");
  }
  return vendorIds.map((id) => `vendor:${id}`);
}

export async function newestFirst(
  options: ServerOptions,
  asked: {
    readonly pairId?: string;
    readonly periodName?: string;
    readonly limit?: number;
  } = {},
): Promise<Statement[]> {
  const { statements } = await answered(options, () =>
    client(SettlementService, options).list({ limit: listLimit, ...asked }),
  );
  return statements;
}

/** Of the period that was closed last, everybody's. */
export async function lastIds(options: ServerOptions, pairId: string): Promise<string[]> {
  const statements = await newestFirst(options, { pairId });
  const [newest] = statements;
  if (newest === undefined) {
    throw new Refusal(
      "no statement is closed yet: close one with `tokengrid statement generate --period yesterday`, or export " +
        "what stands in a period with `--period today`",
    );
  }
  const own = statements.filter(({ periodName }) => periodName === newest.periodName);
  return own.map(({ statementId }) => statementId).toSorted();
}

export function present(statement: Statement | undefined): Statement {
  if (statement === undefined) throw new Error("expected a statement in the answer, found none");
  return statement;
}
