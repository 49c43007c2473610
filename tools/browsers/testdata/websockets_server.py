"""A server by Python's websockets: it prints its port, and ends with its stdin. See ws_server.mjs."""

import asyncio
import json
import sys

import websockets


async def serve(ws, *_):
    asked, seq = {}, 0

    async def send(**message):
        await ws.send(json.dumps(message))

    async for text in ws:
        m = json.loads(text)
        route, body = m.get("serviceMethod"), m.get("body")
        if m["mtype"] == 2:
            await send(seq=asked[m["seq"]], body=m.get("error") or body)
        elif route == "/upper":
            await send(seq=m["seq"], body=body.upper())
        elif route == "/fail":
            await send(seq=m["seq"], error=body)
        elif route == "/asks":
            seq += 1
            asked[seq] = m["seq"]
            await send(seq=seq, serviceMethod=body, body="who?")
        elif route == "/pushes":
            await send(serviceMethod="/note", body=body)
            await send(seq=m["seq"])
        elif route == "/fragments":
            pong = await ws.ping(b"among fragments")
            await ws.send([f'{{"seq":{m["seq"]},', '"body":"among', ' fragments"}'])
            asyncio.create_task(asyncio.wait_for(pong, 20))
        elif route == "/close":
            await ws.close(body, "as asked")


async def main():
    async with websockets.serve(serve, "127.0.0.1", 0, subprotocols=["teleport.json"]) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
