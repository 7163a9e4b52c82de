import { toBinary, type DescFile } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { Code, type ConnectRouter } from "@connectrpc/connect";
import {
  ServerReflection,
  type ServerReflectionRequest,
} from "../wire/gen/grpc/reflection/v1/reflection_pb.js";
import {
  ServerReflection as ServerReflectionAlpha,
  type ServerReflectionRequest as ServerReflectionRequestAlpha,
} from "../wire/gen/grpc/reflection/v1alpha/reflection_pb.js";

type Question = (ServerReflectionRequest | ServerReflectionRequestAlpha)["messageRequest"];

/** Server reflection, so that tools call us without our files. Both versions have the same messages. */
export function reflectionRoutes(router: ConnectRouter): void {
  const catalogue = catalogueOf(router);
  router.service(ServerReflection, {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) {
        yield {
          validHost: request.host,
          originalRequest: request,
          messageResponse: answer(request.messageRequest, catalogue),
        };
      }
    },
  });
  router.service(ServerReflectionAlpha, {
    async *serverReflectionInfo(requests) {
      for await (const request of requests) {
        yield {
          validHost: request.host,
          originalRequest: request,
          messageResponse: answer(request.messageRequest, catalogue),
        };
      }
    },
  });
}

interface Catalogue {
  readonly services: readonly string[];
  readonly fileByName: ReadonlyMap<string, DescFile>;
  readonly fileBySymbol: ReadonlyMap<string, DescFile>;
}

function catalogueOf(router: ConnectRouter): Catalogue {
  const served = new Map(router.handlers.map(({ service }) => [service.typeName, service]));
  for (const own of [ServerReflection, ServerReflectionAlpha]) served.set(own.typeName, own);
  const fileByName = new Map<string, DescFile>();
  for (const { file } of served.values()) withImports(file, fileByName);
  const fileBySymbol = new Map<string, DescFile>();
  for (const file of fileByName.values()) {
    for (const symbol of symbolsIn(file)) fileBySymbol.set(symbol, file);
  }
  return { services: [...served.keys()].toSorted(), fileByName, fileBySymbol };
}

function withImports(file: DescFile, into: Map<string, DescFile>): Map<string, DescFile> {
  const name = file.proto.name;
  if (into.has(name)) return into;
  into.set(name, file);
  for (const dependency of file.dependencies) withImports(dependency, into);
  return into;
}

function symbolsIn(file: DescFile): string[] {
  const methods = file.services.flatMap(({ typeName, methods: each }) =>
    each.map(({ name }) => `${typeName}.${name}`),
  );
  const nested = file.messages.flatMap(function names(message): string[] {
    return [
      message.typeName,
      ...message.nestedMessages.flatMap(names),
      ...message.nestedEnums.map(({ typeName }) => typeName),
    ];
  });
  const top = [...file.services, ...file.enums, ...file.extensions];
  return [...top.map(({ typeName }) => typeName), ...methods, ...nested];
}

function answer(question: Question, { services, fileByName, fileBySymbol }: Catalogue) {
  switch (question.case) {
    case "listServices":
      return {
        case: "listServicesResponse" as const,
        value: { service: services.map((name) => ({ name })) },
      };
    case "fileByFilename":
      return filesOf(question.value, fileByName.get(question.value));
    case "fileContainingSymbol":
      return filesOf(question.value, fileBySymbol.get(question.value));
    case "allExtensionNumbersOfType":
    case "fileContainingExtension":
      return failure(Code.NotFound, "expected a service or a message, found an extension");
    case undefined:
      return failure(Code.InvalidArgument, "message_request is empty");
  }
}

/** The file and all that it imports, so that one answer is enough. */
function filesOf(name: string, file: DescFile | undefined) {
  if (file === undefined) {
    return failure(Code.NotFound, `expected a name of this server, found ${name}`);
  }
  const files = [...withImports(file, new Map()).values()];
  const fileDescriptorProto = files.map(({ proto }) => toBinary(FileDescriptorProtoSchema, proto));
  return { case: "fileDescriptorResponse" as const, value: { fileDescriptorProto } };
}

function failure(errorCode: Code, errorMessage: string) {
  return { case: "errorResponse" as const, value: { errorCode, errorMessage } };
}
