import { once } from "node:events";
import { createServer } from "node:http";

export interface Exporter {
  readonly url: string;
  /** Times that it was asked. */
  readonly asked: number;
  /** What it answers from now on, by path. */
  set(answers: Readonly<Record<string, Answer>>): void;
  close(): Promise<void>;
}

export type Answer = string | { readonly status: number; readonly text: string };

/** Something that is scraped and says what the test wants. */
export async function openExporter(
  answers: Readonly<Record<string, Answer>> = {},
): Promise<Exporter> {
  let current = answers;
  let asked = 0;
  const server = createServer((request, response) => {
    asked += 1;
    const answer = current[request.url ?? ""] ?? { status: 404, text: "" };
    const { status, text } = typeof answer === "string" ? { status: 200, text: answer } : answer;
    response.writeHead(status).end(text);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    get asked() {
      return asked;
    },
    set: (next) => {
      current = next;
    },
    close: async () => {
      server.close();
      server.closeAllConnections();
      await once(server, "close");
    },
  };
}
