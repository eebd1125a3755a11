"""A server that is killed when the mail server has its mail, and it does not know yet: the mail is sent again."""

from pathlib import Path

from tests.builders import posted
from tests.organization import INVITES, admin_of
from tests.postbox import Postbox
from tests.servers import Everloom


def test_a_mail_that_was_sent_by_a_server_that_is_killed_is_sent_again(tmp_path: Path) -> None:
    killed: list[int] = []

    def kill_once(text: str) -> str:
        if not killed:
            killed.append(server.pid)
            server.kill()
        return "250 OK"

    with Postbox(content=kill_once) as box:
        settings = {"smtp_url": f"smtp://127.0.0.1:{box.port}", "mail_from": "everloom@example.org"}
        server = Everloom(tmp_path, **settings)
        with server, admin_of(server) as admin:
            invite = posted(admin, INVITES, {"email": "somebody@example.org", "role": "reader"})
            box.wait(1)
        with Everloom(tmp_path, **settings):
            first, second = box.wait(2)
        assert killed
        assert first["Message-ID"] == second["Message-ID"]
        assert invite["accept_url"] in first.get_content()
        with Everloom(tmp_path, **settings) as server, admin_of(server) as admin:
            posted(admin, INVITES, {"email": "another@example.org", "role": "reader"})
            assert [mail["To"] for mail in box.wait(3)] == ["somebody@example.org"] * 2 + ["another@example.org"]
