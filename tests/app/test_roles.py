"""Who may give which command on the control socket."""

from __future__ import annotations

import asyncio
import os
import pwd
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from inspector.app import control
from inspector.app.control import Control, ask
from inspector.app.errors import UserError

ME = pwd.getpwuid(os.geteuid()).pw_name


class Desk:
    """A steward that does whatever it is asked."""

    def status(self) -> dict[str, Any]:
        return {}

    def sessions(self) -> list[Any]:
        return []

    def kill(self, session: str, by: str) -> None: ...

    async def reload(self, by: str) -> dict[str, Any]:
        return {}

    def workers(self) -> list[dict[str, Any]]:
        return []

    async def restart(self, by: str) -> dict[str, Any]:
        return {}

    async def hold(self, command: str, request: Mapping[str, Any], by: str) -> Any:
        return {"done": command}


ALL = tuple(control.COMMANDS)
HOLDS = tuple(name for name in ALL if name.startswith("hold"))


def _allowed(path: Path, who: control.Peer | None = None, **more: Any) -> set[str]:
    """The commands that somebody may give (None: who runs the tests)."""
    allowed: set[str] = set()

    async def talk(steward: Desk) -> None:
        for command in ALL:
            try:
                await asyncio.to_thread(ask, path, command, id="s0")
            except UserError as fault:
                if "it needs the role" in str(fault):
                    assert str(fault).endswith(control.COMMANDS[command])
                    continue
                if "you may not control this gateway" in str(fault):
                    continue
            allowed.add(command)

    class Known(Control):
        def _who(self, writer: asyncio.StreamWriter) -> control.Peer:
            return who or super()._who(writer)

    async def main() -> None:
        server = Known(path, Desk(), **more)
        await server.start()
        try:
            await talk(Desk())
        finally:
            await server.stop()
    asyncio.run(main())
    return allowed


def test_without_roles_the_gateways_own_user_may_do_everything(tmp_path: Path) -> None:
    """Who runs the gateway, and root."""
    assert _allowed(tmp_path / "c.sock") == set(ALL)


def test_a_configured_role_is_of_those_who_are_named_and_of_nobody_else(tmp_path: Path) -> None:
    """By name or by group; the gateway's own user and root are no exception; other roles stay with them."""
    import grp

    path, mine = tmp_path / "c.sock", grp.getgrgid(os.getegid()).gr_name
    review = {name for name, role in control.COMMANDS.items() if role == "review"}
    for names in ([ME], [f"@{mine}"], ["somebody", ME], ["@no-such-group", f"@{mine}"]):
        assert _allowed(path, roles={"review": names}) == set(ALL)
    for names in ([], ["somebody"], ["@no-such-group"], [mine + "x"]):
        assert _allowed(path, roles={"review": names}) == set(ALL) - review
    assert _allowed(path, roles={"review": [ME], "view": [], "operate": []}) == review


def test_the_control_group_may_do_what_it_could_and_no_more(tmp_path: Path) -> None:
    """Nothing of the quarantine without a role; a role that is configured takes its commands from the group, too."""
    path = tmp_path / "c.sock"

    def peer(*roles: str, member: bool = True) -> control.Peer:
        return control.Peer("mallory", False, member, frozenset(roles))
    today = set(control.OF_THE_GROUP)
    assert {"status", "sessions", "kill", "reload"} <= today
    assert _allowed(path, peer()) == today
    assert _allowed(path, peer(), roles={"operate": ["olga"]}) == {
        name for name in today if control.COMMANDS[name] == "view"}
    assert _allowed(path, peer(), roles={"view": ["vera"], "operate": ["olga"]}) == set()
    assert _allowed(path, peer("view"), roles={"view": ["mallory"]}) == {*today, "holds"}
    assert _allowed(path, peer("review", member=False), roles={"review": ["mallory"]}) == {
        name for name, role in control.COMMANDS.items() if role == "review"}
    assert _allowed(path, peer(member=False), roles={"review": ["rita"]}) == set()


def test_roles_may_be_replaced_while_it_runs(tmp_path: Path) -> None:
    """A reload takes a role away from the next request on."""
    async def talk(steward: Desk) -> None:
        assert await asyncio.to_thread(ask, path, "holds") == {"done": "holds"}
        servers[0].roles = {"view": ["somebody"]}
        with pytest.raises(UserError, match="needs the role view"):
            await asyncio.to_thread(ask, path, "holds")

    async def main() -> None:
        servers.append(Control(path, Desk()))
        await servers[0].start()
        try:
            await talk(Desk())
        finally:
            await servers[0].stop()
    path = tmp_path / "c.sock"
    servers: list[Control] = []
    asyncio.run(main())


def test_every_command_has_a_role() -> None:
    """Of the three there are."""
    from inspector.app.config import ROLES

    assert set(control.COMMANDS.values()) == set(ROLES) and set(ALL) > control.OF_THE_GROUP
    assert not control.OF_THE_GROUP & set(HOLDS)
