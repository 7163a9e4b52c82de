import { Agent, request } from "node:http";
import { once } from "node:events";
import { connect } from "node:http2";
import { createClient } from "@connectrpc/connect";
import { expect, test } from "vitest";
import { openLog } from "../../services/io/log.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { serveRpc } from "../../services/io/rpc-server.ts";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";

/** Longer than a test may take: who waits for it fails. */
const never = 600_000;

function serve(closeGraceMs: number) {
  return serveRpc({
    host: "127.0.0.1",
    port: 0,
    routes: (router) => {
      router.service(PoolService, {
        list: () => ({ snapshotRevision: 7n }),
        async *watch(_request, { signal }) {
          for (let revision = 1n; !signal.aborted; revision += 1n) {
            yield { snapshotRevision: revision };
            await new Promise(setImmediate);
          }
        },
      });
    },
    limits: { closeGraceMs },
    log: openLog({ role: "test", level: "silent" }),
    signal: new AbortController().signal,
  });
}

test("close() cuts a caller who neither reads nor hangs up, after the grace", async () => {
  const server = await serve(10);
  const session = connect(`http://127.0.0.1:${server.port}`).on("error", () => undefined);
  const stream = session.request({
    ":method": "POST",
    ":path": "/tokengrid.v1.PoolService/Watch",
    "content-type": "application/grpc+proto",
    te: "trailers",
  });
  stream.on("error", () => undefined);
  stream.end(Buffer.alloc(5));
  await once(stream, "response");
  await server.close();
  session.destroy();
});

test("close() does not wait for a watcher who left the loop", async () => {
  const server = await serve(10);
  const pools = createClient(PoolService, rpcTransport({ url: `http://127.0.0.1:${server.port}` }));
  for await (const { snapshotRevision } of pools.watch({})) if (snapshotRevision > 3n) break;
  await server.close();
});

test("close() does not wait for an idle HTTP/1.1 connection", async () => {
  const server = await serve(never);
  const agent = new Agent({ keepAlive: true });
  const call = request({
    agent,
    port: server.port,
    method: "POST",
    path: "/tokengrid.v1.PoolService/List",
    headers: { "content-type": "application/json" },
  });
  call.end("{}");
  const [response] = await once(call, "response");
  expect(await response.setEncoding("utf8").toArray()).toEqual(['{"snapshotRevision":"7"}']);
  await server.close();
  agent.destroy();
});
