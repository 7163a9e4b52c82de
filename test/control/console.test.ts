import { readdirSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { readable, serveConsole } from "../../services/control/console.ts";
import { openLog } from "../../services/io/log.ts";
import { movingGrid } from "../e2e/console-grid.ts";

const log = openLog({ role: "test", level: "silent" });
const stop = new AbortController();
let port = 0;

beforeAll(async () => {
  const routes = movingGrid({ count: 3, perSecond: 10 });
  port = await serveConsole({ host: "127.0.0.1", port: 0, routes, log, signal: stop.signal });
});
afterAll(() => stop.abort());

const watch = "/tokengrid.v1.PoolService/Watch";
const explain = "/tokengrid.v1.PlacementService/Explain";

test("every file of the console is served, and nothing else is", async () => {
  const files = readdirSync("services/console", { recursive: true, encoding: "utf8" })
    .filter((name) => name.includes(".") && name !== "tsconfig.json")
    .map((name) => (name === "index.html" ? "/" : `/${name.replaceAll("\\", "/")}`));
  expect(files.length).toBeGreaterThan(10);
  for (const path of files) expect([path, (await get(path)).status]).toEqual([path, 200]);
  for (const path of ["/tsconfig.json", "/../package.json", "/%2e%2e/package.json", "/modules/"]) {
    expect([path, (await get(path)).status]).toEqual([path, 404]);
  }
});

test("every module that the page's scripts import is served", async () => {
  const { body } = await get("/");
  const paths = [...body.matchAll(/"(\/modules\/[^"]+)"/g)].map(([, path = ""]) => path);
  expect(paths.length).toBe(4);
  for (const path of paths) expect([path, (await get(path)).status]).toEqual([path, 200]);
});

test("the page may run its own scripts alone, and stand in no frame", async () => {
  const { headers, body } = await get("/");
  const policy = headers["content-security-policy"];
  expect(policy).toContain("default-src 'self'");
  expect(policy).toContain("frame-ancestors 'none'");
  expect(policy).not.toContain("unsafe");
  expect(body.match(/<script(?![^>]*src=)[^>]*>/g)).toEqual(['<script type="importmap">']);
  expect(body).not.toMatch(/ style=| on\w+=/);
  expect(headers["x-content-type-options"]).toBe("nosniff");
});

test("a name that is not this server's is told nothing (DNS rebinding)", async () => {
  expect((await get("/", { host: `attacker.example:${port}` })).status).toBe(421);
  expect((await get("/", { host: `localhost:${port}` })).status).toBe(200);
});

test("a page of another origin cannot call", async () => {
  const asked = { ...json, origin: "http://attacker.example" };
  expect((await post(explain, { attemptId: "a" }, asked)).status).toBe(421);
});

test("a call that reads is answered as JSON", async () => {
  const { status, body } = await post(explain, { attemptId: "r-1/1" });
  expect(status).toBe(200);
  expect(JSON.parse(body)).toMatchObject({
    decisions: [{ attemptId: "r-1/1", poolId: "guian-1" }],
  });
});

test("a call that breaks a rule of the contract is refused with the field's name", async () => {
  const { status, body } = await post(watch.replace("Watch", "Get"), { poolId: "" });
  expect(status).toBe(400);
  expect(JSON.parse(body)).toMatchObject({
    code: "invalid_argument",
    message: expect.stringContaining("pool_id") as string,
  });
});

test("calls that change something are not reached from here", async () => {
  expect(
    [...readable].filter((path) => /Cordon|Drain|Set|Register|Publish|Place$/.test(path)),
  ).toEqual([]);
  const { status } = await post("/tokengrid.v1.PoolService/Cordon", { poolId: "guian-1" });
  expect(status).toBe(404);
});

test("a body over the bound is refused", async () => {
  const { status, body } = await post(explain, { attemptId: "a".repeat(70_000) });
  expect(status).toBe(429);
  expect(JSON.parse(body)).toMatchObject({ code: "resource_exhausted" });
});

test("an unchanged file is not sent again", async () => {
  const { headers } = await get("/style.css");
  const again = await get("/style.css", { "if-none-match": headers["etag"] ?? "" });
  expect([again.status, again.body]).toEqual([304, ""]);
});

test("serveConsole() refuses an address that others can reach", async () => {
  const options = { host: "0.0.0.0", port: 0, routes: () => undefined, log, signal: stop.signal };
  await expect(serveConsole(options)).rejects.toThrow("expected a loopback address, found 0.0.0.0");
});

const json = { "content-type": "application/json" };

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

function get(path: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return send("GET", { path, headers });
}

function post(path: string, message: unknown, headers = json): Promise<Answer> {
  return send("POST", { path, headers, body: JSON.stringify(message) });
}

/** Not `fetch`, which lets nobody choose the host header. */
function send(
  method: string,
  options: {
    readonly path: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: string;
  },
): Promise<Answer> {
  const { path, headers, body } = options;
  return new Promise((resolve, reject) => {
    const sent = httpRequest({ host: "127.0.0.1", port, path, method, headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("error", reject);
      response.on("end", () =>
        resolve({
          status: response.statusCode ?? 0,
          headers: response.headers as Record<string, string>,
          body: Buffer.concat(chunks).toString("utf8"),
        }),
      );
    });
    sent.on("error", reject);
    sent.end(body);
  });
}
