"""websocket_client.py HOST UPSTREAM: sends, over TLS, and prints what comes back."""

import asyncio
import itertools
import ssl
import sys

import websockets

host, upstream = sys.argv[1:]
context = ssl.create_default_context(cafile="/cert.pem")
# It is connected to by its address.
context.check_hostname = False


async def main():
    url = f"wss://{host}/socket?upstream={upstream}"
    async with websockets.connect(url, ssl=context) as socket:
        for number in itertools.count():
            await socket.send(str(number))
            print("echo", await socket.recv())
            # The rate of messages.
            await asyncio.sleep(0.1)


try:
    asyncio.run(main())
except websockets.ConnectionClosed as error:
    print("closed:", error)
