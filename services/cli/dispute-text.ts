import type { Dispute, DisputeTransition, MoneyMove } from "../wire/gen/tokengrid/v1/claim_pb.js";
import { localTime } from "./period.ts";
import { textCard, textTable, yuan } from "./print.ts";

export function disputeTable(disputes: readonly Dispute[], isWide: boolean): string {
  return textTable(
    [
      { name: "DISPUTE" },
      { name: "WITH" },
      { name: "STATEMENT", isWide: true },
      { name: "REASON" },
      { name: "BY" },
      { name: "STATE" },
      { name: "CNY", align: "right" },
      { name: "APPROVED CNY", align: "right" },
      { name: "DUE" },
    ],
    disputes.map((each) => [
      ...[each.disputeId, each.pairId, each.statementId, each.reason, each.opener, each.state],
      yuan(each.amountNano),
      each.approvedNano === undefined ? "" : yuan(each.approvedNano),
      instantText(each.dueUs),
    ]),
    isWide,
  );
}

export function disputeCard(dispute: Dispute, transitions: readonly DisputeTransition[]): string {
  const card = textCard([
    ["dispute", dispute.disputeId],
    ["statement", dispute.statementId],
    ["reason", `${dispute.reason}, by the ${dispute.opener}`],
    ["state", dispute.state],
    ["amount", `${yuan(dispute.amountNano)} CNY`],
    [
      "approved",
      dispute.approvedNano === undefined ? "not decided" : `${yuan(dispute.approvedNano)} CNY`,
    ],
    ["due", instantText(dispute.dueUs) || "no timer"],
  ]);
  const steps = transitions.map(({ transitionJson, atUs, moved }) => {
    const { to, by } = JSON.parse(transitionJson) as { readonly to: string; readonly by: string };
    const head = `${instantText(atUs)}  ${to.replaceAll("_", "-")} by ${by}\n`;
    return `${head}${moneyText(moved)}`;
  });
  return `${card}\n${steps.join("")}`;
}

/** What moved, or that nothing did. */
export function moneyText(moved: readonly MoneyMove[]): string {
  if (moved.length === 0) return "  no money moved\n";
  return moved
    .map(({ fromAccount, toAccount, amountNano }) => {
      return `  ${yuan(amountNano)} CNY  ${fromAccount} → ${toAccount}\n`;
    })
    .join("");
}

function instantText(us: bigint | undefined): string {
  return us === undefined ? "" : localTime(us);
}
