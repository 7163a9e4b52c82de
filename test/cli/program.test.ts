import type { Command } from "commander";
import { expect, test } from "vitest";
import { entries, program } from "../../services/cli/program.ts";

for (const [name, { load }] of Object.entries(entries)) {
  test(`tokengrid ${name} has a manual: every command and option says what it does`, async () => {
    const command = (await load()).command();
    expect(command.name()).toBe(name);
    expect(silent(command)).toEqual([]);
  });
}

test("tokengrid --help reads as it did", async () => {
  const tokengrid = await program([]);
  await expect(tokengrid.helpInformation()).toMatchFileSnapshot("../golden/cli/help.txt");
});

test("program() loads the command that is asked for, and no other", async () => {
  const loaded = (await program(["help", "pool"])).commands.filter(
    ({ commands }) => commands.length > 0,
  );
  expect(loaded.map((command) => command.name())).toEqual(["pool"]);
});

/** Commands and options without a word about them. */
function silent(command: Command): string[] {
  const here = command.name();
  return [
    ...(command.description() === "" && command.summary() === "" ? [here] : []),
    ...command.options
      .filter(({ description }) => description === "")
      .map(({ flags }) => `${here} ${flags}`),
    ...command.registeredArguments
      .filter(({ description }) => description === "")
      .map((argument) => `${here} ${argument.name()}`),
    ...command.commands.flatMap(silent),
  ];
}
