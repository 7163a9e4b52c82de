/** A pool that costs next to nothing: canned answers on bare sockets. */

import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";

export const eventsPerAnswer = 50;
export const eventMs = 10;

const answer = "x".repeat(8);

function event(index: number): string {
  const isLast = index === eventsPerAnswer - 1;
  const delta = isLast ? {} : { content: ` ${answer.slice(0, (index % 8) + 1)}` };
  return `data: ${JSON.stringify({
    id: "chatcmpl-bench",
    object: "chat.completion.chunk",
    created: 1_795_000_000,
    model: "bench-model",
    choices: [{ index: 0, delta, logprobs: null, finish_reason: isLast ? "stop" : null }],
  })}\n\n`;
}

const usage = `data: ${JSON.stringify({
  id: "chatcmpl-bench",
  object: "chat.completion.chunk",
  created: 1_795_000_000,
  model: "bench-model",
  choices: [],
  usage: { prompt_tokens: 100, completion_tokens: 50, total_tokens: 150 },
})}\n\n`;

const events = Array.from({ length: eventsPerAnswer }, (_, index) => event(index));
const end = `${usage}data: [DONE]\n\n`;

const plainBody = JSON.stringify({
  id: "chatcmpl-bench",
  object: "chat.completion",
  created: 1_795_000_000,
  model: "bench-model",
  choices: [
    {
      index: 0,
      message: { role: "assistant", content: answer.repeat(50) },
      logprobs: null,
      finish_reason: "stop",
    },
  ],
  usage: { prompt_tokens: 100, completion_tokens: 50, total_tokens: 150 },
});

const head = "HTTP/1.1 200 OK\r\ncontent-type: ";
const plain = `${head}application/json\r\ncontent-length: ${plainBody.length}\r\n\r\n${plainBody}`;
const streamHead = `${head}text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n`;

function chunked(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

/** All events at once, each in a chunk and a write of its own, as engines send them. */
const burst = [streamHead, ...[...events, end].map(chunked), "0\r\n\r\n"];

/** Serves until the process is killed. A body with `"paced"` in it gets its events one by one. */
export async function serveBackend(): Promise<number> {
  const server = createServer({ noDelay: true }, (socket) => {
    let received = "";
    socket.on("error", () => socket.destroy());
    socket.on("data", (bytes: Buffer) => {
      received += bytes.toString("latin1");
      const headEnd = received.indexOf("\r\n\r\n");
      if (headEnd < 0) return;
      const length = Number(/content-length: *(\d+)/i.exec(received)?.[1] ?? 0);
      if (received.length < headEnd + 4 + length) return;
      const body = received.slice(headEnd + 4, headEnd + 4 + length);
      received = received.slice(headEnd + 4 + length);
      reply(socket, body);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return (server.address() as AddressInfo).port;
}

function reply(socket: Socket, body: string): void {
  if (body.includes('"paced"')) pace(socket);
  else if (/"stream": ?true/.test(body)) for (const part of burst) socket.write(part);
  else if (body === "") socket.write("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
  else socket.write(plain);
}

function pace(socket: Socket): void {
  let index = 0;
  socket.write(streamHead + chunked(events[index] ?? ""));
  const timer = setInterval(() => {
    index += 1;
    if (socket.destroyed) clearInterval(timer);
    else if (index < events.length) socket.write(chunked(events[index] ?? ""));
    else {
      clearInterval(timer);
      socket.write(`${chunked(end)}0\r\n\r\n`);
    }
  }, eventMs);
}
