"""A guest of ours: a thread that runs built-in programs, one after the other, and then writes its disk."""

from __future__ import annotations

import threading
import time

from unikiln.base.progress import QUIET, Progress
from unikiln.engine.builder import programs
from unikiln.engine.builder.disk import DiskPlan, write_disk
from unikiln.engine.builder.guest import Ending, Say
from unikiln.engine.builder.line import programs as split
from unikiln.engine.builder.pool import Pool
from unikiln.errors import HostError, MachineError, UnikilnError
from unikiln.image.cpio.gather import Spool
from unikiln.image.cpiod import PORT, Cpiod
from unikiln.zfs.create import CreateResult

_SILENT_SECONDS = 600.0


class EmbeddedGuest:
    """Runs ``command_line`` on the disk that ``plan`` describes; ``written`` tells of the pool in the end.

    Its TCP port 10000 is a free one of 127.0.0.1, which it holds from the beginning.

    :param epoch: the machine's time, in seconds since 1970; None is now
    :param progress: hears of the writing at the end
    """

    keeps_everything = True
    early = False

    def __init__(
        self, command_line: str, plan: DiskPlan, *, epoch: int | None = None, progress: Progress = QUIET
    ) -> None:
        self._programs = split(command_line)
        self._plan = plan
        self._epoch = int(time.time()) if epoch is None else epoch
        self._progress = progress
        self._say: Say = lambda line: None
        self._ending: Ending | None = None
        self._stopped = threading.Event()
        self._service = Cpiod(timeout=_SILENT_SECONDS)
        self._thread = threading.Thread(target=self._run, name="unikiln-guest", daemon=True)
        self.pool: Pool | None = None
        self.written: CreateResult | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._service.port

    @property
    def time_ns(self) -> int:
        """The machine's time."""
        return self._epoch * 10**9

    def start(self, say: Say) -> None:
        """Run the programs; ``say`` hears their output."""
        self._say = say
        self._thread.start()

    def wait(self, seconds: float) -> Ending | None:
        """How it ended, if it does within ``seconds``."""
        self._thread.join(seconds)
        return None if self._thread.is_alive() else self._ending

    def end(self) -> None:
        """End it at its next step."""
        self._stopped.set()
        self._service.close()
        if self._thread.ident is not None:
            self._thread.join()

    def say(self, line: str) -> None:
        """Print a line on the console."""
        self._say(line)

    def spool(self) -> Spool:
        """A new file for content, on the file system that the disk is on."""
        return Spool(self._plan.path.parent)

    def service(self, port: int) -> Cpiod:
        """What listens on the machine's TCP port.

        :raises MachineError: no port of the host leads there
        """
        if port != PORT:
            raise MachineError(f"port {port}: only {PORT} is forwarded to this machine")
        return self._service

    def sync(self) -> None:
        """Write the pool, if there is one that was not written.

        :raises NoSpaceError: the files do not fit
        """
        if self.pool is not None:
            self.written = write_disk(self._plan, self.pool, self._epoch, _Stopping(self))
            self.pool = None

    def check_running(self) -> None:
        """Stop here, if the machine is to end.

        :raises MachineError: it is
        """
        if self._stopped.is_set():
            raise MachineError("the guest was ended")

    def _run(self) -> None:
        try:
            for path, *arguments in self._programs:
                self.check_running()
                programs.find(path)(self, arguments)
            self.sync()
            self._ending = Ending(0)
        except UnikilnError as error:
            self._ending = Ending(1, str(error))
        except OSError as error:
            self._ending = Ending(1, str(HostError(error.strerror or str(error))))
        except Exception as error:
            self._ending = Ending(1, f"a bug in unikiln: {type(error).__name__}: {error}")
        finally:
            self._service.close()

    def report(self) -> Progress:
        """Who hears of the writing."""
        return self._progress


class _Stopping:
    """Progress that ends the work when the machine is to end."""

    def __init__(self, guest: EmbeddedGuest) -> None:
        self._guest = guest

    def total(self, files: int, size: int) -> None:
        self._guest.report().total(files, size)

    def advance(self, files: int, size: int) -> None:
        self._guest.check_running()
        self._guest.report().advance(files, size)
