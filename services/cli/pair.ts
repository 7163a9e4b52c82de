import { type Command, Option } from "commander";

/** With whom something is: the same three options wherever one is chosen. */
export interface PairOptions {
  readonly vendor?: string;
  readonly tenant?: string;
  readonly pair?: string;
}

export function withPair(command: Command): Command {
  return command
    .optionsGroup("With whom:")
    .addOption(new Option("--vendor <id>", "only with this vendor").conflicts(["tenant", "pair"]))
    .addOption(new Option("--tenant <id>", "only with this tenant").conflicts("pair"))
    .addOption(
      new Option(
        "--pair <pair>",
        "only with this one: vendor:<id>, tenant:<id>, model:<owner> or channel:<id>",
      ),
    )
    .optionsGroup("Options:");
}

/** Empty if nobody was named. */
export function pairOf({ vendor, tenant, pair = "" }: PairOptions): string {
  if (vendor !== undefined) return `vendor:${vendor}`;
  return tenant === undefined ? pair : `tenant:${tenant}`;
}
