import fc from "fast-check";
import { expect, test } from "vitest";
import { parseChatRequest } from "../../services/gateway/chat-request.ts";

function hashesOf(
  contents: readonly string[],
  { tenant = "acme", tools }: { readonly tenant?: string; readonly tools?: unknown } = {},
): readonly number[] {
  const messages = contents.map((content) => ({ role: "user", content }));
  const body = JSON.stringify({ model: "m", messages, ...(tools === undefined ? {} : { tools }) });
  return parseChatRequest(Buffer.from(body)).prefixBlocks(tenant);
}

const text = (length: number, letter = "a"): string => letter.repeat(length);

test("prompts have as many hashes as the blocks that both begin with", () => {
  fc.assert(
    fc.property(fc.nat(2_000), fc.string(), fc.string(), (length, one, other) => {
      const [a, b] = [hashesOf([text(length) + one]), hashesOf([text(length) + other])];
      const common = Math.floor((length + "user".length + 1) / 256);
      expect(a.slice(0, common)).toEqual(b.slice(0, common));
      expect(a.every((hash) => Number.isSafeInteger(hash) && hash >= 0)).toBe(true);
    }),
  );
});

test("a turn more keeps the hashes of what was there, and a change at the beginning keeps none", () => {
  const before = hashesOf([text(3_000)]);
  const after = hashesOf([text(3_000), "and then?"]);
  expect(before.length).toBeGreaterThan(10);
  expect(after.slice(0, before.length)).toEqual(before);
  const other = hashesOf([`b${text(2_999)}`]);
  expect(other.filter((hash) => before.includes(hash))).toEqual([]);
});

test("other tenants and other tools have other hashes", () => {
  const before = new Set(hashesOf([text(3_000)]));
  const tool = { type: "function", function: { name: "f" } };
  for (const other of [{ tenant: "zenith" }, { tools: [tool] }]) {
    expect(hashesOf([text(3_000)], other).some((hash) => before.has(hash))).toBe(false);
  }
});

test("where a string ends is part of what is hashed", () => {
  expect(hashesOf([text(300), text(300)])).not.toEqual(hashesOf([text(301), text(299)]));
});

test("as many as the contract takes, and no more", () => {
  expect(hashesOf([text(2 ** 21)])).toHaveLength(4_096);
  expect(hashesOf(["short"])).toEqual([]);
});
