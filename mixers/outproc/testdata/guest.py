#!/usr/bin/env python3
"""A guest with one filter, crc32, in Python's standard library alone.

Packed bytes are the bytes and, behind them, their CRC-32. What the host and a guest have
agreed on is in CONTRACT.md; this is all that it takes.
"""

import json
import os
import socket
import struct
import sys
import threading
import urllib.parse
import zlib

CONTRACT = 1
DESCRIPTION = {
    "contract": CONTRACT,
    "name": "crc32guest",
    "version": "v1.0.0",
    "parts": [{"kind": "filter", "id": 211, "name": "crc32"}],
    "bundle": 16,
}
CALL, REPLY = 1, 2
BUNDLE_ROOM = 64 << 10  # of the results of a bundle
ROOM = 4096  # what a frame may have besides its item
START_LIMIT = 1 << 20  # of a frame before the host has said max_item


class Failure(Exception):
    """An error that the host gets."""

    def __init__(self, code, message, reason):
        super().__init__(reason)
        self.error = {"code": code, "message": message, "reason": reason[:1000]}


class LaneEnded(Exception):
    """The lane has ended, or its bytes are no frames."""


# The part.


def pack(item):
    return item + struct.pack(">I", zlib.crc32(item))


def unpack(item, most):
    if len(item) < 4:
        raise Failure(422, "Refused", "%d bytes are too few for a sum" % len(item))
    data = item[:-4]
    if struct.unpack(">I", item[-4:])[0] != zlib.crc32(data):
        raise Failure(422, "Refused", "wrong sum")
    if len(data) > most:
        raise Failure(413, "Too Large", "%d bytes, the limit is %d" % (len(data), most))
    return data


# The lane.


class Lane:
    def __init__(self, conn, token):
        self.conn, self.token = conn, token
        self.stream = conn.makefile("rb")
        self.limit = START_LIMIT  # of a frame of the host
        self.max_item = None
        self.greeted = False

    def read(self, n):
        """Returns n bytes; memory is taken as they arrive."""
        data = self.stream.read(n)
        if len(data) < n:
            raise LaneEnded("end of the connection")
        return data

    def receive(self):
        """Returns the sequence number, the type, the route and the body of a frame."""
        (size,) = struct.unpack(">I", self.read(4))
        if not 12 <= size <= self.limit:
            raise LaneEnded("frame of %d bytes" % size)
        frame = self.read(size - 4)
        if frame[:2] != b"r\0":
            raise LaneEnded("not a frame of the raw protocol without filters")
        at = 2

        def take(n):
            nonlocal at
            if at + n > len(frame):
                raise LaneEnded("the frame ends before its fields do")
            at += n
            return frame[at - n : at]

        seq = take(take(1)[0])
        kind = take(1)[0]
        route = take(take(1)[0]).decode("utf-8", "replace")
        take(struct.unpack(">H", take(2))[0])  # metadata
        take(1)  # codec
        return seq, kind, route, frame[at:]

    def reply(self, seq, body=b"", error=None):
        meta = b""
        if error is not None:
            meta = b"X-Reply-Error=" + urllib.parse.quote(json.dumps(error)).encode()
        head = b"r\0" + bytes([len(seq)]) + seq + bytes([REPLY, 0])
        head += struct.pack(">H", len(meta)) + meta + b"\0"
        self.conn.sendall(struct.pack(">I", 4 + len(head) + len(body)) + head)
        if body:
            self.conn.sendall(body)

    def answer(self, route, body):
        """Returns the body of the reply to a CALL."""
        path, _, query = route.partition("?")
        if path == "/xfer/211/pack":
            return self.checked(pack(body))
        if path == "/xfer/211/unpack":
            values = urllib.parse.parse_qs(query).get("max", [])
            most = int(values[0]) if values and values[0].isdigit() else 64 << 20
            return self.checked(unpack(body, most))
        if path == "/guest/bundle":
            return self.bundle(body)
        if path == "/guest/describe":
            return json.dumps(DESCRIPTION).encode()
        if path in ("/guest/ping", "/guest/drain"):
            return b""
        if path == "/guest/configure":
            self.configure(body)
            return b""
        raise Failure(404, "Not Found", "there is no route " + path)

    def bundle(self, body):
        """Answers several items of the filter. The host sends those without a result again."""
        out, at = b"", 0

        def take(n):
            nonlocal at
            if at + n > len(body):
                raise Failure(422, "Refused", "the bundle ends within an item")
            at += n
            return body[at - n : at]

        room = BUNDLE_ROOM if self.max_item is None else min(BUNDLE_ROOM, self.max_item)
        while at < len(body):
            route = take(take(1)[0]).decode("utf-8", "replace")
            item = take(struct.unpack(">I", take(4))[0])
            result = None
            if route.startswith("/xfer/"):
                try:
                    result = self.answer(route, item)
                except Failure:
                    pass
            if result is None or len(out) + 4 + len(result) > room:
                out += b"\xff\xff\xff\xff"
            else:
                out += struct.pack(">I", len(result)) + result
        return out

    def checked(self, out):
        if self.max_item is not None and len(out) > self.max_item:
            raise Failure(413, "Too Large", "%d bytes, the host takes %d" % (len(out), self.max_item))
        return out

    def configure(self, body):
        try:
            config = json.loads(body)
            max_item = int(config["max_item"])
        except (ValueError, TypeError, KeyError) as e:
            raise Failure(422, "Refused", "no configuration: %r" % e)
        if not 0 <= max_item < 1 << 31:
            raise Failure(422, "Refused", "max_item is %d" % max_item)
        if config.get("config") is not None:
            raise Failure(422, "Refused", "crc32guest takes no configuration")
        self.max_item, self.limit = max_item, max_item + ROOM

    def greet(self):
        """Reads the first message. Returns whether the connection is the host's lane."""
        seq, kind, route, body = self.receive()
        hello = {}
        try:
            hello = json.loads(body)
        except ValueError:
            pass
        if kind != CALL or route != "/guest/hello":
            reason = "the first message of a lane is a CALL of /guest/hello"
        elif not isinstance(hello, dict) or hello.get("token") != self.token:
            reason = "wrong token"
        else:
            self.reply(seq, json.dumps({"contract": CONTRACT}).encode())
            return True
        self.reply(seq, error={"code": 401, "message": "Unauthorized", "reason": reason})
        return False

    def serve(self):
        """Answers until the lane ends, or the guest is to end."""
        while True:
            seq, kind, route, body = self.receive()
            if kind != CALL:
                continue
            try:
                self.reply(seq, self.answer(route, body))
            except Failure as e:
                self.reply(seq, error=e.error)
            if route == "/guest/drain":
                return


