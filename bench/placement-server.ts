/** The server process of the placement benchmark: a control replica, and bare echoes of the same messages. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fromBinary, toBinary, toJson } from "@bufbuild/protobuf";
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { Registry as Metrics } from "prom-client";
import { openControl, type Control } from "../services/control/main.ts";
import type { PlaceOutcome } from "../services/core/lease.ts";
import type { AttemptId, ReplicaId } from "../services/core/units.ts";
import { systemClock } from "../services/io/clock.ts";
import type { HotMethod } from "../services/io/grpc-hot.ts";
import { validate } from "../services/io/grpc-validation.ts";
import { openLog } from "../services/io/log.ts";
import { defaultPolicyYaml } from "../services/io/policy-file.ts";
import { loadCalendar } from "../services/io/preset.ts";
import { openSqliteRegistry } from "../services/io/registry-sqlite.ts";
import type { EntryKind } from "../services/io/registry.ts";
import { serveRpc } from "../services/io/rpc-server.ts";
import {
  PlacementService,
  PlaceRequestSchema,
  PlaceResponseSchema,
} from "../services/wire/gen/tokengrid/v1/placement_pb.js";
import {
  PoolRegistrationSchema,
  ReportRequestSchema,
} from "../services/wire/gen/tokengrid/v1/pool_pb.js";
import { PriceBookSchema } from "../services/wire/gen/tokengrid/v1/price_pb.js";
import { writePlaceOutcome, writePlaceResult } from "../services/wire/place-answer.ts";
import { readPlaceBatch, readPlacementRequest } from "../services/wire/place-codec.ts";
import { fromPlaceOutcome, toPlacementRequest } from "../services/wire/placement.ts";
import { fromPoolRegistration, fromPoolReport } from "../services/wire/pool.ts";
import { fromPriceBook } from "../services/wire/price.ts";
import { BytesReader, BytesWriter } from "../services/wire/protobuf-bytes.ts";
import {
  engineProfile,
  geography,
  northgrid,
  priceBook,
  registration,
  report,
  servedModel,
} from "../test/core/fixtures.ts";

/** Where the client finds what. */
export interface Ports {
  /** The product, and echoes in the thin framing. */
  readonly thin: number;
  readonly connect: number;
  readonly grpcJs: number;
}

export const echoPaths = {
  handUnary: "/bench.Echo/HandUnary",
  handStream: "/bench.Echo/HandStream",
  generatedUnary: "/bench.Echo/GeneratedUnary",
} as const;

const leaseMs = 1_000;
const reportEveryMs = 1_000;
const log = openLog({ role: "bench", level: "error" });

/** Serves until the parent says stop; answers its questions about processor time. */
export async function runServer(pools: number): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "tokengrid-bench-"));
  const stop = new AbortController();
  const control = await openBenchControl(folder, pools, stop.signal);
  const reporting = keepReporting(control, pools);
  const serve = async (hot: readonly HotMethod[]): Promise<number> => {
    const options = { host: "127.0.0.1", port: 0, hot, signal: stop.signal, log };
    const routes = hot.length > 0 ? control.routes : echoRoutes;
    return (await serveRpc({ ...options, routes })).port;
  };
  const grpcJs = new Server();
  const ports: Ports = {
    thin: await serve([...control.hot, ...echoes]),
    connect: await serve([]),
    grpcJs: await serveGrpcJs(grpcJs),
  };
  process.on("message", (question) => {
    if (question === "cpu") process.send?.({ cpu: process.cpuUsage() });
    if (question !== "stop") return;
    clearInterval(reporting);
    stop.abort();
    grpcJs.forceShutdown();
    control.close().then(
      () => {
        rmSync(folder, { recursive: true });
        process.exit(0);
      },
      (error: unknown) => {
        throw error;
      },
    );
  });
  process.send?.({ ports });
}

