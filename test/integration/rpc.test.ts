import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect as connectHttp2 } from "node:http2";
import { connect as connectTcp } from "node:net";
import { promisify } from "node:util";
import { fromBinary, toBinary, type DescMessage, type MessageShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import { Client, credentials, Metadata, status, type ServiceError } from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createKey } from "../../services/io/keys.ts";
import { openLog } from "../../services/io/log.ts";
import { rpcTransport } from "../../services/io/rpc-client.ts";
import { rpcLimits, serveRpc, type RpcServer } from "../../services/io/rpc-server.ts";
import {
  HealthCheckRequestSchema,
  HealthCheckResponseSchema,
  HealthCheckResponse_ServingStatus as Serving,
} from "../../services/wire/gen/grpc/health/v1/health_pb.js";
import {
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
} from "../../services/wire/gen/grpc/reflection/v1/reflection_pb.js";
import {
  PlacementService,
  PlaceRequestSchema,
  PlaceResponseSchema,
  PlaceStreamRequestSchema,
  PlaceStreamResponseSchema,
} from "../../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  PoolService,
  ReportRequestSchema,
  ReportResponseSchema,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { create } from "@bufbuild/protobuf";
import { collected } from "../collected.ts";
import { messages, openTestControl, vendor, type TestControl } from "../control/fixtures.ts";
import { findProgram } from "../program.ts";

const run = promisify(execFile);
const log = openLog({ role: "test", level: "silent" });
const stop = new AbortController();
let control: TestControl;
let server: RpcServer;
let url: string;
let vendorKey: string;
let isReady = true;

beforeAll(async () => {
  control = await openTestControl();
  const { secret, record } = createKey({ kind: "vendor", subject: vendor.subject, nowUs: 0n });
  vendorKey = secret;
  await control.registry.set({
    kind: "key",
    key: record.prefix,
    value: JSON.stringify(record),
    baseRevision: 0,
    author: "test",
    comment: "",
  });
  server = await serveRpc({
    host: "127.0.0.1",
    port: 0,
    routes: control.routes,
    hot: control.hot,
    identify: control.identify,
    isReady: () => isReady,
    signal: stop.signal,
    log,
  });
  url = `http://127.0.0.1:${server.port}`;
  const pools = createClient(PoolService, rpcTransport({ url }));
  await pools.publishPrices({ book: messages.prices() });
  await pools.register({ pool: messages.registration("a") });
});

afterAll(async () => {
  stop.abort();
  await server.close();
  await control.close();
});

/** The calls of gRPC's own client, which knows nothing of our code. */
class Peer {
  readonly #client = new Client(`127.0.0.1:${server.port}`, credentials.createInsecure());

  async unary<In extends DescMessage, Out extends DescMessage>(
    path: string,
    types: readonly [In, Out],
    message: MessageShape<In>,
    metadata = new Metadata(),
  ): Promise<MessageShape<Out>> {
    const [input, output] = types;
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        (each: MessageShape<In>) => Buffer.from(toBinary(input, each)),
        (bytes: Buffer) => fromBinary(output, bytes),
        message,
        metadata,
        { deadline: Date.now() + 5_000 },
        (error: ServiceError | null, answer) => {
          if (answer === undefined) reject(error ?? new Error("expected an answer, found none"));
          else resolve(answer);
        },
      );
    });
  }

  async stream<In extends DescMessage, Out extends DescMessage>(
    path: string,
    types: readonly [In, Out],
    sent: readonly MessageShape<In>[],
    metadata = new Metadata(),
  ): Promise<MessageShape<Out>[]> {
    const [input, output] = types;
    const call = this.#client.makeBidiStreamRequest(
      path,
      (each: MessageShape<In>) => Buffer.from(toBinary(input, each)),
      (bytes: Buffer) => fromBinary(output, bytes),
      metadata,
      { deadline: Date.now() + 5_000 },
    );
    for (const message of sent) call.write(message);
    call.end();
    return collected(call);
  }

  close(): void {
    this.#client.close();
  }
}

function withKey(secret: string): Metadata {
  const metadata = new Metadata();
  metadata.set("authorization", `Bearer ${secret}`);
  return metadata;
}

const placePath = "/tokengrid.v1.PlacementService/Place";
const reportPath = "/tokengrid.v1.PoolService/Report";
const placeTypes = [PlaceRequestSchema, PlaceResponseSchema] as const;
const reportTypes = [ReportRequestSchema, ReportResponseSchema] as const;

