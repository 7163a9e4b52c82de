import { Code, ConnectError } from "@connectrpc/connect";
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { ReportResult } from "../core/events.ts";
import type { PoolId, VendorId } from "../core/units.ts";
import type { Identity } from "../io/grpc-identity.ts";
import { validate } from "../io/grpc-validation.ts";
import { toConnectError } from "../wire/errors.ts";
import {
  ReportRequestSchema,
  type ReportRequest,
  type ReportResponseSchema,
} from "../wire/gen/tokengrid/v1/pool_pb.js";
import { poolStatuses, reportResults, toPoolReport } from "../wire/pool.ts";
import { poolOf, type Replica } from "./replica.ts";

/** A pool is only believed from its own vendor: not even an operator reports for it. */
export function admitAgent(caller: Identity): VendorId {
  if (caller.kind === "vendor") return caller.subject as VendorId;
  throw toConnectError(
    "NOT_ALLOWED",
    `expected the key of a vendor, found that of a ${caller.kind}`,
  );
}

/** A bad report is answered and counted, and changes nothing: the reports behind it are still wanted. */
export function report(
  replica: Replica,
  vendor: VendorId,
  message: ReportRequest,
): MessageInitShape<typeof ReportResponseSchema> {
  const { clock, step, metrics, log } = replica;
  const pool = message.poolId as PoolId;
  const mistake = mistakeIn(message);
  if (mistake !== undefined) {
    metrics.countReport(pool, "rejected-schema");
    return answer(replica, message, { result: "rejected-schema", detail: mistake });
  }
  const at = clock.now();
  const effects = step({ kind: "pool-reported", at, vendor, report: toPoolReport(message, at) });
  const result = effects.find(({ kind }) => kind === "report-answered");
  if (result?.kind !== "report-answered")
    throw new Error("expected an answer to a report, found none");
  if (result.result === "rejected-identity")
    log.warn({ pool, vendor }, "a report for another's pool");
  return answer(replica, message, result);
}

function answer(
  replica: Replica,
  message: ReportRequest,
  outcome: { readonly result: ReportResult; readonly detail: string },
): MessageInitShape<typeof ReportResponseSchema> {
  const pool = poolOf(replica, message.poolId);
  return {
    sequence: message.sequence,
    result: reportResults.fromWord(outcome.result),
    detail: outcome.detail,
    // Of somebody else's pool nothing is told.
    ...(pool === undefined || outcome.result === "rejected-identity"
      ? {}
      : { status: poolStatuses.fromWord(pool.status) }),
  };
}

/** Counted as numbers from here on. */
const countMax = BigInt(Number.MAX_SAFE_INTEGER);

function mistakeIn(message: ReportRequest): string | undefined {
  try {
    validate(ReportRequestSchema, message);
    const isCountable = [message.generation, message.sequence].every((each) => each <= countMax);
    return isCountable ? undefined : `generation, sequence: expected at most ${countMax}`;
  } catch (error) {
    if (error instanceof ConnectError && error.code === Code.InvalidArgument)
      return error.rawMessage;
    throw error;
  }
}
