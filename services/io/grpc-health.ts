import { setTimeout as wait } from "node:timers/promises";
import { Code, ConnectError, type ConnectRouter } from "@connectrpc/connect";
import {
  Health,
  HealthCheckResponse_ServingStatus as Status,
} from "../wire/gen/grpc/health/v1/health_pb.js";

/** How soon a watcher sees a change. */
const watchPollMs = 200;

/**
 * The health service of gRPC. The empty name is the whole server and the same as `readiness`; `liveness` holds as long
 * as there is an answer at all; a service is as ready as the server.
 */
export function healthRoutes(options: {
  readonly router: ConnectRouter;
  /** Full names of what is served. */
  readonly services: ReadonlySet<string>;
  readonly isReady: () => boolean;
}): void {
  const { router, services, isReady } = options;
  const statusOf = (name: string): Status => {
    if (name === "liveness") return Status.SERVING;
    if (name !== "" && name !== "readiness" && !services.has(name)) return Status.SERVICE_UNKNOWN;
    return isReady() ? Status.SERVING : Status.NOT_SERVING;
  };
  router.service(Health, {
    check: ({ service }) => {
      const status = statusOf(service);
      if (status !== Status.SERVICE_UNKNOWN) return { status };
      throw new ConnectError(`expected a service of this server, found ${service}`, Code.NotFound);
    },
    async *watch({ service }, { signal }) {
      let told: Status | undefined;
      for (;;) {
        const status = statusOf(service);
        if (status !== told) yield { status };
        told = status;
        await wait(watchPollMs, undefined, { ref: false });
        signal.throwIfAborted();
      }
    },
  });
}
