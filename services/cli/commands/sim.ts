import { Command } from "commander";
import { running } from "../role.ts";

export function command(): Command {
  return running(new Command("sim"), () => import("../../sim/main.ts")).description(
    "Serves simulated pools over HTTP: the OpenAI surface and vLLM's metric names.",
  );
}
