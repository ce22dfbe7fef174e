"""The keys of encrypted datasets: which a dataset needs, and what a caller gave for it.

A dataset's own keys are in a crypto key object of the meta object set, wrapped by the key of its
encryption root: itself, or a dataset above it (dsl_crypt.c).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

from unikiln.errors import AuthenticationError, KeyMissingError, UsageError, WrongKeyError
from unikiln.zfs.codec import crypt
from unikiln.zfs.codec.crypt import MasterKey
from unikiln.zfs.format.cryptokey import CRYPTO_KEY, CryptoKey
from unikiln.zfs.format.dmu import NEWTYPE
from unikiln.zfs.objset import ObjectSet
from unikiln.zfs.zap import Zap, read_zap
from unikiln.zfs.zio import Reader

Ask = Callable[[str], bytes | str | None]
"""Gives the key of the encryption root whose name it gets, or None; called when it is first needed."""
Key = bytes | str | Ask
"""32 raw bytes, hex digits or a passphrase - as the root's ``keyformat`` says."""
Keys = Key | Mapping[str, Key] | None
"""One key for all encryption roots, or keys by the roots' names."""


class Keystore:
    """The keys of a pool; thread-safe. ``names`` gives the names of DSL directories, by object number."""

    def __init__(self, mos: ObjectSet, names: Callable[[], Mapping[int, str]], given: Keys) -> None:
        self._mos = mos
        self._names = names
        self._given = given
        self._objects: dict[int, int] = {}
        self._wrapped: dict[int, CryptoKey] = {}
        self._held: dict[str, bytes] = {}
        self._wrapping: dict[tuple[int, int, int, int], bytes] = {}
        self._opened: dict[int, MasterKey] = {}
        self._lock = threading.RLock()

    def wrapped(self, directory: int) -> CryptoKey | None:
        """The crypto key of the datasets of a DSL directory; None if they are not encrypted.

        :raises CorruptError: it cannot be read
        """
        number = self._object_of(directory)
        if number and number not in self._wrapped:
            entries = Zap(self._mos.object(number)).entries()
            self._wrapped[number] = CryptoKey.decode({entry.name: entry for entry in entries})
        return self._wrapped[number] if number else None

    def _object_of(self, directory: int) -> int:
        if directory not in self._objects:
            has_zap = self._mos.dnode(directory).type & NEWTYPE
            found = read_zap(self._mos, directory) if has_zap else {}
            self._objects[directory] = found.get(CRYPTO_KEY, 0)
        return self._objects[directory]

    def root_of(self, directory: int) -> str:
        """The name of the encryption root; empty if the datasets of the directory are not encrypted."""
        key = self.wrapped(directory)
        return "" if key is None else self._names().get(key.root, f"DSL directory {key.root}")

    def roots(self) -> list[str]:
        """The names of all encryption roots, in order."""
        return sorted({self.root_of(directory) for directory in self._names()} - {""})

    def reader(self, directory: int, name: str) -> Reader:
        """A reader of the blocks of dataset ``name``, which asks for the key when it needs it."""
        reader = self._mos.reader
        number = self._object_of(directory)
        return reader.keyed(number, partial(self.unlock, directory, name)) if number else reader

    def unlock(self, directory: int, name: str) -> MasterKey:
        """The keys that the blocks of dataset ``name``, of this directory, are encrypted with.

        :raises KeyMissingError: the key of its encryption root was not given
        :raises WrongKeyError: what was given is not that key
        """
        number, key = self._object_of(directory), self.wrapped(directory)
        if key is None:
            raise UsageError(f"dataset {name} is not encrypted")
        with self._lock:
            if number not in self._opened:
                self._opened[number] = self._unwrap(key, self.root_of(directory), name)
            return self._opened[number]

    def _unwrap(self, key: CryptoKey, root: str, name: str) -> MasterKey:
        held = self._key_of(root, key, name)
        try:
            return crypt.unwrap(key, self._wrapping_key(key, held))
        except UsageError as error:
            raise WrongKeyError(f"encryption root {root}: {error.message}", root=root) from error
        except AuthenticationError as error:
            raise WrongKeyError(
                f"what was given for encryption root {root} is not its key",
                hint=f"a {key.format.name.lower()} key is needed",
                root=root,
            ) from error

    def _wrapping_key(self, key: CryptoKey, held: bytes) -> bytes:
        """Kept: of a passphrase it takes a tenth of a second and more."""
        kept = key.root, key.format, key.salt, key.iterations
        if kept not in self._wrapping:
            self._wrapping[kept] = crypt.wrapping_key(held, key)
        return self._wrapping[kept]

    def _key_of(self, root: str, key: CryptoKey, name: str) -> bytes:
        if root not in self._held:
            given = self._given.get(root) if isinstance(self._given, Mapping) else self._given
            found = given(root) if callable(given) else given
            if found is None:
                raise KeyMissingError(
                    f"dataset {name} is encrypted, and the key of its encryption root {root} was not given",
                    hint=f"a {key.format.name.lower()} key: --key {root}=FILE, or open_pool(key=...)",
                    root=root,
                )
            self._held[root] = found.encode("utf-8", "surrogateescape") if isinstance(found, str) else found
        return self._held[root]

    def status(self, directory: int) -> str:
        """``available`` or ``unavailable``, as the property ``keystatus``; empty if there is no key.

        Nobody is asked for a key: one that somebody has to be asked for is unavailable until then.
        """
        number, root = self._object_of(directory), self.root_of(directory)
        if not number:
            return ""
        if number not in self._opened and root not in self._held and self._must_ask(root):
            return "unavailable"
        try:
            self.unlock(directory, root)
        except (KeyMissingError, WrongKeyError):
            return "unavailable"
        return "available"

    def _must_ask(self, root: str) -> bool:
        return callable(self._given.get(root) if isinstance(self._given, Mapping) else self._given)

    def check(self) -> None:
        """Refuse keys that open nothing, without asking anybody.

        :raises WrongKeyError: a key that is not that of its encryption root, or of any
        :raises UsageError: a key for what is no encryption root
        """
        if self._given is None or callable(self._given):
            return
        roots = {self.root_of(directory): directory for directory in self._names()}
        roots.pop("", None)
        if not isinstance(self._given, Mapping):
            self._check_any(roots)
            return
        for root, key in self._given.items():
            if root not in roots:
                raise UsageError(
                    f"{root} is no encryption root", hint=f"there are: {', '.join(sorted(roots)) or 'none'}"
                )
            if not callable(key):
                self.unlock(roots[root], root)

    def _check_any(self, roots: Mapping[str, int]) -> None:
        """One key for all roots has to open one of them at least; the first refusal is as good as any."""
        problem: WrongKeyError | None = None
        for root, directory in roots.items():
            try:
                self.unlock(directory, root)
            except WrongKeyError as error:
                problem = problem or error
            else:
                return
        if problem is not None:
            raise problem