describe("grpc-js", () => {
  let peer: Peer;
  beforeAll(() => {
    peer = new Peer();
  });
  afterAll(() => peer.close());

  test("reports and places", async () => {
    const answers = await peer.stream(
      reportPath,
      reportTypes,
      [messages.report("a"), messages.report("a", { sequence: 2 })],
      withKey(vendorKey),
    );
    expect(answers.map(({ sequence }) => sequence)).toEqual([1n, 2n]);
    const { outcome } = await peer.unary(placePath, placeTypes, messages.place());
    expect(outcome).toMatchObject({ case: "placement", value: { lease: { poolId: "a" } } });
  });

  test("places by batches on a stream", async () => {
    const batch = create(PlaceStreamRequestSchema, { places: [messages.place()] });
    const answers = await peer.stream(
      "/tokengrid.v1.PlacementService/PlaceStream",
      [PlaceStreamRequestSchema, PlaceStreamResponseSchema],
      [batch, batch, batch],
    );
    expect(answers.map(({ places }) => places.length)).toEqual([1, 1, 1]);
  });

  test("gets INVALID_ARGUMENT with the field's name for a bad request", async () => {
    const bad = create(PlaceRequestSchema, { ...messages.place(), modelId: "" });
    await expect(peer.unary(placePath, placeTypes, bad)).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: "model_id: must be at least 1 characters",
    });
  });

  test("gets UNAUTHENTICATED for a key that is unknown", async () => {
    const metadata = withKey(`vk-tg-${"0".repeat(12)}-${"0".repeat(64)}`);
    await expect(
      peer.unary(placePath, placeTypes, messages.place(), metadata),
    ).rejects.toMatchObject({ code: status.UNAUTHENTICATED });
  });

  test("gets PERMISSION_DENIED where its key is not enough", async () => {
    await expect(
      peer.unary(placePath, placeTypes, messages.place(), withKey(vendorKey)),
    ).rejects.toMatchObject({ code: status.PERMISSION_DENIED });
    await expect(
      peer.stream(reportPath, reportTypes, [messages.report("a")]),
    ).rejects.toMatchObject({ code: status.PERMISSION_DENIED });
  });

  test("checks health", async () => {
    const check = async (service: string) =>
      peer.unary(
        "/grpc.health.v1.Health/Check",
        [HealthCheckRequestSchema, HealthCheckResponseSchema],
        create(HealthCheckRequestSchema, { service }),
      );
    for (const name of ["", "readiness", "liveness", "tokengrid.v1.PoolService"]) {
      expect([name, (await check(name)).status]).toEqual([name, Serving.SERVING]);
    }
    await expect(check("other")).rejects.toMatchObject({ code: status.NOT_FOUND });
    isReady = false;
    expect((await check("")).status).toBe(Serving.NOT_SERVING);
    expect((await check("liveness")).status).toBe(Serving.SERVING);
    isReady = true;
  });

  for (const version of ["v1", "v1alpha"]) {
    test(`reads our contracts by reflection ${version}`, async () => {
      const ask = async (messageRequest: object) => {
        const [answer] = await peer.stream(
          `/grpc.reflection.${version}.ServerReflection/ServerReflectionInfo`,
          [ServerReflectionRequestSchema, ServerReflectionResponseSchema],
          [create(ServerReflectionRequestSchema, { messageRequest: messageRequest as never })],
        );
        return answer?.messageResponse;
      };
      expect(await ask({ case: "listServices", value: "" })).toMatchObject({
        case: "listServicesResponse",
        value: {
          service: expect.arrayContaining([
            expect.objectContaining({ name: "tokengrid.v1.PlacementService" }),
            expect.objectContaining({ name: "grpc.health.v1.Health" }),
            expect.objectContaining({ name: `grpc.reflection.${version}.ServerReflection` }),
          ]),
        },
      });
      const found = await ask({
        case: "fileContainingSymbol",
        value: "tokengrid.v1.PoolService.Register",
      });
      expect(found?.case).toBe("fileDescriptorResponse");
      const files = found?.case === "fileDescriptorResponse" ? found.value.fileDescriptorProto : [];
      const names = files.map((bytes) => fromBinary(FileDescriptorProtoSchema, bytes).name);
      expect(names).toContain("tokengrid/v1/pool.proto");
      expect(names).toContain("buf/validate/validate.proto");
      expect(await ask({ case: "fileByFilename", value: "no.proto" })).toMatchObject({
        case: "errorResponse",
        value: { errorCode: status.NOT_FOUND },
      });
    });
  }
});

