import { Command } from "commander";
import { running } from "../role.ts";

export function command(): Command {
  return new Command("serve")
    .description(
      "Runs one role until SIGTERM, which ends it in order; a second one ends it at once.",
    )
    .addCommand(
      running(new Command("control"), () => import("../../control/main.ts")).description(
        "Registry, live figures, placement and policy over gRPC, gRPC-Web and JSON.",
      ),
    )
    .addCommand(
      running(new Command("gateway"), () => import("../../gateway/main.ts")).description(
        "The OpenAI surface: places, streams, meters.",
      ),
    )
    .addCommand(
      running(new Command("settlement"), () => import("../../settlement/main.ts")).description(
        "Usage records to ledger to statements.",
      ),
    );
}
