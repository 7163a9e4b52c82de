import { Command } from "commander";
import { running } from "../role.ts";

export function command(): Command {
  return running(new Command("agent"), () => import("../../agent/main.ts")).description(
    "Runs beside a pool: registers it, scrapes its engine's metrics and its power, and reports.",
  );
}