async function openBenchControl(
  folder: string,
  pools: number,
  signal: AbortSignal,
): Promise<Control> {
  const registry = await openSqliteRegistry(join(folder, "registry.sqlite"));
  const set = async (kind: EntryKind, key: string, value: unknown): Promise<void> => {
    await registry.set({
      ...{ kind, key, value: JSON.stringify(value), baseRevision: 0 },
      ...{ author: "bench", comment: "" },
    });
  };
  // Nothing is released here, so leases are short: their expiry is part of what is measured.
  const yaml = defaultPolicyYaml().replace("leaseMs: 30000", `leaseMs: ${leaseMs}`);
  await set("policy", "default", { yaml });
  const book = fromPriceBook(priceBook({ calendar: loadCalendar(), effectiveFromUs: 1n }));
  await set("price-book", "northgrid-2026@1", toJson(PriceBookSchema, book));
  for (const [index, pool] of idsOf(pools).entries()) {
    // Unlike in speed, so that their costs differ as those of real pools do.
    const stepBaseMs = 15 + ((index * 37) % 64) / 2;
    const models = [
      servedModel({ slotsTotal: 1_000_000, engineProfile: { ...engineProfile, stepBaseMs } }),
    ];
    const message = fromPoolRegistration(
      registration(pool, { models, pue: undefined, greenShare: undefined }),
      0,
    );
    await set("pool", pool, toJson(PoolRegistrationSchema, message));
  }
  return openControl({
    registry,
    geography: geography(),
    log,
    metrics: new Metrics(),
    clock: systemClock,
    replica: "control-1" as ReplicaId,
    journalFolder: join(folder, "journal"),
    signal,
  });
}

function idsOf(pools: number): string[] {
  return Array.from({ length: pools }, (_, index) => `pool-${index}`);
}

/** Every pool reports once per interval, over the fast lane's own method. */
function keepReporting(control: Control, pools: number): NodeJS.Timeout {
  const method = control.hot.find(({ path }) => path.endsWith("/Report"));
  const agent = method?.open({ kind: "vendor", subject: northgrid });
  let sequence = 0;
  const reportAll = (): void => {
    sequence += 1;
    const now = systemClock.now();
    for (const pool of idsOf(pools)) {
      const message = fromPoolReport(report(pool, { sequence, models: [] }), now);
      agent?.answer(Buffer.from(toBinary(ReportRequestSchema, message)));
    }
  };
  reportAll();
  return setInterval(reportAll, reportEveryMs);
}

/** An answer of the usual size. */
const answer: PlaceOutcome = {
  kind: "placed",
  placement: {
    lease: "control-1/1795292082954347" as never,
    fence: 1_795_292_082_954_347,
    ttlMs: 30_000,
    pool: "pool-17" as never,
    vendor: northgrid,
    engineModelName: "qwen3-32b",
    priceBook: "northgrid-2026" as never,
    priceVersion: 1,
    costNano: 2_164_646,
    ttftMsExpected: 42.3,
    policyRow: "W2" as never,
    snapshotRevision: 50_123,
    policyRevision: 6,
    joulesExpected: 1_113.78,
    gramsCo2Expected: 0.2,
  },
};

const writer = new BytesWriter();

/** They read the request in full and write a whole answer, and do nothing in between. */
const echoes: readonly HotMethod[] = [
  {
    path: echoPaths.handUnary,
    kind: "unary",
    open: () => ({
      answer: (bytes) => {
        readPlacementRequest(new BytesReader(bytes));
        return writer.message(() => writePlaceOutcome(writer, answer));
      },
    }),
  },
  {
    path: echoPaths.handStream,
    kind: "stream",
    open: () => ({
      answer: (bytes) => {
        const { places } = readPlaceBatch(new BytesReader(bytes));
        return writer.message(() => {
          for (const { attempt } of places) writePlaceResult(writer, attempt as AttemptId, answer);
        });
      },
    }),
  },
  {
    path: echoPaths.generatedUnary,
    kind: "unary",
    open: () => ({ answer: generatedEcho }),
  },
];

function generatedEcho(bytes: Uint8Array): Uint8Array {
  const message = fromBinary(PlaceRequestSchema, bytes);
  validate(PlaceRequestSchema, message);
  toPlacementRequest(message);
  return toBinary(PlaceResponseSchema, fromPlaceOutcome(answer));
}

function echoRoutes(router: Parameters<Control["routes"]>[0]): void {
  router.service(PlacementService, {
    place: (message) => {
      toPlacementRequest(message);
      return fromPlaceOutcome(answer);
    },
  });
}

async function serveGrpcJs(server: Server): Promise<number> {
  const identity = (bytes: Buffer): Buffer => bytes;
  server.register(
    echoPaths.generatedUnary,
    (call: { readonly request: Buffer }, callback: (error: null, answer: Buffer) => void) =>
      callback(null, Buffer.from(generatedEcho(call.request))),
    identity,
    identity,
    "unary",
  );
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
      if (error === null) resolve(port);
      else reject(error);
    });
  });
}
