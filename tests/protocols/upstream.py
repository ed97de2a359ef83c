"""What nginx asks: gRPC on port 8002, WebSocket on port 8003.

A slow call is answered when the URL that it names is, with what that says.
"""

import asyncio
import concurrent.futures
import itertools
import time
import urllib.request

import grpc
import websockets


class Calls(grpc.GenericRpcHandler):
    def service(self, details):
        if details.method == "/test.Test/Slow":
            return grpc.unary_unary_rpc_method_handler(slow)
        if details.method == "/test.Test/Endless":
            return grpc.unary_stream_rpc_method_handler(endless)
        return None


def slow(url, _):
    with urllib.request.urlopen(url.decode()) as answer:
        return answer.read()


def endless(_, context):
    for number in itertools.count():
        if not context.is_active():
            return
        yield str(number).encode()
        # The rate of messages.
        time.sleep(0.1)


async def echo(socket):
    async for message in socket:
        await socket.send(message)


async def main():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers([Calls()])
    server.add_insecure_port("0.0.0.0:8002")
    server.start()
    async with websockets.serve(echo, "0.0.0.0", 8003):
        print("ready")
        await asyncio.Future()


asyncio.run(main())
