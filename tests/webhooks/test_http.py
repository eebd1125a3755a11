"""The courier, with real sockets: where it goes, where it does not, and how long it stays."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from everloom.webhooks.addresses import is_public
from everloom.webhooks.base import Undelivered
from everloom.webhooks.http import HttpCourier
from everloom.webhooks.lookups import OwnThreads
from tests.hooks import Hook, Listening, endless, interim, never, slow_head, status


async def post(courier: HttpCourier, url: str, count: int = 1) -> list[int]:
    try:
        return [await courier.post(url, b'{"a":1}', {"webhook-id": "wh_1"}) for _ in range(count)]
    finally:
        await courier.close()


def posted(url: str, count: int = 1, **options: Any) -> list[int]:
    return asyncio.run(post(HttpCourier(private=True, **options), url, count))


def refused(courier: HttpCourier, url: str) -> str:
    with pytest.raises(Undelivered) as refusal:
        asyncio.run(post(courier, url))
    return str(refusal.value)


@pytest.mark.parametrize("code", [200, 204, 299, 301, 302, 307, 400, 410, 500, 599])
def test_an_answer_is_its_status_and_no_redirect_is_followed(code: int) -> None:
    with Hook() as other, Hook(status(code, location=other.url)) as hook:
        assert posted(hook.url, 2) == [code, code]
        (sent, _) = hook.sent
        assert (sent.path, sent.body, sent.headers["webhook-id"]) == ("/hook", b'{"a":1}', "wh_1")
        assert sent.headers["content-type"] == "application/json"
        assert sent.headers["user-agent"].startswith("Everloom/")
        assert other.sent == []


def test_an_endless_answer_is_left_after_its_head() -> None:
    with Hook(endless) as hook:
        assert posted(hook.url, 2) == [200, 200]


def test_interim_answers_without_end_are_cut_before_they_cost_everybody_time() -> None:
    with Hook(interim) as hook:
        assert refused(HttpCourier(private=True, seconds=60), hook.url) == "the connection broke off"


def test_what_is_looked_at_of_an_answer_is_bounded_by_itself_on_a_connection_that_is_used_again() -> None:
    with Hook(lambda request: request.reply(200, b"x" * 10_000)) as hook:
        assert posted(hook.url, 20) == [200] * 20


@pytest.mark.parametrize("answer", [never, slow_head])
def test_an_endpoint_that_does_not_answer_is_left_in_time(answer: Any) -> None:
    with Hook(answer) as hook:
        said = refused(HttpCourier(private=True, seconds=0.5), hook.url)
        assert said == "it did not answer within 0.5 seconds"


def test_what_is_no_http_is_no_answer() -> None:
    def garbage(request: Any) -> None:
        request.wfile.write(b"SSH-2.0-OpenSSH_9\r\n")
        request.close_connection = True

    with Hook(garbage) as hook:
        assert refused(HttpCourier(private=True), hook.url) == "its answer was not HTTP"


def test_cookies_are_not_kept() -> None:
    with Hook(status(200, **{"set-cookie": "a=1"})) as hook:
        posted(hook.url, 2)
        assert all("cookie" not in sent.headers for sent in hook.sent)


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["127.0.0.1", "127.0.0.1"],
        ["169.254.169.254"],
        ["10.1.2.3", "127.0.0.1"],
    ],
)
def test_a_name_is_judged_by_what_it_leads_to_when_it_is_connected_to(
    addresses: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it led to when the endpoint was made: a name server may say another thing each time."""
    here = Listening()
    try:

        def lookup(host: str, port: int, **_: Any) -> list[Any]:
            assert host == "rebound.example.org"
            return [
                (socket.AF_INET6, socket.SOCK_STREAM, 6, "", (each, port, 0, 0))
                if ":" in each
                else (socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
                for each in addresses
            ]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        courier = HttpCourier()
        url = f"https://rebound.example.org:{here.port}/"
        assert courier.problem(url) is None
        assert refused(courier, url) == "its address is not one that webhooks are sent to"
        assert here.connections == 0
    finally:
        here.close()


def test_settings_that_were_others_once_let_nothing_through() -> None:
    with Hook() as hook:
        assert "https://" in refused(HttpCourier(), hook.url)
        assert hook.sent == []


def test_a_lookup_that_hangs_ends_with_its_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    gate = threading.Event()

    async def check() -> None:
        loop, told, resolver = asyncio.get_running_loop(), asyncio.Event(), OwnThreads()

        def hang(host: str, port: int, **_: Any) -> list[Any]:
            asked.append(host)
            loop.call_soon_threadsafe(told.set)
            gate.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")

        monkeypatch.setattr(socket, "getaddrinfo", hang)
        task = asyncio.create_task(resolver.resolve("slow.example.org", 443))
        await told.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        with pytest.raises(socket.gaierror):  # the thread has given its place back
            await resolver.resolve("slow.example.org", 443)

    asyncio.run(check())
    assert len(asked) == 2


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "64:ff9b::101:101", "2002:808::"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "192.168.0.1", "172.31.255.255", "169.254.169.254", "100.100.100.200", "0.0.0.0"),
        *("240.0.0.1", "224.0.0.251", "192.0.2.1", "198.18.0.1", "168.63.129.16", "255.255.255.255"),
        *("::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe"),
        *("2001:db8::1", "2002:c0a8:1::", "2001:0:4136:e378:8000:63bf:f5ff:fffe", "fec0::1", "64:ff9b:1::1"),
    ],
)
def test_addresses_of_nobody_else(address: str) -> None:
    assert not is_public(address)
