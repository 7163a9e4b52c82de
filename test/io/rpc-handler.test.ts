import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect } from "node:net";
import { createClient } from "@connectrpc/connect";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { openLog } from "../../services/io/log.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import { PoolService } from "../../services/wire/gen/tokengrid/v1/pool_pb.js";

const path = "/tokengrid.v1.PoolService/List";
const stop = new AbortController();

let server: RpcServer;
let lines: string[];
/** Calls of Watch that are over. */
let left: number;

beforeEach(async () => {
  lines = [];
  left = 0;
  const destination = { write: (line: string) => lines.push(line) };
  server = await serveRpc({
    host: "127.0.0.1",
    port: 0,
    routes: (router) => {
      router.service(PoolService, {
        list: () => ({ snapshotRevision: 7n }),
        async *watch(_request, { signal }) {
          try {
            for (;;) {
              yield { snapshotRevision: 1n };
              await new Promise(setImmediate);
              signal.throwIfAborted();
            }
          } finally {
            left += 1;
          }
        },
      });
    },
    limits: { closeGraceMs: 10 },
    log: openLog({ role: "test", level: "error", destination }),
    signal: stop.signal,
  });
});
afterEach(() => server.close());

async function said(bytes: string): Promise<string> {
  const socket = connect(server.port, "127.0.0.1");
  socket.end(bytes);
  const parts: Buffer[] = await socket.toArray();
  return Buffer.concat(parts).toString();
}

async function expectAlive(): Promise<void> {
  const pools = createClient(PoolService, rpcTransport({ url: `http://127.0.0.1:${server.port}` }));
  expect(await pools.list({})).toMatchObject({ snapshotRevision: 7n });
}

for (const host of ["[", "a b", "x:99999", "\\", ""]) {
  test(`a host that is "${host}" gets 400, and the next caller an answer`, async () => {
    const head = `POST ${path} HTTP/1.1\r\nhost: ${host}\r\ncontent-type: application/json\r\n`;
    const answer = await said(`${head}connection: close\r\ncontent-length: 2\r\n\r\n{}`);
    expect(answer).toMatch(/^HTTP\/1.1 400 /);
    await expectAlive();
  });
}

test("HTTP/1.0 without a host gets 400", async () => {
  const answer = await said(`POST ${path} HTTP/1.0\r\ncontent-length: 2\r\n\r\n{}`);
  expect(answer).toMatch(/^HTTP\/1.1 400 /);
  await expectAlive();
});

test("an authority that is none gets 400 over HTTP/2", async () => {
  const session = connectHttp2(`http://127.0.0.1:${server.port}`);
  const stream = session.request({ ":method": "POST", ":path": path, ":authority": "[" });
  stream.end();
  const [headers] = await once(stream, "response");
  expect(headers).toMatchObject({ ":status": 400 });
  session.destroy();
  await expectAlive();
});

test("a watcher who leaves is no error, neither in the log nor on the console", async () => {
  const printed = vi.spyOn(console, "error");
  try {
    const times = 20;
    for (let turn = 0; turn < times; turn++) {
      const session = connectHttp2(`http://127.0.0.1:${server.port}`).on("error", () => undefined);
      const stream = session.request({
        ":method": "POST",
        ":path": "/tokengrid.v1.PoolService/Watch",
        "content-type": "application/grpc+proto",
        te: "trailers",
      });
      stream.on("error", () => undefined);
      stream.end(Buffer.alloc(5));
      await once(stream, "data");
      session.destroy();
    }
    await expect.poll(() => left).toBe(times);
    await expectAlive();
    expect(printed).not.toHaveBeenCalled();
    expect(lines).toEqual([]);
  } finally {
    printed.mockRestore();
  }
});