# The start.


def watch_stdin(opened):
    """Ends the process if there is no lane 5 s after stdin has ended, or 30 s after the start."""

    def expire(seconds):
        if not opened.wait(seconds):
            os._exit(1)

    def wait():
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        expire(5)

    threading.Thread(target=expire, args=(30,), daemon=True).start()
    threading.Thread(target=wait, daemon=True).start()


def main():
    if sys.argv[-1:] == ["describe"]:
        print(json.dumps(DESCRIPTION, indent=2))
        return 0
    if os.environ.get("TELEPORT_GUEST") != "e8a1c0de-teleport-guest":
        print("crc32guest is a guest of Teleport: a host starts it. To see its parts: %s describe" % sys.argv[0], file=sys.stderr)
        return 2
    if str(CONTRACT) not in os.environ.get("PLUGIN_PROTOCOL_VERSIONS", str(CONTRACT)).split(","):
        print("crc32guest has version %d of the contract, the host has not" % CONTRACT, file=sys.stderr)
        return 1
    token = os.environ.pop("TELEPORT_GUEST_TOKEN", "")
    path = os.path.join(os.environ["PLUGIN_UNIX_SOCKET_DIR"], "lane")
    opened = threading.Event()
    watch_stdin(opened)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    print("1|%d|unix|%s|tp" % (CONTRACT, path), flush=True)
    while True:
        conn, _ = listener.accept()
        lane = Lane(conn, token)
        try:
            if not lane.greet():
                continue
            opened.set()
            listener.close()
            lane.serve()
            return 0
        except (LaneEnded, OSError) as e:
            if opened.is_set():
                print("crc32guest: the lane has ended: %s" % e, file=sys.stderr)
                return 0
        finally:
            lane.stream.close()
            conn.close()


if __name__ == "__main__":
    sys.exit(main())
