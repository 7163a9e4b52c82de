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

const settlementNames = ["statement", "usage", "ledger", "package", "price", "contract", "claim"];

async function settlementCommands(): Promise<[path: string, command: Command][]> {
  const loaded = await Promise.all(
    settlementNames.map(async (name) => (await entries[name]?.load())?.command()),
  );
  return loaded.flatMap((command) => (command === undefined ? [] : leaves(command, "")));
}

test("an option of settlement's commands is written in one way, whatever it is an option of", async () => {
  const known = (await settlementCommands()).flatMap(([, command]) => command.options);
  for (const name of ["vendor", "tenant", "pair", "period", "limit", "key", "kid", "output"]) {
    const flags = known.filter((option) => option.name() === name).map((option) => option.flags);
    expect([name, [...new Set(flags)].length]).toEqual([name, 1]);
  }
});

test("whoever can choose with whom can do it by vendor, by tenant and by pair", async () => {
  const some = (await settlementCommands()).filter(([, command]) => has(command, "pair"));
  expect(some.length).toBeGreaterThan(4);
  const halves = some.filter(([, each]) => !has(each, "vendor") || !has(each, "tenant"));
  expect(halves.map(([path]) => path)).toEqual([]);
});

test("whatever settlement answers can be had as JSON; an export has formats of its own", async () => {
  const deaf = (await settlementCommands()).filter(([, command]) => !has(command, "output"));
  expect(deaf.map(([path]) => path)).toEqual(["statement export"]);
});

function leaves(command: Command, above: string): [path: string, command: Command][] {
  const path = `${above}${command.name()}`;
  if (command.commands.length === 0) return [[path, command]];
  return command.commands.flatMap((each) => leaves(each, `${path} `));
}

function has(command: Command, name: string): boolean {
  return command.options.some((option) => option.name() === name);
}

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