describe("one port", () => {
  const curl = findProgram("curl");

  describe.skipIf(curl === undefined)("curl", () => {
    const post = async (path: string, body: string, ...options: readonly string[]) => {
      const type = "content-type: application/json";
      const { stdout } = await run(curl ?? "", [
        ...["-s", "-w", "\n%{http_code}", "-H", type, ...options, "-d", body, `${url}${path}`],
      ]);
      const [json = "", code = ""] = stdout.split(/\n(?=\d+$)/);
      return { code: Number(code), body: JSON.parse(json) as unknown };
    };

    for (const [title, options] of [
      ["HTTP/1.1", []],
      ["HTTP/2", ["--http2-prior-knowledge"]],
    ] as const) {
      test(`lists pools as JSON over ${title}`, async () => {
        expect(await post("/tokengrid.v1.PoolService/List", "{}", ...options)).toMatchObject({
          code: 200,
          body: { pools: [{ registration: { poolId: "a", vendorId: "northgrid" } }] },
        });
      });
    }

    const bad: Readonly<Record<string, readonly [string, string, number, string]>> = {
      "malformed JSON": ["/tokengrid.v1.PoolService/List", "{", 400, "invalid_argument"],
      "a field of the wrong type": [
        "/tokengrid.v1.PoolService/Get",
        '{"poolId":7}',
        400,
        "invalid_argument",
      ],
      "a number that is none": [
        "/tokengrid.v1.PlacementService/Place",
        '{"inputTokens":"NaN"}',
        400,
        "invalid_argument",
      ],
      "a negative count": [
        "/tokengrid.v1.PlacementService/Place",
        '{"inputTokens":-1}',
        400,
        "invalid_argument",
      ],
      "a price that is a float": [
        "/tokengrid.v1.PoolService/PublishPrices",
        '{"book":{"lines":[{"tiers":[{"pricePicoPerToken":1.5}]}]}}',
        400,
        "invalid_argument",
      ],
      "an unknown pool": ["/tokengrid.v1.PoolService/Get", '{"poolId":"b"}', 404, "not_found"],
    };

    for (const [title, [path, body, code, word]] of Object.entries(bad)) {
      test(`gets ${code} ${word} for ${title}`, async () => {
        expect(await post(path, body)).toMatchObject({ code, body: { code: word } });
      });
    }

    test("gets 429 for a body above the bound, and the server goes on", async () => {
      const body = JSON.stringify({ yaml: "x".repeat(rpcLimits.readBytesMax + 1) });
      const { stdout } = await new Promise<{ stdout: string }>((resolve, reject) => {
        const child = execFile(
          curl ?? "",
          [
            ...["-s", "-H", "content-type: application/json", "-H", "expect:", "-d", "@-"],
            `${url}/tokengrid.v1.PolicyService/Validate`,
          ],
          (error, text) => (error === null ? resolve({ stdout: text }) : reject(error)),
        );
        child.stdin?.end(body);
      });
      expect(JSON.parse(stdout)).toMatchObject({ code: "resource_exhausted" });
      expect((await post("/tokengrid.v1.PoolService/List", "{}")).code).toBe(200);
    });

    test("gets 401 for a key that is unknown, also from this machine", async () => {
      const answer = await post(
        "/tokengrid.v1.PoolService/List",
        "{}",
        ...["-H", "authorization: Bearer nonsense"],
      );
      expect(answer).toMatchObject({ code: 401, body: { code: "unauthenticated" } });
    });

    test("gets 404 for a path that does not exist", async () => {
      const { stdout } = await run(curl ?? "", [
        ...["-s", "-o", "/dev/null", "-w", "%{http_code}", `${url}/nothing`],
      ]);
      expect(stdout).toBe("404");
    });
  });

  test("gRPC-Web and Connect get the same answer as gRPC", async () => {
    const transports = [
      rpcTransport({ url }),
      createGrpcWebTransport({ baseUrl: url, httpVersion: "1.1" }),
      createConnectTransport({ baseUrl: url, httpVersion: "1.1", useBinaryFormat: true }),
      createConnectTransport({ baseUrl: url, httpVersion: "2" }),
    ];
    for (const transport of transports) {
      const { decision } = await createClient(PlacementService, transport).plan({
        request: messages.place(),
      });
      expect(decision?.modelId).toBe("qwen3-32b");
    }
  });

  test("a deadline longer than the bound is refused", async () => {
    const pools = createClient(PoolService, rpcTransport({ url }));
    await expect(pools.list({}, { timeoutMs: rpcLimits.timeoutMsMax + 1 })).rejects.toThrow(
      "[invalid_argument]",
    );
  });

  test("a stream whose deadline passes ends with DEADLINE_EXCEEDED", async () => {
    const placement = createClient(PlacementService, rpcTransport({ url }));
    async function* silent(): AsyncGenerator<never> {
      await once(stop.signal, "abort");
      yield* [];
    }
    const error = ConnectError.from(
      await collected(placement.placeStream(silent(), { timeoutMs: 50 })).catch((each) => each),
    );
    expect(error.code).toBe(Code.DeadlineExceeded);
  });
});

