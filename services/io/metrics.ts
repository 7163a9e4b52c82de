import { once } from "node:events";
import { createServer } from "node:http";
import { collectDefaultMetrics, Counter, Gauge, Registry } from "prom-client";

export { Counter, Gauge, Histogram, Registry } from "prom-client";

/** What every process tells about itself. */
export function openMetrics(version: string): {
  readonly registry: Registry;
  readonly onLogMessage: (level: string) => void;
} {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  // Gauges that end like counters, which promtool refuses. Their numbers are in the series by kind.
  for (const kind of ["handles", "requests", "resources"]) {
    registry.removeSingleMetric(`nodejs_active_${kind}_total`);
  }
  const info = new Gauge({
    name: "tokengrid_build_info",
    help: "1, with the version of the program",
    labelNames: ["version", "revision", "node_version"] as const,
    registers: [registry],
  });
  info.set({ version, revision: "source", node_version: process.versions.node }, 1);
  const messages = new Counter({
    name: "tokengrid_log_messages_total",
    help: "Log messages by level",
    labelNames: ["level"] as const,
    registers: [registry],
  });
  for (const level of ["debug", "info", "warn", "error"]) messages.inc({ level }, 0);
  return { registry, onLogMessage: (level) => messages.inc({ level }) };
}

/**
 * Serves `/metrics`, `/healthz` (the process lives) and `/readyz` (it can do its work) until the signal says
 * stop. Resolves to the port once it listens.
 */
export async function serveMetrics(options: {
  readonly host: string;
  readonly port: number;
  readonly registry: Registry;
  readonly isReady: () => boolean;
  /** What `/readyz` says when it is not. */
  readonly whyNot?: () => string | undefined;
  readonly signal: AbortSignal;
}): Promise<number> {
  const { host, port, registry, isReady, whyNot = () => undefined, signal } = options;
  const server = createServer((request, response) => {
    const path = request.url?.split("?")[0];
    if (path === "/healthz") response.writeHead(200).end("ok\n");
    else if (path === "/readyz") response.writeHead(isReady() ? 200 : 503).end(lineOf(whyNot()));
    else if (path === "/metrics") {
      registry.metrics().then(
        (text) => response.writeHead(200, { "content-type": registry.contentType }).end(text),
        (error: unknown) => response.writeHead(500).end(String(error)),
      );
    } else response.writeHead(404).end();
  });
  server.listen(port, host);
  await once(server, "listening");
  signal.addEventListener("abort", () => {
    server.close();
    server.closeAllConnections();
  });
  const address = server.address();
  return typeof address === "object" && address !== null ? address.port : port;
}

function lineOf(text: string | undefined): string {
  return text === undefined ? "" : `${text}\n`;
}
