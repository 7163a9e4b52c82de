import { Command } from "commander";
import { type OutputOptions, withOutput } from "../connect.ts";
import { exits } from "../outcome.ts";
import { print, textCard } from "../print.ts";
import { version } from "../version.ts";

export function command(): Command {
  return withOutput(new Command("version"))
    .description("Prints the version of the program and of what it runs on.")
    .action(exits(show));
}

function show({ output }: OutputOptions): Promise<0> {
  const { node, openssl, v8 } = process.versions;
  const facts = { version: version(), node, v8, openssl: openssl, platform: platform() };
  print(output, {
    json: facts,
    names: [facts.version],
    text: () => textCard(Object.entries(facts)),
  });
  return Promise.resolve(0);
}

function platform(): string {
  return `${process.platform} ${process.arch}`;
}
