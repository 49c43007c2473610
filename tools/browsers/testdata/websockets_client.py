"""A client by Python's websockets: websockets_client.py URL. See ws_client.mjs."""

import asyncio
import json
import sys

import websockets


async def main(url):
    async with websockets.connect(url, subprotocols=["teleport.json"]) as ws:
        assert ws.subprotocol == "teleport.json", ws.subprotocol
        calls, pushed, seq = {}, [], 0

        async def receive():
            async for text in ws:
                assert isinstance(text, str), text
                m = json.loads(text)
                if m["mtype"] == 2:
                    calls[m["seq"]].set_result(m)
                elif m["mtype"] == 1:
                    await ws.send(json.dumps({"seq": m["seq"], "body": {"name": "websockets", "body": m["body"]}}))
                else:
                    pushed.append(m["body"])

        receiver = asyncio.create_task(receive())

        async def send(data_of):
            nonlocal seq
            seq += 1
            calls[seq] = asyncio.get_running_loop().create_future()
            await ws.send(data_of(seq))
            return await calls[seq]

        async def call(route, body=None):
            return await send(lambda n: json.dumps({"seq": n, "serviceMethod": route, "body": body}))

        assert (await call("/math/add", [1, 2, 3]))["body"] == 6
        failed = {"code": 1001, "message": "sold out", "reason": "é"}
        assert (await call("/fail", failed))["error"] == failed
        asked = await call("/ask", {"route": "/name", "body": "é"})
        assert asked["body"]["body"] == {"name": "websockets", "body": "é"}, asked
        await call("/pushme", 2)
        await ws.send(json.dumps({"serviceMethod": "/note", "body": "hi", "meta": {"who": "python"}}))
        while not (noted := (await call("/noted"))["body"]):
            pass
        assert noted == [{"body": "hi", "who": "python"}], noted
        assert sorted(pushed) == ["push 0", "push 1"], pushed
        long = 'é"' * 100_000
        assert (await call("/echo", long))["body"] == long
        # In fragments, and as binary.
        parts = await send(lambda n: [f'{{"seq":{n},', '"serviceMethod":"/math/add",', '"body":[4,5]}'])
        assert parts["body"] == 9, parts
        binary = await send(lambda n: b'{"seq":%d,"serviceMethod":"/math/add","body":[1]}' % n)
        assert binary["body"] == 1, binary
        await asyncio.wait_for(await ws.ping(b"ping"), 20)
    await receiver
    assert (ws.close_code, ws.close_reason) == (1000, ""), (ws.close_code, ws.close_reason)


asyncio.run(asyncio.wait_for(main(sys.argv[1]), 30))
