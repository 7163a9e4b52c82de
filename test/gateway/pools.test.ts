import { create } from "@bufbuild/protobuf";
import { createClient, createRouterTransport } from "@connectrpc/connect";
import { expect, test } from "vitest";
import type { PoolId } from "../../services/core/units.ts";
import { PoolDirectory } from "../../services/gateway/pools.ts";
import { openLog } from "../../services/io/log.ts";
import {
  EngineKind,
  PoolSchema,
  PoolService,
  PoolStatus,
  type Pool,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { until } from "./gateway-fixture.ts";

const unknownWord = 99;

function pool(poolId: string, engine: number = EngineKind.VLLM): Pool {
  return create(PoolSchema, {
    registration: {
      poolId,
      vendorId: "vendor-1",
      regionId: "zhongwei",
      endpoint: `http://127.0.0.1:9/${poolId}`,
      engine,
      models: [{ modelId: "model-1", version: "r1" }],
    },
    status: PoolStatus.READY,
  });
}

/** A directory before a control that sends one list after the other, when it is told to. */
function openDirectory(lists: readonly (readonly Pool[])[]) {
  const lines: Record<string, unknown>[] = [];
  const joined: string[] = [];
  const heard: string[][] = [];
  const stop = new AbortController();
  const gates = lists.map(() => Promise.withResolvers<undefined>());
  const transport = createRouterTransport((router) => {
    router.service(PoolService, {
      watch: async function* (_request, { signal }) {
        for (const [index, pools] of lists.entries()) {
          await gates[index]?.promise;
          yield { snapshotRevision: BigInt(index), pools: [...pools] };
        }
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
      },
      get: ({ poolId }) => ({ pool: pool(poolId, unknownWord) }),
    });
  });
  const directory = new PoolDirectory({
    client: createClient(PoolService, transport),
    log: openLog({
      role: "test",
      level: "warn",
      destination: { write: (line) => lines.push(JSON.parse(line)) },
    }),
    onPool: (id) => joined.push(id),
    onList: (list) => heard.push([...list.keys()]),
  });
  const watching = directory.watch(stop.signal);
  return {
    directory,
    lines,
    joined,
    heard,
    send: async (index: number): Promise<void> => {
      const before = directory.pools;
      gates[index]?.resolve(undefined);
      await until(() => directory.pools !== before);
    },
    close: async (): Promise<void> => {
      stop.abort();
      await watching;
    },
  };
}

const ids = ({ pools }: PoolDirectory): string[] => [...pools.keys()];

test("a pool that cannot be read is passed over and told once; the others are known", async () => {
  const unreadable = pool("new", unknownWord);
  const lists = [
    [pool("a"), unreadable, pool("b")],
    [pool("a"), unreadable, pool("c")],
  ];
  const { directory, lines, joined, heard, send, close } = openDirectory(lists);
  await send(0);
  expect([directory.isKnown, ids(directory)]).toEqual([true, ["a", "b"]]);
  await send(1);
  expect([ids(directory), joined]).toEqual([
    ["a", "c"],
    ["a", "b", "c"],
  ]);
  expect(heard).toEqual([
    ["a", "b"],
    ["a", "c"],
  ]);
  expect(lines).toMatchObject([
    { pool: "new", error: { message: expect.stringContaining("engine: expected one of") } },
  ]);
  await close();
});

test("a pool that can be read again is taken, and told again should it not stay so", async () => {
  const unreadable = pool("a", unknownWord);
  const { directory, lines, send, close } = openDirectory([
    [unreadable],
    [pool("a")],
    [unreadable],
  ]);
  await send(0);
  expect(ids(directory)).toEqual([]);
  await send(1);
  expect(ids(directory)).toEqual(["a"]);
  await send(2);
  expect([ids(directory), lines.length]).toEqual([[], 2]);
  await close();
});

test("find() of a pool that cannot be read is undefined", async () => {
  const { directory, lines, close } = openDirectory([]);
  expect(await directory.find("new" as PoolId)).toBeUndefined();
  expect(lines).toMatchObject([{ pool: "new" }]);
  await close();
});
