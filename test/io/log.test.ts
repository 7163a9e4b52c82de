import { expect, test } from "vitest";
import { openLog } from "../../services/io/log.ts";

function lines(write: (log: ReturnType<typeof openLog>) => void): unknown[] {
  const written: unknown[] = [];
  const destination = { write: (line: string) => written.push(JSON.parse(line)) };
  write(openLog({ role: "test", level: "info", destination }));
  return written;
}

test("an error in the log says what it was, where, and because of what", () => {
  const cause = Object.assign(new Error("no space left"), { code: "ENOSPC" });
  const error = new TypeError("the commit failed", { cause });
  expect(lines((log) => log.error({ error }, "records were not posted"))).toMatchObject([
    {
      level: "error",
      role: "test",
      msg: "records were not posted",
      error: {
        name: "TypeError",
        message: "the commit failed",
        stack: expect.stringContaining("log.test.ts"),
        cause: { name: "Error", message: "no space left", code: "ENOSPC" },
      },
    },
  ]);
});

test("what hangs on an error and could be a prompt is not in the log", () => {
  const error = Object.assign(new Error("refused"), {
    body: "secret",
    response: { text: "secret" },
  });
  expect(JSON.stringify(lines((log) => log.warn({ error })))).not.toContain("secret");
});

test("causes that go in a circle end", () => {
  const error = new Error("a");
  error.cause = error;
  expect(lines((log) => log.warn({ error })).length).toBe(1);
});

test("credentials and texts are hidden wherever they are handed in by mistake", () => {
  const [line] = lines((log) => log.info({ authorization: "k", call: { body: "b", prompt: "p" } }));
  expect(line).toMatchObject({
    authorization: "[Redacted]",
    call: { body: "[Redacted]", prompt: "[Redacted]" },
  });
});
