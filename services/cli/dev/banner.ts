import { isAbsolute, relative, sep } from "node:path";
import { span } from "../print.ts";
import { type Ports, portSettings } from "./ports.ts";

/** What every command takes for the data folder if none is named. */
const usualFolder = ".tokengrid";

export interface BannerFacts {
  readonly version: string;
  readonly host: string;
  readonly ports: Ports;
  readonly dataPath: string;
  readonly cwd: string;
  readonly isFirstStart: boolean;
  readonly startedInMs: number;
  /** Undefined without simulated pools. */
  readonly pools: { readonly reporting: number; readonly all: number } | undefined;
  /** For `pool drain`. */
  readonly somePool: string | undefined;
}

/** What listens where, what is off, and commands that work when they are pasted. */
export function banner(facts: BannerFacts): string {
  return [heading(facts), addresses(facts), off(facts), commands(facts), "Ctrl-C stops it.\n"].join(
    "\n",
  );
}

function heading({ version, pools, startedInMs, isFirstStart }: BannerFacts): string {
  const reporting =
    pools === undefined
      ? "no pools of its own"
      : `${pools.reporting} of ${pools.all} simulated pools report`;
  const state = isFirstStart ? "with a new data folder" : "with the data folder as it was";
  return `tokengrid ${version} is up after ${span(startedInMs)}, ${state}: ${reporting}\n`;
}

function addresses({ host, ports, dataPath, cwd }: BannerFacts): string {
  const at = (port: number, path = ""): string => `http://${reachable(host)}:${port}${path}`;
  return lines([
    `gateway   ${at(ports.gateway, "/v1")}   any OpenAI client`,
    `RPC       ${at(ports.rpc)}      ${portSettings.rpc.what}`,
    `console   ${at(ports.console)}`,
    `metrics   ${at(ports.metrics, "/metrics")}`,
    `data      ${shortPath(dataPath, cwd)}   keys, registry, ledger, spool; delete it to begin again`,
  ]);
}

function off({ pools, host }: BannerFacts): string {
  const access =
    reachable(host) === host
      ? "a caller on this machine is an operator"
      : "keys travel in clear text";
  return lines([
    `off       TLS; separate roles (all in one process; ${access}); copies of the data on other machines`,
    ...(pools === undefined
      ? []
      : [
          "simulated the pools: tokens are made up, their timing, power and prices follow the preset; their vendors count, claim",
          "          and witness for themselves, each with its own key",
        ]),
  ]);
}

function commands(facts: BannerFacts): string {
  const { host, ports } = facts;
  const isUsualPort = ports.rpc === portSettings.rpc.number;
  const text = [
    ...(isUsualPort ? [] : [`export TOKENGRID_ADDR=http://${reachable(host)}:${ports.rpc}`]),
    ...(facts.pools === undefined ? addingPool(facts) : askingPools(facts)),
    `curl -H 'content-type: application/json' -d '{}' http://${reachable(host)}:${ports.rpc}/tokengrid.v1.PoolService/List`,
  ];
  return `${facts.pools === undefined ? "Add a pool" : "Try it"}, in another terminal:\n\n${lines(text)}`;
}

/** Nobody answers yet: what a vendor does first. */
function addingPool({ dataPath, cwd }: BannerFacts): string[] {
  const folder = shortPath(dataPath, cwd);
  const data = folder === usualFolder ? "" : ` --data ${quoted(folder)}`;
  const key = quoted(`${folder}/keys/vendor-northgrid.key`);
  return [
    `npx tokengrid key create${data} --kind vendor --subject northgrid --file ${key}`,
    `npx tokengrid pool publish-prices --token-file ${key} --file deploy/config/price-book.yaml`,
    "npx tokengrid agent --config deploy/config/agent.yaml   # beside an engine; its addresses are in the file",
  ];
}

function askingPools({ host, ports, dataPath, cwd, somePool }: BannerFacts): string[] {
  const folder = shortPath(dataPath, cwd);
  return [
    `export OPENAI_BASE_URL=http://${reachable(host)}:${ports.gateway}/v1 OPENAI_API_KEY=$(cat ${quoted(`${folder}/dev.key`)})`,
    `curl $OPENAI_BASE_URL/chat/completions -H "authorization: Bearer $OPENAI_API_KEY" -H 'content-type: application/json' \\`,
    `  -d '{"model":"sim-chat","stream":true,"messages":[{"role":"user","content":"hi"}]}'`,
    "npx tokengrid placement explain --last         # why that pool, in money",
    ...(somePool === undefined
      ? []
      : [
          `npx tokengrid pool drain ${somePool}`.padEnd(47) +
            "# watch the arcs move in the console",
        ]),
    "npx tokengrid statement generate --period today",
    "npx tokengrid statement reconcile --period today  # our records against the vendors' own counts",
    `npx tokengrid ledger proof $(npx tokengrid usage query --limit 1 -o name) --out ${quoted(folder)}`,
    "npx tokengrid ledger logs".padEnd(47) + "# and what the vendors' witnesses have signed",
    "npx tokengrid statement export --format focus --period today",
  ];
}

/** An address to call, for one that means all. */
export function reachable(host: string): string {
  return host === "0.0.0.0" || host === "::" ? "127.0.0.1" : host;
}

function shortPath(path: string, cwd: string): string {
  const fromHere = relative(cwd, path);
  const isBelow =
    fromHere !== "" &&
    !isAbsolute(fromHere) &&
    !fromHere.startsWith(`..${sep}`) &&
    fromHere !== "..";
  return isBelow ? fromHere : path;
}

function quoted(path: string): string {
  return /^[\w./-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

function lines(texts: readonly string[]): string {
  return texts.map((text) => `  ${text}\n`).join("");
}
