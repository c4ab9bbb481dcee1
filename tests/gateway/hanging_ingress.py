"""An ingress in a process of its own, so that a test can stop it: prints its host:port and never judges."""

import asyncio

from tests.gateway.fake_ingress import FakeIngress, serve, silent


async def main() -> None:
    server, target = await serve(FakeIngress(silent))
    print(target, flush=True)  # noqa: T201
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())
