import { Command } from "commander";
import { version } from "./version.ts";

interface Entry {
  readonly group: string;
  readonly summary: string;
  readonly load: () => Promise<{ command(): Command }>;
}

/** One program, several roles. A command is loaded when it is asked for, and its role with it. */
export const entries: Readonly<Record<string, Entry>> = {
  dev: {
    group: "Run:",
    summary: "everything in one process, with simulated pools, on embedded stores",
    load: () => import("./commands/dev.ts"),
  },
  serve: {
    group: "Run:",
    summary: "one role: control, gateway or settlement",
    load: () => import("./commands/serve.ts"),
  },
  agent: {
    group: "Run:",
    summary: "the agent beside a pool: scrapes its engine and reports",
    load: () => import("./commands/agent.ts"),
  },
  sim: {
    group: "Run:",
    summary: "simulated pools over HTTP",
    load: () => import("./commands/sim.ts"),
  },
  replay: {
    group: "Run:",
    summary: "send a recorded workload through the grid and report on it",
    load: () => import("./commands/replay.ts"),
  },
  pool: {
    group: "Operate:",
    summary: "list, describe, watch, register, cordon and drain pools; publish prices",
    load: () => import("./commands/pool.ts"),
  },
  top: {
    group: "Operate:",
    summary: "what the pools are doing now",
    load: () => import("./commands/top.ts"),
  },
  placement: {
    group: "Operate:",
    summary: "plan a placement, explain one in money, replay what was placed",
    load: () => import("./commands/placement.ts"),
  },
  policy: {
    group: "Operate:",
    summary: "the operator's rules: validate, test, compare, apply, go back",
    load: () => import("./commands/policy.ts"),
  },
  budget: {
    group: "Operate:",
    summary: "what tenants have left of money, energy and carbon",
    load: () => import("./commands/budget.ts"),
  },
  alias: {
    group: "Operate:",
    summary: "names that tenants ask for, and the models they stand for",
    load: () => import("./commands/alias.ts"),
  },
  key: {
    group: "Operate:",
    summary: "create, list and revoke keys of tenants, vendors and operators",
    load: () => import("./commands/key.ts"),
  },
  price: {
    group: "Money:",
    summary: "price books of all sides: list, validate, publish, sign",
    load: () => import("./commands/price.ts"),
  },
  contract: {
    group: "Money:",
    summary: "what was agreed with whom: validate, propose, sign, list",
    load: () => import("./commands/contract.ts"),
  },
  usage: {
    group: "Money:",
    summary: "what was used: attempt by attempt, added up, as it comes",
    load: () => import("./commands/usage.ts"),
  },
  statement: {
    group: "Money:",
    summary: "what is owed for a period: close, verify, sign, pay, dispute, export",
    load: () => import("./commands/statement.ts"),
  },
  claim: {
    group: "Money:",
    summary: "what a vendor counted itself: sign and send it",
    load: () => import("./commands/claim.ts"),
  },
  package: {
    group: "Money:",
    summary: "packages of tokens and points: publish, sell, share out, refund",
    load: () => import("./commands/package.ts"),
  },
  ledger: {
    group: "Money:",
    summary: "the books and their logs: verify, prove a record, sign what is new",
    load: () => import("./commands/ledger.ts"),
  },
  witness: {
    group: "Money:",
    summary: "sign another's log as long as it only grows",
    load: () => import("./commands/witness.ts"),
  },
  doctor: {
    group: "Look after:",
    summary: "check this machine, the ports, the data folder and its books",
    load: () => import("./commands/doctor.ts"),
  },
  version: {
    group: "Look after:",
    summary: "versions of the program and of what it runs on",
    load: () => import("./commands/version.ts"),
  },
};

const footer = `
Start here:
  $ tokengrid dev                          gateway :8080, RPC :7233, console :8233, metrics :9464
  $ tokengrid placement explain --last     why that pool, in money
  $ tokengrid help statement               the manual of a command

Environment:
  TOKENGRID_ADDR         RPC address for the commands that ask a server
  TOKENGRID_TOKEN_FILE   file with their credential
  TOKENGRID_DATA         data folder of dev, key and doctor
  NO_COLOR               no colours, as without a terminal

Exit codes:
  0  done
  2  found out, and the answer is no (no pool fits, a drain cut work, a file is refused)
  1  could not find out (usage, network, rights, a bug)
`;

/** The whole command line, with the one command loaded that the words ask for. */
export async function program(words: readonly string[]): Promise<Command> {
  const wanted = words[0] === "help" ? words[1] : words[0];
  const tokengrid = new Command("tokengrid")
    .description(
      "Dispatches token requests over many vendors' pools, meters them and settles the bill.",
    )
    .version(version(), "-V, --version")
    .showHelpAfterError("(--help shows what is expected)")
    .addHelpText("after", footer);
  for (const [name, { group, summary, load }] of Object.entries(entries)) {
    const command = name === wanted ? (await load()).command() : new Command(name);
    tokengrid.addCommand(command.summary(summary).helpGroup(group));
    inherit(command, tokengrid);
  }
  return tokengrid;
}

/** `addCommand` leaves a command as it was made; help and complaints should look the same everywhere. */
function inherit(command: Command, from: Command): void {
  command.copyInheritedSettings(from);
  for (const each of command.commands) inherit(each, command);
}
