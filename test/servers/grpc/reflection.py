"""A client that knows nothing but an address: it asks for the services, and calls them by what it is told.

usage: reflection.py <address> <version of the reflection service: v1 or v1alpha>
"""
import sys

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

address, version = sys.argv[1:]
pool = descriptor_pool.DescriptorPool()


def messages_of(full_name):
    return message_factory.MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(full_name))


def add_reflection():
    """The part of reflection.proto that this client needs; its wire format is that of the real one."""
    file = descriptor_pb2.FileDescriptorProto(name="reflection.proto", package="r", syntax="proto3")

    def message(name, *fields):
        added = file.message_type.add(name=name)
        for number, field, kind, repeated, type_name in fields:
            label = 3 if repeated else 1
            added.field.add(name=field, number=number, type=kind, label=label, type_name=type_name or None)

    text, nested, data, integer = 9, 11, 12, 5
    message("Request", (3, "file_by_filename", text, False, None), (4, "file_containing_symbol", text, False, None),
            (7, "list_services", text, False, None))
    message("Files", (1, "file_descriptor_proto", data, True, None))
    message("Service", (1, "name", text, False, None))
    message("Services", (1, "service", nested, True, ".r.Service"))
    message("Error", (1, "error_code", integer, False, None), (2, "error_message", text, False, None))
    message("Response", (4, "files", nested, False, ".r.Files"), (6, "services", nested, False, ".r.Services"),
            (7, "error", nested, False, ".r.Error"))
    pool.Add(file)


add_reflection()
Request, Response = messages_of("r.Request"), messages_of("r.Response")
channel = grpc.insecure_channel(address)
info = channel.stream_stream(
    f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
    request_serializer=Request.SerializeToString,
    response_deserializer=Response.FromString,
)


def ask(**request):
    (answer,) = info(iter([Request(**request)]))
    return answer


def learn(files):
    """A file comes with those that it imports, in any order."""
    waiting = [descriptor_pb2.FileDescriptorProto.FromString(data) for data in files]
    while waiting:
        ready = [file for file in waiting if all(known(name) for name in file.dependency)]
        if not ready:
            raise SystemExit(f"imports are missing of {[file.name for file in waiting]}")
        for file in ready:
            if not known(file.name):
                pool.Add(file)
            waiting.remove(file)


def known(name):
    try:
        return pool.FindFileByName(name) is not None
    except KeyError:
        return False


services = [service.name for service in ask(list_services="*").services.service]
print("services", *sorted(services))
for service in services:
    learn(ask(file_containing_symbol=service).files.file_descriptor_proto)
print("unknown", ask(file_containing_symbol="no.such.Thing").error.error_code)


def call(service, method, /, **fields):
    described = pool.FindServiceByName(service).FindMethodByName(method)
    request = messages_of(described.input_type.full_name)(**fields)
    answer = messages_of(described.output_type.full_name)
    make = channel.unary_stream if (service, method) == ("rondo.v1.Cache", "List") else channel.unary_unary
    return make(f"/{service}/{method}", request_serializer=answer_of(request), response_deserializer=answer.FromString)(request)


def answer_of(request):
    return type(request).SerializeToString


for service in ("pb.CacheService", "v1.cache.CacheService"):
    call(service, "Set", key="seed", value=f"héllo {service}")
    print(service, call(service, "Get", key="seed").value)

call("rondo.v1.Cache", "Set", key=b"\x00\xff", value=bytes(range(256)), ttl_ms=60000)
got = call("rondo.v1.Cache", "Get", key=b"\x00\xff")
print("bytes", got.value == bytes(range(256)), 0 < got.ttl_ms <= 60000, len(got.version))
print("has", call("rondo.v1.Cache", "Has", key=b"seed").found, call("rondo.v1.Cache", "Has", key=b"other").found)
call("rondo.v1.Cache", "BatchSet", items=[{"key": b"a", "value": b"1"}, {"key": b"b", "value": b"2"}])
results = call("rondo.v1.Cache", "BatchGet", keys=[b"a", b"c", b"b"]).results
print("batch", *[r.found.value.decode() if r.WhichOneof("outcome") == "found" else r.error.code for r in results])
pages = list(call("rondo.v1.Cache", "List", count=2))
print("list", sorted(key for page in pages for key in page.keys), pages[-1].cursor)
call("rondo.v1.Cache", "BatchDelete", keys=[b"a", b"b"])
call("rondo.v1.Cache", "Delete", key=b"seed")
try:
    call("rondo.v1.Cache", "Get", key=b"seed")
except grpc.RpcError as error:
    print("gone", error.code().name, error.details(), dict(error.trailing_metadata())["rondo-code"])
print("health", call("grpc.health.v1.Health", "Check", service="rondo.v1.Cache").status)
