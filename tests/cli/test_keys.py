"""``--key`` on the verbs that look into an image, with a pool that OpenZFS encrypted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.zfs import corpus
from unikiln.cli.keys import keys_from
from unikiln.cli.main import main
from unikiln.errors import HostError, UsageError

Run = Callable[..., tuple[int, str, str]]
PASSPHRASE = "correct horse battery staple"
HOME = "ref_crypt/home"


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus.unpack("crypt", tmp_path_factory.mktemp("crypt"))


@pytest.fixture
def run(image: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def verb(name: str, *arguments: str) -> tuple[int, str, str]:
        capfd.readouterr()
        status = main([name, str(image), *arguments])
        return status, *capfd.readouterr()

    return verb


@pytest.fixture
def key(tmp_path: Path) -> str:
    path = tmp_path / "key"
    path.write_text(f"{PASSPHRASE}\n")
    return str(path)


@pytest.mark.parametrize(
    ("verb", "arguments", "words"),
    [
        ("ls", ["/"], "hello"),
        ("tree", ["/dir"], "sub"),
        ("cat", ["/hello"], "hello, world"),
        ("stat", ["/short"], "short"),
    ],
)
def test_every_verb_takes_keys(run: Run, key: str, verb: str, arguments: list[str], words: str) -> None:
    dataset = [*arguments, "--dataset", "home/child"]
    for given in (f"{HOME}={key}", key):
        status, out, err = run(verb, *dataset, "--key", given)
        assert (status, err) == (0, "")
        assert words in out
    status, out, err = run(verb, *dataset)
    assert (status, out) == (1, "")
    assert err.startswith(
        "unikiln: dataset ref_crypt/home/child is encrypted, and the key of its encryption root"
    )
    assert f"--key {HOME}=FILE" in err
    assert err.count("\n") == 1


def test_extract(run: Run, key: str, tmp_path: Path) -> None:
    status, _, err = run("extract", "/", str(tmp_path / "out"), "--dataset", "home/own", "--key", key)
    assert status == 1
    assert "no dataset ref_crypt/home/own" in err
    status, _, _ = run("extract", "/own", str(tmp_path / "out"), "--dataset", "home", "--key", key)
    assert status == 0
    assert (tmp_path / "out" / "hello").read_bytes() == b"hello, world\n"


def test_diff(key: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Keys are for both sides; one that is wrong is trouble, not a difference."""
    root = corpus.unpack("crypt-zil", tmp_path)
    hexkey = tmp_path / "hex"
    hexkey.write_text(bytes(range(32)).hex())
    assert main(["diff", str(root), str(root), "--key", str(hexkey)]) == 0
    assert main(["diff", str(root), str(root), "--key", key]) == 2
    assert "a key in hex has 64 hex digits" in capfd.readouterr().err


def test_info_shows_what_is_encrypted_and_whether_it_can_be_read(run: Run, key: str) -> None:
    _, out, _ = run("info", "--key", f"{HOME}={key}")
    assert f"\n    aes-256-gcm, key of {HOME}, available\n" in out
    assert "\n    aes-192-ccm, key of ref_crypt/192-ccm-hex, unavailable\n" in out
    _, out, _ = run("info", "--json")
    datasets = {each["name"]: each for each in json.loads(out)["datasets"]}
    child = datasets["ref_crypt/home/child"]
    assert (child["encryption"], child["encryption_root"]) == ("aes-256-gcm", HOME)
    assert {each["key_status"] for each in datasets.values()} == {"", "unavailable"}


def test_verify_tells_what_it_could_not_look_into(run: Run, key: str) -> None:
    status, out, _ = run("verify")
    assert status == 0
    assert "without their keys: ref_crypt/128-ccm-hex, " in out
    status, out, _ = run("verify", "--json", "--key", f"{HOME}={key}")
    found = json.loads(out)
    assert (status, found["findings"]) == (0, [])
    assert HOME not in found["locked"]
    assert "ref_crypt/128-ccm-hex" in found["locked"]


def test_several_keys_of_every_source(run: Run, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEXKEY", bytes(range(32)).hex())
    monkeypatch.setattr("getpass.getpass", lambda prompt: PASSPHRASE if "ref_crypt/changed" in prompt else "")
    keys = [
        "--key",
        f"{HOME}={key}",
        "--key",
        "ref_crypt/home/other=env:HEXKEY",
        "--key",
        "ref_crypt/changed=prompt",
    ]
    for dataset, path in (("home/child", "/hello"), ("home/other", "/hello"), ("changed", "/x/hello")):
        assert run("cat", path, "--dataset", dataset, *keys)[1] == "hello, world\n"


@pytest.mark.parametrize(
    ("given", "words", "status"),
    [
        (["env:NO_SUCH_VARIABLE"], "no such variable", 2),
        (["/no/such/file"], "/no/such/file: No such file", 1),
        ([f"{HOME}="], "a name or a source is missing", 2),
        (["=x"], "a name or a source is missing", 2),
        (["a", "b=c"], "whose key? (--key ROOT=a)", 2),
        (
            ["ref_crypt/home/child=env:HOME"],
            "ref_crypt/home/child is no encryption root (there are: ref_crypt/128",
            2,
        ),
        ([f"{HOME}=/dev/zero"], "a passphrase has 8 to 512 bytes, not 4096", 1),
        ([f"{HOME}=/dev/null"], "a passphrase has 8 to 512 bytes, not 0", 1),
        (["env:PATH"], "ref_crypt/", 1),
    ],
)
def test_what_is_refused(run: Run, given: list[str], words: str, status: int) -> None:
    options = [word for each in given for word in ("--key", each)]
    found, out, err = run("ls", *options)
    assert (found, out) == (status, "")
    assert words in err
    assert err.count("\n") == 1


def test_nobody_is_there_to_be_asked(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("getpass.getpass", nobody)
    status, _, err = run("ls", "--dataset", "home", "--key", "prompt")
    assert (status, err) == (
        2,
        f"unikiln: nobody there to ask for the key of {HOME} (give a file, or env:NAME)\n",
    )


def test_a_file_whose_name_has_an_equals_sign(tmp_path: Path) -> None:
    path = tmp_path / "a=b"
    path.write_bytes(b"key")
    assert keys_from([str(path)]) == b"key"
    assert keys_from([f"tank={path}"]) == {"tank": b"key"}
    assert keys_from([]) is keys_from(None) is None
    with pytest.raises(HostError):
        keys_from([f"tank={tmp_path}"])
    with pytest.raises(UsageError):
        keys_from(["a=b", str(path)])
