import { hash } from "node:crypto";
import { focusColumns, focusCsv } from "../core/settlement/focus.ts";
import type { Statement } from "../wire/gen/tokengrid/v1/settlement_pb.js";
import { toStatement } from "../wire/settlement.ts";

/** The one who is billed by vendors, as the rows name it. */
const operator = { id: "operator", name: "Operator" };

/**
 * The FOCUS rows of several statements under one header. Made from the canonical text, so a statement whose digest does
 * not fit its text is refused.
 */
export function focusFile(statements: readonly Statement[]): string {
  const bodies = statements.map((message) => {
    const statement = toStatement(message, (text) => hash("sha256", text, "hex"));
    const csv = focusCsv(statement, { billingAccount: operator, vendorName: statement.vendor });
    return csv.slice(header.length);
  });
  return [header, ...bodies].join("");
}

const header = `${focusColumns.join(",")}\r\n`;
