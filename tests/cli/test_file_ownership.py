"""Files that root's commands create belong to the user of the store, so that the daemons can open them afterwards."""

from __future__ import annotations

import codecs
import importlib
import json
import os
import pkgutil
import pwd
import shutil
import sqlite3
import stat
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

import claude_relay
from claude_relay import config as config_package
from claude_relay import wiring
from claude_relay.cli.doctor import permissions
from claude_relay.cli.doctor.system import System
from claude_relay.cli.main import main
from claude_relay.cli.verbs import configure
from claude_relay.config import Settings
from claude_relay.config.sources import env_file
from claude_relay.errors import StoreUnavailable
from claude_relay.file_owner import access_fault, acting_as, share_with_group, split_fault
from tests.support.doctor import a_system
from tests.support.needs import lacks

NOBODY = 65534
PACKAGE = Path(claude_relay.__file__).parent

#: The program from the folder in argv[1]: with `-S` nothing else than the standard library is on the path.
_RUN = """
import sys
private = sys.argv.pop(1)
sys.path[:0] = [private, private + "/libraries"]
from claude_relay.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """An open folder with `state/` in it as `make install` makes it: owned by the daemons' user, group-writable."""
    if os.geteuid() != 0:
        lacks("only root can give a folder to another user")
    parent = Path(tempfile.mkdtemp())  # pytest's own are root's alone
    parent.chmod(0o711)
    state = parent / "state"
    state.mkdir()
    os.chown(state, NOBODY, NOBODY)
    state.chmod(0o2770)
    yield parent
    shutil.rmtree(parent)


@pytest.fixture
def store(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The path of the store in that folder, which is also the one in the settings."""
    path = folder / "state" / "relay.db"
    monkeypatch.chdir(folder)
    monkeypatch.setenv("RELAY_STORE", str(path))
    return path


@pytest.fixture
def private_command(folder: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command as root has it in a virtual environment of mode 700: no other user can read one of its files."""
    private = folder / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(PACKAGE, private / PACKAGE.name, ignore=shutil.ignore_patterns("__pycache__"))
    # Through this link the libraries, too, can be imported by root alone.
    (private / "libraries").symlink_to(sysconfig.get_path("purelib"))
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "RELAY_STORE": str(folder / "state" / "relay.db")}

    def command(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", "-c", _RUN, str(private), *args],
            env=env,
            cwd=private,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
        )

    return command


def required_mode(path: Path) -> int:
    """The group writes every file but the key, which never changes."""
    return 0o040 if path.suffix == ".key" else 0o020


def unusable(folder: Path) -> list[str]:
    """Files that the daemons could not open or write."""
    return [
        f"{path.name} {stat.filemode(info.st_mode)} {info.st_uid}:{info.st_gid}"
        for path in folder.rglob("*")
        if (info := path.lstat())
        and ((info.st_uid, info.st_gid) != (NOBODY, NOBODY) or not info.st_mode & required_mode(path))
    ]


def test_files_created_by_root_belong_to_the_user_of_the_store(store):
    assert main(["migrate"]) == 0
    body = {"prompt": "x", "webhookUrl": "https://hook.example.com/", "webhookHeaders": {"x-make-apikey": "k"}}
    (store.parents[1] / "body.json").write_text(json.dumps(body))
    assert main(["submit", "--from-json", str(store.parents[1] / "body.json")]) == 0
    assert store.with_name("relay.db.key").exists()
    assert main(["status"]) == 0

    assert unusable(store.parent) == []
    assert os.geteuid() == 0


def test_a_program_that_only_root_can_read_works_on_a_store_of_another_user(private_command, folder):
    """Opening the store switches to its user, who can import and read nothing of a virtual environment in /root."""
    body = {"prompt": "x", "webhookUrl": "https://hook.example.com/", "webhookHeaders": {"x-make-apikey": "k"}}
    (folder / "body.json").write_text(json.dumps(body))
    commands = (
        ("migrate",),
        ("migrate", "--check"),
        ("submit", "Hei", "--id", "r-1"),
        ("submit", "--from-json", str(folder / "body.json")),
        ("status",),
        ("status", "r-1"),
        ("list",),
        ("keys", "add", "make"),
        ("keys", "list"),
        ("backup", str(folder / "copy.db")),
        ("purge",),
        ("restore", "--yes", str(folder / "copy.db")),
        ("status", "r-1"),
    )
    for command in commands:
        done = private_command(*command)
        assert (done.returncode, "Permission" in done.stderr) == (0, False), (command, done.stderr)

    findings = [json.loads(line) for line in private_command("doctor", "--json").stdout.splitlines()]
    assert [item["result"] for item in findings if item["check"] == "store"] == ["ok"]
    assert unusable(folder / "state") == []


