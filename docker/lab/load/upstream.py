"""What slow pages wait for: a server that answers after the time asked for.

GET /slow.php?s=1.5 waits; whatever else answers at once, as fast.php does.
"""

import asyncio
import hashlib
import urllib.parse


async def serve(reader, writer):
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *headers = head.split("\r\n")
        url = urllib.parse.urlsplit(request.split(" ")[1])
        length = next(
            (int(line.split(":")[1]) for line in headers if line.lower().startswith("content-length:")), 0
        )
        body = await reader.readexactly(length)
        if url.path == "/slow.php":
            await asyncio.sleep(float(urllib.parse.parse_qs(url.query)["s"][0]))
            answer = b"slow, but whole\n"
        else:
            answer = b"fast %s\n" % hashlib.md5(body).hexdigest().encode()
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (len(answer), answer)
        )
        await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        # The web server was stopped while it waited: the client counts that.
        pass
    finally:
        writer.close()


async def main():
    server = await asyncio.start_server(serve, port=8000, backlog=1024)
    await server.serve_forever()


asyncio.run(main())
