"""The application model with aiohttp as server and client, on one event loop."""
import argparse
import asyncio
import random
import time

from aiohttp import ClientSession, TCPConnector, web


def compute():
    """50 to 100 microseconds."""
    end = time.perf_counter() + random.uniform(50e-6, 100e-6)
    while time.perf_counter() < end:
        pass


class Work:
    def __init__(self, arguments):
        self.arguments = arguments

    async def start(self, app):
        # One pool for both hosts; 0 is no limit.
        connector = TCPConnector(limit=self.arguments.pool, keepalive_timeout=600)
        app["session"] = ClientSession(connector=connector)
        yield
        await app["session"].close()

    async def get(self, session, host, call, token, headers):
        async with session.get(f"http://{host}/{call}/{token}", headers=headers) as answer:
            return await answer.text()

    async def work(self, request):
        session, token = request.app["session"], request.match_info["token"]
        first, second = self.arguments.first, self.arguments.second
        passed = self.arguments.passed_on
        headers = {passed: request.headers[passed]} if passed in request.headers else {}
        await self.get(session, first, "a", token, headers)
        compute()
        await self.get(session, second, "b", token, headers)
        await asyncio.gather(
            self.get(session, first, "c", token, headers),
            self.get(session, second, "d", token, headers),
        )
        return web.Response(text="work\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--listen", required=True)
    parser.add_argument("--first", required=True)
    parser.add_argument("--second", required=True)
    parser.add_argument("--pool", type=int, required=True)
    parser.add_argument("--pass", dest="passed_on", default="")
    arguments = parser.parse_args()
    work = Work(arguments)
    app = web.Application()
    app.cleanup_ctx.append(work.start)
    app.router.add_get("/work/{token}", work.work)
    host, port = arguments.listen.rsplit(":", 1)
    web.run_app(
        app, host=host, port=int(port), print=lambda *_: print("listening", flush=True), access_log=None,
        keepalive_timeout=600, backlog=1024,
    )


main()