def test_a_program_that_only_root_can_read_reports_a_store_that_cannot_be_opened(private_command, folder):
    missing = private_command("status")
    (folder / "state" / "relay.db").write_bytes(b"overwritten" * 99)
    overwritten = private_command("status")

    assert (missing.returncode, overwritten.returncode) == (69, 78)
    assert "there is no store at" in missing.stderr
    assert "is not a database" in overwritten.stderr


def test_a_restored_store_belongs_to_the_user_of_its_folder(store, tmp_path):
    assert main(["migrate"]) == 0
    assert main(["backup", str(tmp_path / "copy.db")]) == 0
    assert main(["restore", "--yes", str(tmp_path / "copy.db")]) == 0

    assert unusable(store.parent) == []


def test_restore_without_a_terminal_needs_yes_and_changes_nothing(store, tmp_path, capsys):
    assert main(["migrate"]) == 0
    assert main(["backup", str(tmp_path / "copy.db")]) == 0
    inode = store.stat().st_ino

    assert main(["restore", str(tmp_path / "copy.db")]) == 2
    assert "--yes" in capsys.readouterr().err
    assert store.stat().st_ino == inode


def test_a_store_of_a_newer_version_is_refused_before_it_is_changed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RELAY_STORE", str(tmp_path / "relay.db"))
    assert main(["migrate", "--check"]) == 0
    assert not (tmp_path / "relay.db").exists()
    assert main(["migrate"]) == 0
    assert main(["migrate", "--check"]) == 0
    with sqlite3.connect(tmp_path / "relay.db") as connection:
        connection.execute("PRAGMA user_version = 9999")
    connection.close()
    content = (tmp_path / "relay.db").read_bytes()

    assert main(["migrate", "--check"]) == 78
    assert "newer version" in capsys.readouterr().err
    assert (tmp_path / "relay.db").read_bytes() == content


def test_a_worker_that_root_runs_leaves_its_files_to_the_user_of_the_store(store):
    """CASES A4. Its folder, locks and socket belong to the daemons' user, whose worker can start after it."""
    from claude_relay.notify.wakeup_socket import WakeupListener
    from claude_relay.worker.instance_lock import InstanceLock
    from claude_relay.worker.worker_locks import WorkerLocks

    folder = store.parent / "workers"
    name = InstanceLock(folder, "one")
    locks = WorkerLocks(folder)
    locks.acquire("w")
    listener = WakeupListener(folder, "w")
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in (folder, *folder.iterdir())}
    listener.close()
    locks.release("w")
    name.release()

    assert owners == dict.fromkeys(("workers", "one.name", "w.lock", "w.bell"), (NOBODY, NOBODY))


def test_doctor_names_files_of_another_owner_with_the_chown(store, capsys):
    """CASES A4, A5. Below the state directory: the file, the owner found, the owner wanted, and the command."""
    assert main(["migrate"]) == 0
    for path in (store.with_name("ready.db"), store.parent / "workers"):
        os.chown(path, 0, 0)
    capsys.readouterr()
    code = main(["doctor", "--json"])
    [fault] = [
        finding
        for finding in map(json.loads, capsys.readouterr().out.splitlines())
        if "must belong to" in finding["found"]
    ]
    subprocess.run(fault["mend"], shell=True, check=True)
    capsys.readouterr()
    main(["doctor", "--json"])

    assert code == 1
    assert (
        "root" in fault["found"] and "nobody" in fault["found"] and str(store.with_name("ready.db")) in fault["found"]
    )
    assert "must belong to" not in capsys.readouterr().out


@pytest.mark.parametrize("name", ["relay.db", "ready.db", ""])
def test_doctor_survives_a_store_that_the_daemons_cannot_use(store, capsys, name):
    """CASES A5. The store, its queue or its folder is root's: file, both owners, and a chown that works."""
    assert main(["migrate"]) == 0
    path = store.parent / name
    mode = path.stat().st_mode
    os.chown(path, 0, 0)
    path.chmod(0o700 if path.is_dir() else 0o600)
    capsys.readouterr()
    code = main(["doctor", "--json"])
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    faults = [finding for finding in findings if "belong" in finding["found"]]
    if name:
        assert main(["status"]) == 69
        assert "chown nobody" in capsys.readouterr().err
    subprocess.run(faults[0]["mend"], shell=True, check=True)
    path.chmod(mode)

    assert code == 1 and {"permissions", "clock"} <= {finding["check"] for finding in findings}
    for fault in faults:
        assert fault["mend"] == f"chown nobody: {path}"
        assert str(path) in fault["found"] and "root" in fault["found"] and "nobody" in fault["found"]
    assert main(["status"]) == 0


