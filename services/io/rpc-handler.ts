import type { IncomingMessage, ServerResponse } from "node:http";
import type { Http2ServerRequest, Http2ServerResponse } from "node:http2";
import {
  Code,
  ConnectError,
  createConnectRouter,
  type ConnectRouter,
  type ConnectRouterOptions,
} from "@connectrpc/connect";
import {
  compressionBrotli,
  compressionGzip,
  universalRequestFromNodeRequest,
  universalResponseToNodeResponse,
} from "@connectrpc/connect-node";
import type { Log } from "./log.ts";

export type RpcHandler = (
  request: IncomingMessage | Http2ServerRequest,
  response: ServerResponse | Http2ServerResponse,
) => void;

export interface RpcHandlerOptions extends ConnectRouterOptions {
  readonly routes: (router: ConnectRouter) => void;
  readonly log: Log;
}

/**
 * Connect's services as a request handler. Unlike Connect's own it answers a request that has no usable address instead
 * of throwing, which would end the process, and tells the log, not the console, of calls that broke.
 */
export function rpcHandler({ routes, log, ...options }: RpcHandlerOptions): RpcHandler {
  const router = createConnectRouter({
    acceptCompression: [compressionGzip, compressionBrotli],
    ...options,
  });
  routes(router);
  const callByPath = new Map(router.handlers.map((call) => [call.requestPath, call]));
  return (request, response) => {
    const call = callByPath.get(request.url?.split("?", 1)[0] ?? "");
    const asked = call && universalRequest(request, response);
    if (call === undefined || asked === undefined) {
      response.statusCode = call === undefined ? 404 : 400;
      response.end();
      return;
    }
    call(asked)
      .then((answer) => universalResponseToNodeResponse(answer, response))
      .catch((error: unknown) => {
        const { requestPath: path } = call;
        // A caller who left is nobody's fault, whatever the broken stream calls it.
        if (isGone(response, error)) log.debug({ error, path }, "the caller left");
        else log.error({ error, path }, "a call failed");
      });
  };
}

/** Undefined: its host is none, so that no address can be made of it. */
function universalRequest(...[request, response]: Parameters<RpcHandler>) {
  try {
    return universalRequestFromNodeRequest(request, response, undefined, undefined);
  } catch (error) {
    if (error instanceof TypeError || error instanceof ConnectError) return undefined;
    throw error;
  }
}

function isGone(response: ServerResponse | Http2ServerResponse, error: unknown): boolean {
  const { code } = ConnectError.from(error);
  return code === Code.Aborted || code === Code.Canceled || response.destroyed;
}
