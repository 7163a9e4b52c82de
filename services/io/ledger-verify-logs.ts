import { Frontier, treeHash } from "../core/settlement/proof/merkle.ts";
import { TileEdge, type Tile } from "../core/settlement/proof/tiles.ts";
import type { Leaf, LedgerStore } from "./ledger-store.ts";
import { pageRows, type Findings } from "./ledger-findings.ts";
import { sha256 } from "./signing.ts";

export interface LogHead {
  readonly size: bigint;
  /** Lower-case hex. */
  readonly root: string;
}

const tree = treeHash(sha256);

/** Hashes and tiles of all logs, made of the texts of their leaves. */
export async function verifyLogs(
  store: LedgerStore,
  findings: Findings,
): Promise<Map<string, LogHead>> {
  const heads = new Map<string, LogHead>();
  for (const log of (await store.logs()).keys()) {
    heads.set(log, await verifyLog(store, log, findings));
  }
  return heads;
}

async function verifyLog(
  store: LedgerStore,
  log: Leaf["log"],
  findings: Findings,
): Promise<LogHead> {
  const edge = new TileEdge(new Frontier(tree));
  let next = 0n;
  for (;;) {
    const page = await store.leaves(log, next, pageRows);
    if (page.length === 0) return { size: edge.size, root: edge.root() };
    for (const { index, text, hash } of page) {
      if (index !== next) findings.tell(`log ${log}: expected leaf ${next}, found ${index}`);
      next = index + 1n;
      const made = tree.leaf(text);
      if (made !== hash)
        findings.tell(`leaf ${index} of log ${log}: its bytes do not have the hash ${hash}`);
      for (const tile of edge.append(made)) await verifyTile(store, log, tile, findings);
    }
    findings.looked(page.length);
  }
}

async function verifyTile(
  store: LedgerStore,
  log: Leaf["log"],
  { level, index, hashes }: Tile,
  findings: Findings,
): Promise<void> {
  const kept = await store.tile(log, level, index);
  const name = `tile ${level}/${index} of log ${log}`;
  if (kept === undefined) findings.tell(`${name} is not there`);
  else if (kept.hashes !== hashes.join("")) findings.tell(`${name}: leaves give other hashes`);
}
