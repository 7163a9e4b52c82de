import { readFileSync } from "node:fs";
import type { DescService } from "@bufbuild/protobuf";
import { type Client, Code, ConnectError, createClient, type Transport } from "@connectrpc/connect";
import { type Command, Option } from "commander";
import { fromEnvironment } from "../io/config.ts";
import { rpcTransport } from "../io/rpc-client.ts";
import { Failure } from "./outcome.ts";
import { type Format, formats } from "./print.ts";

const defaultAddress = "http://127.0.0.1:7233";

export interface ServerOptions {
  readonly addr: string;
  readonly tokenFile?: string;
}

export interface OutputOptions {
  readonly output: Format;
}

/** Every command that talks to a server has these, with the same names and the same environment. */
export function withServer(command: Command): Command {
  const { address, credential } = serverOptions();
  return command.addOption(address).addOption(credential);
}

export function withOutput(command: Command): Command {
  return command.addOption(
    new Option("-o, --output <format>", "how to print")
      .choices(formats)
      .default("table")
      .helpGroup("Output:"),
  );
}

function serverOptions(): { readonly address: Option; readonly credential: Option } {
  const address = new Option(
    "--addr <url>",
    "RPC address of a control replica (env TOKENGRID_ADDR)",
  ).default(fromEnvironment("addr") ?? defaultAddress);
  const credential = new Option(
    "--token-file <path>",
    "file with the credential (env TOKENGRID_TOKEN_FILE); without it a server on loopback takes the caller for an operator",
  );
  const tokenFile = fromEnvironment("token-file");
  if (tokenFile !== undefined) credential.default(tokenFile);
  return { address: address.helpGroup("Server:"), credential: credential.helpGroup("Server:") };
}

export function client<Service extends DescService>(
  service: Service,
  options: ServerOptions,
): Client<Service> {
  return createClient(service, transportOf(options));
}

export function transportOf(options: ServerOptions): Transport {
  const credential = options.tokenFile === undefined ? undefined : readToken(options.tokenFile);
  return rpcTransport({ url: checkedAddress(options.addr), credential });
}

/** Says which address did not answer and what to do about it, instead of a bare ECONNREFUSED. */
export async function answered<Answer>(
  options: ServerOptions,
  work: () => Promise<Answer>,
): Promise<Answer> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof ConnectError && error.code === Code.Unavailable) {
      throw new Failure(
        `no answer from ${options.addr}: expected a running control replica (tokengrid dev, or --addr and ` +
          `TOKENGRID_ADDR to name another), found: ${error.rawMessage}`,
        { cause: error },
      );
    }
    throw error;
  }
}

function checkedAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol === "http:" || url?.protocol === "https:") return url.origin;
  throw new Failure(
    `--addr: expected a URL such as ${defaultAddress}, found ${JSON.stringify(text)}`,
  );
}

function readToken(path: string): string {
  const token = readFileSync(path, "utf8").trim();
  if (token === "") throw new Failure(`${path}: expected a credential, found an empty file`);
  return token;
}
