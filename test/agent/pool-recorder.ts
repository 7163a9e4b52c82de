import { Code, ConnectError } from "@connectrpc/connect";
import type { ReportResult } from "../../services/core/events.ts";
import { openLog } from "../../services/io/log.ts";
import { serveRpc } from "../../services/io/rpc-server.ts";
import type { PoolStatus } from "../../services/core/pool.ts";
import {
  PoolService,
  type PoolRegistration,
  type ReportRequest,
} from "../../services/wire/gen/tokengrid/v1/pool_pb.js";
import { poolStatuses, reportResults } from "../../services/wire/pool.ts";

export interface Recorder {
  readonly url: string;
  readonly registrations: PoolRegistration[];
  readonly reports: ReportRequest[];
  readonly authorizations: (string | null)[];
  /** Report streams that have not ended. */
  readonly streamsOpen: number;
  close(): Promise<void>;
}

export interface RecorderOptions {
  /** Answer to a report, by its number since the recorder began. `cut` ends the stream. */
  readonly answer?: (count: number) => ReportResult | "cut" | "silence";
  readonly status?: PoolStatus;
  /** Registrations to refuse, from the first on. */
  readonly refusals?: number;
  readonly port?: number;
}

/** The pool service as an agent sees it: takes down what comes and answers as the test says. */
export async function openRecorder(options: RecorderOptions = {}): Promise<Recorder> {
  const { answer = () => "accepted", status = "ready", refusals = 0 } = options;
  const [registrations, reports, authorizations]: [
    PoolRegistration[],
    ReportRequest[],
    (string | null)[],
  ] = [[], [], []];
  const stop = new AbortController();
  let streamsOpen = 0;
  const server = await serveRpc({
    host: "127.0.0.1",
    port: options.port ?? 0,
    routes: (router) =>
      router.service(PoolService, {
        register: ({ pool }, context) => {
          authorizations.push(context.requestHeader.get("authorization"));
          if (pool !== undefined) registrations.push(pool);
          if (registrations.length <= refusals) {
            throw new ConnectError("not your pool", Code.PermissionDenied);
          }
          return { revision: 1n, generation: pool?.generation ?? 0n, reportIntervalMs: 20 };
        },
        async *report(requests) {
          streamsOpen += 1;
          try {
            for await (const request of requests) {
              reports.push(request);
              const result = answer(reports.length);
              if (result === "cut") return;
              if (result === "silence") continue;
              yield {
                sequence: request.sequence,
                result: reportResults.fromWord(result),
                status: poolStatuses.fromWord(status),
              };
            }
          } finally {
            streamsOpen -= 1;
          }
        },
      }),
    identify: () => ({ kind: "vendor", subject: "qilian" }),
    signal: stop.signal,
    log: openLog({ role: "test", level: "silent" }),
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    registrations,
    reports,
    authorizations,
    get streamsOpen() {
      return streamsOpen;
    },
    close: () => server.close(),
  };
}
