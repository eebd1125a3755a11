"""``everloom doctor``: what ``app/doctor.py`` finds, and whether a server can be started here."""

import asyncio
from collections.abc import Awaitable

from everloom.app.doctor import WAIT_SECONDS, examined
from everloom.cli import CommandError
from everloom.config import Settings
from everloom.kit.log import mask
from everloom.objects.findings import Finding


def run_doctor(settings: Settings) -> int:
    """Print every finding; 1 if something that is needed is broken."""
    findings = asyncio.run(_findings(settings))
    for finding in findings:
        print(mask(f"{finding.level:8}{finding.text}"))
        if finding.remedy:
            print(mask(f"{'':8}-> {finding.remedy}"))
    broken = sum(finding.level == "broken" for finding in findings)
    print("\nEverything needed is here." if not broken else f"\nTo be put right: {broken}.")
    return 1 if broken else 0


async def _findings(settings: Settings) -> list[Finding]:
    *found, sandbox = await examined(settings)
    return [*found, await _port(settings), sandbox]


async def _port(settings: Settings) -> Finding:
    from everloom.cli.server import listen

    try:
        listen(settings.host, settings.port).close()
    except CommandError as error:
        if await _patiently(_is_everloom(settings)):
            return Finding("ok", f"port {settings.port}: an Everloom is running there")
        return Finding("broken", str(error), "name another with --port or EVERLOOM_PORT")
    return Finding("ok", f"port {settings.port} on {settings.host} is free")


async def _patiently(answer: Awaitable[bool]) -> bool:
    try:
        return await asyncio.wait_for(answer, WAIT_SECONDS)
    except (OSError, TimeoutError):
        return False


async def _is_everloom(settings: Settings) -> bool:
    reader, writer = await asyncio.open_connection(settings.host, settings.port)
    try:
        writer.write(b"GET /healthz HTTP/1.1\r\nhost: everloom\r\nconnection: close\r\n\r\n")
        return b"openai-organization" in (await reader.read(4096)).lower()
    finally:
        writer.close()
