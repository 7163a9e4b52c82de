import type { IncomingMessage } from "node:http";
import { Refusal } from "./errors.ts";

/** The whole body, of JSON and not compressed. Throws `Refusal` as soon as it is too large. */
export function readJsonBody(request: IncomingMessage, bytesMax: number): Promise<Buffer> {
  const { headers } = request;
  const type = headers["content-type"]?.split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw unsupported(`content-type: expected application/json, found ${type ?? "none"}`);
  }
  const encoding = headers["content-encoding"];
  if (encoding !== undefined && encoding !== "identity") {
    throw unsupported("content-encoding: expected none");
  }
  if (Number(headers["content-length"] ?? 0) > bytesMax) throw tooLarge(bytesMax);
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    let bytes = 0;
    request.on("data", (part: Buffer) => {
      bytes += part.length;
      if (bytes <= bytesMax) parts.push(part);
      else reject(tooLarge(bytesMax));
    });
    request.once("end", () =>
      resolve(parts.length === 1 && parts[0] ? parts[0] : Buffer.concat(parts)),
    );
    request.once("close", () => {
      if (!request.complete) reject(new Refusal("CLIENT_GONE", "the client left"));
    });
  });
}

function tooLarge(bytesMax: number): Refusal {
  return new Refusal("BODY_TOO_LARGE", `the body has more than ${bytesMax} bytes`);
}

function unsupported(message: string): Refusal {
  return new Refusal("BAD_REQUEST", message, { httpStatus: 415, code: "unsupported_media_type" });
}
