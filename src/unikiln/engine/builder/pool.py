"""The pool of a machine that is being filled: datasets, their properties and files, where they are mounted.

Files are a tree in which the root of each dataset stands where it is mounted; it is cut there when the pool
is written. What is not below a dataset would be in the memory of an OSv guest, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from unikiln.base.tree import Node, directory
from unikiln.errors import MachineError
from unikiln.image.placing import find, place
from unikiln.zfs.names import check_dataset_name, check_pool_name
from unikiln.zfs.properties import number_for

INHERITED_COMPRESSION = "off"
"""What a pool compresses with when nobody says, in OSv's ZFS."""


@dataclass(slots=True)
class Dataset:
    """A file system: the directory that is its root, and its own properties in ``zfs set``'s words."""

    mountpoint: str
    root: Node
    properties: dict[str, str] = field(default_factory=dict)

    def set(self, name: str, value: str) -> None:
        """Set a property.

        :raises UsageError: no such property, or no such value of it
        """
        number_for(name, value)
        self.properties[name] = value

    def numbers(self) -> dict[str, int]:
        """The properties as the pool stores them."""
        return {name: number_for(name, value) for name, value in self.properties.items()}


class Pool:
    """``datasets`` by name, the pool's own first; ``root`` is the machine's name space."""

    def __init__(self, name: str, altroot: str, mountpoint: str, time_ns: int) -> None:
        check_pool_name(name)
        self.name = name
        self.root = directory(time_ns=time_ns)
        self.datasets: dict[str, Dataset] = {}
        self.filled_with: str | None = None
        self._time_ns = time_ns
        self._mount(name, _joined(altroot, mountpoint))

    def create(self, name: str) -> Dataset:
        """A new dataset below one that is there, mounted below it.

        :raises MachineError: it is there, or its parent is not
        """
        parent, _, last = name.rpartition("/")
        if name in self.datasets:
            raise MachineError(f"cannot create '{name}': dataset already exists")
        if parent not in self.datasets:
            raise MachineError(f"cannot create '{name}': parent does not exist")
        check_dataset_name(self.name, name.partition("/")[2])
        return self._mount(name, _joined(self.datasets[parent].mountpoint, last))

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name.

        :raises MachineError: there is none
        """
        if name not in self.datasets:
            raise MachineError(f"cannot open '{name}': dataset does not exist")
        return self.datasets[name]

    def folder(self, path: str) -> Node:
        """The directory ``path``, made if it is not there; from now on data is compressed as it is set now.

        :raises MachineError: no dataset is mounted there
        """
        last = list(self.datasets)[-1]
        above = self.datasets[last].mountpoint
        if not f"{path.rstrip('/')}/".startswith(f"{above}/"):
            raise MachineError(f"{path}: files can only be in {last}, which is mounted at {above}")
        self.filled_with = self.compression(last)
        name = path.encode("utf-8", "surrogateescape")
        if find(self.root, name) is None:
            place(self.root, name, directory(time_ns=self._time_ns))
        found = find(self.root, name)
        assert found is not None
        if not found.is_directory:
            raise MachineError(f"{path}: is no directory")
        return found

    def compression(self, name: str) -> str:
        """What the dataset compresses with now: its own property, or the nearest one above."""
        while name:
            value = self.datasets[name].properties.get("compression")
            if value is not None:
                return value
            name = name.rpartition("/")[0]
        return INHERITED_COMPRESSION

    def _mount(self, name: str, mountpoint: str) -> Dataset:
        made = Dataset(mountpoint, directory(time_ns=self._time_ns))
        if mountpoint == "/":
            self.root = made.root
        else:
            place(self.root, mountpoint.encode(), made.root, time_ns=self._time_ns)
        self.datasets[name] = made
        return made


def _joined(above: str, below: str) -> str:
    return "/" + "/".join(part for part in f"{above}/{below}".split("/") if part)