test("a message above the bound on the fast lane is refused, and the connection goes on", async () => {
  const session = connectHttp2(url);
  const call = session.request({
    ":method": "POST",
    ":path": placePath,
    "content-type": "application/grpc",
    te: "trailers",
  });
  const prefix = Buffer.alloc(5);
  prefix.writeUInt32BE(rpcLimits.readBytesMax + 1, 1);
  call.write(prefix);
  const [trailers] = await once(call.resume(), "trailers");
  expect(trailers["grpc-status"]).toBe(String(Code.ResourceExhausted));
  session.destroy();
});

test("a client that resets streams without end is cut off, and others are not", async () => {
  const session = connectHttp2(url);
  session.on("error", () => undefined);
  const closed = new Promise((resolve) => session.on("close", resolve));
  let opened = 0;
  const attack = (): void => {
    if (session.destroyed || opened >= 5_000) return;
    for (let index = 0; index < 20; index++) {
      const stream = session.request({ ":method": "POST", ":path": placePath });
      stream.on("error", () => undefined);
      stream.close(8);
      opened += 1;
    }
    setImmediate(attack);
  };
  attack();
  await closed;
  expect(opened).toBeLessThan(5_000);
  const pools = createClient(PoolService, rpcTransport({ url }));
  expect((await pools.list({})).pools).toHaveLength(1);
});

test("a connection that says nothing, or half a preface, holds up nobody", async () => {
  const silent = connectTcp(server.port, "127.0.0.1");
  const half = connectTcp(server.port, "127.0.0.1");
  half.write("PRI * HT");
  await Promise.all([once(silent, "connect"), once(half, "connect")]);
  const pools = createClient(PoolService, rpcTransport({ url }));
  expect((await pools.list({})).pools).toHaveLength(1);
  silent.destroy();
  half.destroy();
});

test("a connection that says nothing is closed, and so is a request that never ends", async () => {
  const closing = new AbortController();
  const limits = { prefaceMsMax: 50, headersMsMax: 50, requestMsMax: 50 };
  const small = await serveRpc({
    ...{ host: "127.0.0.1", port: 0, routes: control.routes, limits, signal: closing.signal, log },
  });
  const silent = connectTcp(small.port, "127.0.0.1");
  const slow = connectTcp(small.port, "127.0.0.1");
  slow.write("POST /x HTTP/1.1\r\nhost: a\r\n");
  await Promise.all([once(silent.resume(), "close"), once(slow.resume(), "close")]);
  await small.close();
});

test("a port without TLS is not opened off loopback, unless it is said to be safe", async () => {
  const options = { port: 0, routes: control.routes, signal: stop.signal, log };
  await expect(serveRpc({ ...options, host: "0.0.0.0" })).rejects.toThrow("expected a loopback");
  const open = await serveRpc({ ...options, host: "0.0.0.0", isCleartextAllowed: true });
  const pools = createClient(PoolService, rpcTransport({ url: `http://127.0.0.1:${open.port}` }));
  await expect(pools.list({})).rejects.toThrow("[unauthenticated]");
  await open.close();
});

test("a server that closes says so: not serving, then streams end, then it is gone", async () => {
  const closing = new AbortController();
  const other = await serveRpc({
    ...{ host: "127.0.0.1", port: 0, routes: control.routes, hot: control.hot },
    ...{ signal: closing.signal, log },
  });
  const transport = rpcTransport({ url: `http://127.0.0.1:${other.port}` });
  const pools = createClient(PoolService, transport).watch({ intervalMs: 1 });
  const seen = pools[Symbol.asyncIterator]();
  await seen.next();
  const session = connectHttp2(`http://127.0.0.1:${other.port}`);
  const stream = session.request({
    ":method": "POST",
    ":path": "/tokengrid.v1.PlacementService/PlaceStream",
    "content-type": "application/grpc",
    te: "trailers",
  });
  await once(stream.resume(), "response");
  const trailers = once(stream, "trailers");
  const rest = expect(collected({ [Symbol.asyncIterator]: () => seen })).rejects.toThrow(
    "[unavailable]",
  );
  await other.close();
  expect((await trailers)[0]["grpc-status"]).toBe(String(Code.Unavailable));
  await rest;
});
