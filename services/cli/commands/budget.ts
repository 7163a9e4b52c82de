import { Command } from "commander";
import { BudgetService, ListBudgetsResponseSchema } from "../../wire/gen/tokengrid/v1/budget_pb.js";
import { budgetTable } from "../budget-text.ts";
import {
  answered,
  client,
  type OutputOptions,
  type ServerOptions,
  withOutput,
  withServer,
} from "../connect.ts";
import { exits, type ExitCode } from "../outcome.ts";
import { jsonOf, print } from "../print.ts";

interface Options extends ServerOptions, OutputOptions {
  readonly tenant?: string;
}

export function command(): Command {
  return new Command("budget")
    .description(
      "Rolling budgets of money, energy and carbon per tenant. The policy sets them; a control replica keeps them.",
    )
    .addCommand(
      withOutput(withServer(new Command("list")))
        .description(
          "What tenants have spent of them, and the dual price: what spending is worth now beyond its own price.",
        )
        .option("--tenant <id>", "of this tenant alone")
        .action(exits(list)),
    );
}

async function list(options: Options): Promise<ExitCode> {
  const { tenant = "" } = options;
  const answer = await answered(options, () =>
    client(BudgetService, options).listBudgets({ tenantId: tenant }),
  );
  print(options.output, {
    json: jsonOf(ListBudgetsResponseSchema, answer),
    names: answer.budgets.map(({ budgetId, tenantId }) => `${budgetId}/${tenantId}`),
    text: () => budgetTable(answer.budgets),
  });
  return 0;
}