#: As systemctl shows the units' users: a drop-in of one unit does not decide.
USERS = "User=nobody\n\nUser=www-data\n\nUser=nobody\n"


def test_doctor_compares_owners_with_the_user_of_the_unit(tmp_path):
    """CASES A5, A11. The folder and the store agree with each other, and the unit has another user."""
    given = Settings(store=f"sqlite:///{tmp_path}/state/relay.db")
    for folder in ("state", "units", "booted"):
        (tmp_path / folder).mkdir()
    (tmp_path / "units" / "claude-relay-worker.service").touch()
    with wiring.open_relay(given, create=True):
        pass
    server = replace(a_system(tmp_path), run=lambda command: USERS if "--property=User" in command else None)
    [fault] = [fault for fault in permissions.check(given, server) if "must belong" in fault.detail]

    assert fault.fix.startswith("chown nobody: ") and str(tmp_path / "state") in fault.fix


@pytest.mark.parametrize("mode", [0o600, 0o640])
def test_config_check_as_root_checks_as_the_user_of_the_daemons(folder, monkeypatch, capsys, mode):
    """CASES A6: root can read the file, and the restart would take the API down."""
    file = folder / "claude-relay.env"
    file.write_text(f"RELAY_STORE=sqlite:///{folder}/state/relay.db\n")
    file.chmod(mode)
    if mode == 0o640:
        os.chown(file, 0, NOBODY)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(configure, "_ETC", folder)
    monkeypatch.setattr(System, "daemon_user", lambda system: NOBODY)
    monkeypatch.setenv("RELAY_STORE", str(folder / "state" / "relay.db"))
    code = main(["config", "check", "--no-keys"])
    said = capsys.readouterr().err

    assert code == (0 if mode == 0o640 else 78)
    assert (str(file) in said and "nobody" in said and "chgrp claude-relay" in said) == (code == 78)
    assert os.geteuid() == 0


@pytest.fixture
def as_stranger() -> Iterator[Callable[[int], None]]:
    """Continues as uid 12345, which has no name, in the group; root again afterwards."""
    if os.geteuid() != 0:
        lacks("only root can become another user")
    for module in pkgutil.walk_packages(claude_relay.__path__, "claude_relay."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)  # the checkout may be one that only root can read
    codecs.lookup("utf-8-sig")
    group, groups, mask = os.getegid(), os.getgroups(), os.umask(0o022)

    def become(number: int) -> None:
        os.setgroups([])
        os.setegid(number)
        os.seteuid(12345)

    yield become
    os.seteuid(0)
    os.setegid(group)
    os.setgroups(groups)
    os.umask(mask)


def test_a_member_of_the_group_who_cannot_write_the_store_has_the_chmod(store, as_stranger):
    """A sibling of CASES A5: after `chmod 600` operators are not told to be the daemons."""
    assert main(["migrate"]) == 0
    store.chmod(0o600)
    as_stranger(NOBODY)  # by its group
    fault = access_fault(store)
    os.seteuid(0)

    assert fault is not None and "mode 600" in fault[0] and fault[1] == f"chmod g+rw {store}"


def test_an_ordinary_user_of_a_server_has_sudo_and_the_group(folder):
    """A sibling of CASES A17: not the command for a container, which would give the settings to that user."""
    (folder / "etc").mkdir(mode=0o750)
    os.chown(folder / "etc", 0, pwd.getpwnam("daemon").pw_gid)
    with acting_as(pwd.getpwuid(NOBODY)):
        source = env_file(folder / "etc" / "claude-relay.env", "x")

    assert "usermod -aG daemon nobody" in source.faults[0] and "chown" not in source.faults[0]


@pytest.mark.parametrize(
    ("name", "mode", "cure"),
    [("relay.db", 0o400, "chmod ug+rw "), ("folder", 0o500, "chmod u+rwx "), ("..", 0o700, "chmod o+x ")],
    ids=["file", "folder", "above"],
)
@pytest.mark.usefixtures("as_stranger")
def test_a_mode_that_shuts_the_daemons_out_is_named_with_the_chmod(store, monkeypatch, name, mode, cure):
    """Siblings of CASES A5: every owner is right; `doctor` and a process of the daemons' user say the same."""
    assert main(["migrate"]) == 0
    given = Settings(store=f"sqlite:///{store}")
    path = store.parent if name == "folder" else (store.parent / name).resolve()
    before = path.stat().st_mode
    path.chmod(mode)
    monkeypatch.setattr(System, "daemon_user", lambda system: NOBODY)
    monkeypatch.setattr(config_package, "load", lambda *_, **__: given)
    [fault] = [
        each for each in permissions.check(given, System()) if each.result == "fail" and str(path) in each.detail
    ]
    with (
        acting_as(pwd.getpwuid(NOBODY)),
        pytest.raises(StoreUnavailable) as refused,
        wiring.open_relay(given, create=True),
    ):
        pass
    subprocess.run(fault.fix, shell=True, check=True)
    usable = path.stat().st_mode & 0o700 == before & 0o700

    assert fault.fix == f"{cure}{path}" and f"{mode:o}" in fault.detail
    assert fault.fix in str(refused.value) and "run it as" not in str(refused.value)
    assert usable
    path.chmod(before)


