"""grpcio as a peer of the interoperability tests.

    peer.py serve            serves test.Interop on a free port and prints the port
    peer.py call PORT [gzip] calls test.Interop on that port and prints one line for each case: "ok NAME" or "failed NAME: why"

Messages are google.protobuf.BytesValue, coded here by hand so that only grpcio is needed.
"""
import concurrent.futures
import struct
import sys
import threading
import time

import grpc


def encode(value):
    if not value:
        return b""
    head, length = b"\x0a", len(value)
    while length >= 0x80:
        head += bytes([length & 0x7F | 0x80])
        length >>= 7
    return head + bytes([length]) + value


def decode(data):
    if not data:
        return b""
    length, shift, at = 0, 0, 1
    while True:
        length |= (data[at] & 0x7F) << shift
        shift += 7
        at += 1
        if data[at - 1] < 0x80:
            break
    return data[at:at + length]


class Service(grpc.GenericRpcHandler):
    cancellations = 0

    def service(self, details):
        name = details.method.rsplit("/", 1)[1]
        if not details.method.startswith("/test.Interop/"):
            return None
        codec = {"request_deserializer": decode, "response_serializer": encode}
        if name == "ServerStream":
            return grpc.unary_stream_rpc_method_handler(self.server_stream, **codec)
        if name == "ClientStream":
            return grpc.stream_unary_rpc_method_handler(lambda requests, _: struct.pack(">I", sum(map(len, requests))), **codec)
        if name == "Bidi":
            return grpc.stream_stream_rpc_method_handler(self.bidi, **codec)
        handlers = {"Unary": self.unary, "Sized": self.sized, "Fail": self.fail, "Sleep": self.sleep, "Slow": self.slow, "Cancellations": self.count}
        handler = handlers.get(name)
        return handler and grpc.unary_unary_rpc_method_handler(handler, **codec)

    def unary(self, request, context):
        metadata = dict(context.invocation_metadata())
        if "x-head" in metadata:
            context.send_initial_metadata((("x-head", metadata["x-head"]),))
        if "x-trailer-bin" in metadata:
            context.set_trailing_metadata((("x-trailer-bin", metadata["x-trailer-bin"]),))
        return request

    def sized(self, request, _context):
        return b"\x07" * struct.unpack(">I", request)[0]

    def fail(self, request, context):
        code = next(code for code in grpc.StatusCode if code.value[0] == request[0])
        context.abort(code, request[1:].decode())

    def sleep(self, _request, context):
        over = threading.Event()
        context.add_callback(over.set)
        over.wait()
        Service.cancellations += 1
        return b""

    def slow(self, request, _context):
        time.sleep(0.03)
        return request

    def count(self, _request, _context):
        return struct.pack(">I", Service.cancellations)

    def server_stream(self, request, _context):
        count, size = struct.unpack(">II", request)
        for i in range(count):
            yield bytes([i & 0xFF]) * size

    def bidi(self, requests, context):
        ended = []

        def on_end():
            if not ended:
                Service.cancellations += 1

        context.add_callback(on_end)
        for request in requests:
            yield request
        ended.append(True)



def serve():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(64), compression=grpc.Compression.Gzip, options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0).wait()


def call(port, compression):
    channel = grpc.insecure_channel(f"127.0.0.1:{port}", compression=compression, options=[("grpc.max_receive_message_length", -1)])
    codec = {"request_serializer": encode, "response_deserializer": decode}

    def unary(name):
        return channel.unary_unary(f"/test.Interop/{name}", **codec)

    def expect(condition, what=""):
        if not condition:
            raise AssertionError(what)

    def failing(name, request, code, **options):
        try:
            unary(name)(request, **options)
        except grpc.RpcError as error:
            expect(error.code().value[0] == code, str(error.code()))
            return error
        raise AssertionError("no error")

    def empty_unary():
        expect(unary("Unary")(b"") == b"")

    def large_unary():
        data = bytes(range(256)) * 4000
        expect(unary("Unary")(data) == data)
        expect(unary("Sized")(struct.pack(">I", 3000000)) == b"\x07" * 3000000)

    def server_streaming():
        stream = channel.unary_stream("/test.Interop/ServerStream", **codec)
        for count, size in ((0, 0), (1000, 64), (20, 100000)):
            expect([len(message) for message in stream(struct.pack(">II", count, size))] == [size] * count)

    def client_streaming():
        stream = channel.stream_unary("/test.Interop/ClientStream", **codec)
        expect(struct.unpack(">I", stream(iter([b"x" * size for size in (27182, 8, 1828, 45904)])))[0] == 74922)

    def ping_pong():
        stream = channel.stream_stream("/test.Interop/Bidi", **codec)
        expect([len(message) for message in stream(iter([b"x" * size for size in (27182, 8, 1828)]))] == [27182, 8, 1828])

    def empty_stream():
        expect(list(channel.stream_stream("/test.Interop/Bidi", **codec)(iter([]))) == [])

    def cancel_after_begin():
        before = struct.unpack(">I", unary("Cancellations")(b""))[0]
        future = unary("Sleep").future(b"")
        unary("Unary")(b"")
        future.cancel()
        while struct.unpack(">I", unary("Cancellations")(b""))[0] == before:
            pass

    def timeout():
        failing("Sleep", b"", 4, timeout=0.05)

    def metadata():
        _, result = unary("Unary").with_call(b"", metadata=(("x-head", "value"), ("x-trailer-bin", b"\xab\x00\xff")))
        expect(dict(result.initial_metadata())["x-head"] == "value")
        expect(dict(result.trailing_metadata())["x-trailer-bin"] == b"\xab\x00\xff")

    def status():
        expect(failing("Fail", b"\x09why", 9).details() == "why")
        special = "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001F608\t\n"
        expect(failing("Fail", b"\x02" + special.encode(), 2).details() == special)

    def unimplemented():
        failing("Nothing", b"", 12)

    for case in (empty_unary, large_unary, server_streaming, client_streaming, ping_pong, empty_stream, cancel_after_begin, timeout, metadata, status, unimplemented):
        try:
            case()
            print(f"ok {case.__name__}", flush=True)
        except Exception as error:  # Whatever it is, the test that started us reports it.
            print(f"failed {case.__name__}: {error!r}", flush=True)


if sys.argv[1] == "serve":
    serve()
else:
    call(sys.argv[2], grpc.Compression.Gzip if len(sys.argv) > 3 else grpc.Compression.NoCompression)
