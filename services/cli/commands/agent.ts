import { Command } from "commander";
import { running } from "../role.ts";

export function command(): Command {
  return running(new Command("agent"), () => import("../../agent/main.ts")).description(
    "Runs beside a pool: registers it, scrapes its engine's metrics and its power, and reports. If its file says so, " +
      "it signs the operator's log of the vendor as long as it only grows, and claims what the vendor counted.",
  );
}