def test_a_backup_beside_the_store_belongs_to_the_user_of_the_daemons(store):
    """A sibling of CASES A4: `backup` by root into their folder, which `doctor` would call a fault."""
    assert main(["migrate"]) == 0
    beside, elsewhere = store.with_name("b.db"), store.parent.parent / "b.db"
    assert main(["backup", str(beside)]) == main(["backup", str(elsewhere)]) == 0

    assert (beside.stat().st_uid, elsewhere.stat().st_uid) == (NOBODY, 0)


@pytest.fixture
def image(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state directory as the image has it, which is also the working directory."""
    state = folder / "state"
    os.chown(state, 10001, 0)
    state.chmod(0o2770)
    monkeypatch.chdir(state)
    monkeypatch.setenv("RELAY_STORE", str(state / "relay.db"))
    return state


def test_an_arbitrary_user_of_group_0_works_in_the_image(image, as_stranger):
    """CASES C4: `docker run --user 12345`, and OpenShift."""
    main(["--version"])
    as_stranger(0)

    assert [main(["migrate"]), main(["submit", "Hei", "--id", "r-1"]), main(["status", "r-1"])] == [0, 0, 0]
    assert (image / "relay.db").stat().st_uid == 12345


def test_an_arbitrary_user_of_another_group_is_told_uid_folder_and_command(image, as_stranger, capsys):
    """CASES C4: with the settings in the working directory, and from another one."""
    main(["--version"])
    as_stranger(12345)
    codes = [main(["status"])]
    said = [capsys.readouterr().err]
    os.chdir("/")
    codes.append(main(["migrate"]))
    said.append(capsys.readouterr().err)

    assert codes == [78, 69]
    for text in said:
        assert "uid 12345" in text and str(image) in text
        assert "--user 12345:0" in text and f"chown -R 12345 {image}" in text


def test_a_volume_of_an_earlier_user_of_group_0_works_under_another_one(image, as_stranger):
    """CASES C4: OpenShift gives each project uids of its own, so that a volume is used by another one later."""
    from claude_relay.worker.instance_lock import InstanceLock

    main(["--version"])
    as_stranger(0)
    assert main(["submit", "Hei", "--id", "r-1"]) == 69, "there is no store yet"
    share_with_group(image)
    assert [main(["migrate"]), main(["submit", "Hei", "--id", "r-1"])] == [0, 0]
    InstanceLock(image / "workers", "one").release()
    os.seteuid(0)
    os.seteuid(67890)
    os.umask(0o022)

    assert [main(["submit", "Hei", "--id", "r-2"]), main(["status", "r-1"])] == [0, 0]
    InstanceLock(image / "workers", "one").release()
    assert {path.stat().st_mode & 0o060 for path in image.rglob("*") if path.suffix != ".key"} == {0o060}


def test_both_daemons_end_where_the_volume_belongs_to_another_user(image, as_stranger, capsys, monkeypatch):
    """CASES C5: a bind mount of root's; uid and command are named, and no daemon is restarted for ever."""
    os.chown(image, 0, 0)
    image.chmod(0o755)
    (image.parent / "work").mkdir(mode=0o755)
    monkeypatch.chdir(image.parent / "work")
    monkeypatch.setenv("API_SECRET_KEY", "k" * 40)
    monkeypatch.setenv("RELAY_PROVIDER", "sandbox")
    monkeypatch.setattr("claude_relay.cli.supervise.supervise", lambda: pytest.fail("it started them"))
    monkeypatch.setattr("claude_relay.logs.setup", lambda *_: None)
    monkeypatch.setattr("faulthandler.enable", lambda: None)
    main(["--version"])
    as_stranger(12345)

    assert main(["serve", "--with-worker"]) == 69
    said = capsys.readouterr().err
    assert f"{image} belongs to uid 0" in said and f"chown -R 12345 {image}" in said


def test_a_cure_of_two_ways_is_split_off_as_a_whole() -> None:
    """As `doctor` shows what is wrong and what to type apart."""
    wrong = "the store /s/relay.db cannot be opened or written: /s is hidden from relay: it has mode 0"

    assert split_fault(f"{wrong}: take that line out of the unit, or: chmod 2770 /s") == (
        wrong,
        "take that line out of the unit, or: chmod 2770 /s",
    )
    assert split_fault("the disk is full: make room") is None
