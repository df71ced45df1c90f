"""Runs the platform: listens, keeps workers, lets time pass, and stops everything on the first SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import socket
import time

from local_runpod.app import create_app
from local_runpod.control import Control
from local_runpod.processes import Pool, worker_environment
from local_runpod.screen import Screen
from local_runpod.server import build_server
from local_runpod.settings import Settings
from local_runpod.webhooks import Webhooks

TICK = 0.1  # seconds between looks at the clock: limits are kept to that


async def serve(settings: Settings, command: list[str], listener: socket.socket) -> None:
    url = _url(settings.host, listener)
    screen, control, webhooks = Screen(), Control(settings), Webhooks(settings)
    control.listeners += [screen.changed, webhooks.changed]
    pool = Pool(settings, command, url, screen.say, control.table.add_worker, control.table.remove_worker)
    control.replace_worker = pool.replace
    server = build_server(create_app(control, pool))
    stop = _stop_on_signal()

    serving = asyncio.create_task(server.serve([listener]))
    ticking = asyncio.create_task(_tick(control, pool, screen))
    working = asyncio.create_task(pool.run())
    killing = asyncio.create_task(_kill_now_and_then(control, pool))
    _introduce(screen, settings, url)
    await asyncio.wait({asyncio.create_task(stop.wait()), serving}, return_when=asyncio.FIRST_COMPLETED)

    screen.say("stopping")
    killing.cancel()
    control.stop()
    await pool.stop()
    await working
    await webhooks.close()
    ticking.cancel()
    server.should_exit = True
    await serving
    screen.say("stopped")


def _stop_on_signal() -> asyncio.Event:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    return stop


async def _tick(control: Control, pool: Pool, screen: Screen) -> None:
    while True:
        for worker_id in control.table.expire():
            screen.say(f"worker {worker_id} sent no ping for {control.settings.worker_silence:g} s")
            pool.kill(worker_id, signal.SIGKILL)
        screen.draw(control.table, time.monotonic())
        await asyncio.sleep(TICK)


async def _kill_now_and_then(control: Control, pool: Pool) -> None:
    while seconds := control.settings.kill_every:
        await asyncio.sleep(seconds)
        if pool.running:
            pool.kill(control.trouble.dice.choice(list(pool.running)), signal.SIGKILL)


def _url(host: str, listener: socket.socket) -> str:
    """Where workers on this machine reach the platform, whatever addresses it listens on."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{listener.getsockname()[1]}"


def _introduce(screen: Screen, settings: Settings, url: str) -> None:
    endpoint = f"{url}/v2/{settings.endpoint}"
    key = settings.api_key or "any"
    screen.say(f"Runpod on this machine: {endpoint}")
    screen.say(f"  OpenAI clients: {endpoint}/openai/v1      state and trouble: {url}/admin/state")
    screen.say(f"  the runpod client: RUNPOD_ENDPOINT_BASE_URL={url}/v2  runpod.Endpoint({settings.endpoint!r})")
    screen.say("  try:")
    screen.say(
        f"  curl -s {endpoint}/runsync -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json'"
        """ -d '{"input": {"path": "/v1/models"}}'"""
    )
    if not settings.workers:
        screen.say("start workers with:")
        for name, value in worker_environment(settings, url, "WORKER-1").items():
            screen.say(f"  export {name}='{value}'")
