"""Files of an experiment that other machines may not have: plugin files, the file of a function."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

from hwnas.backends import Backend
from hwnas.errors import InvalidInput
from hwnas.experiment import BackendEntry, Experiment
from hwnas.foreign_code import function_files
from hwnas.runner.executors.interface import Evaluator, EvaluatorFactory, TrialEvaluator


@dataclass(frozen=True)
class PortableFactory:
    """Factory of evaluators that brings the files of its experiment along.

    Parameters
    ----------
    factory
        Factory that expects the files at their places.
    files
        Contents by absolute path.
    """

    factory: EvaluatorFactory
    files: dict[str, bytes]

    @classmethod
    def of(cls, factory: EvaluatorFactory) -> PortableFactory:
        """Return a factory with the files of its experiment."""
        experiment = factory.experiment
        backend = experiment.backend
        names = [*experiment.plugins, *function_files(backend.type, backend.settings)]
        return cls(factory, {name: Path(name).read_bytes() for name in names})

    def to_bytes(self) -> bytes:
        """Return the factory for `load_evaluator`; see `EvaluatorFactory.to_bytes`."""
        from hwnas.runner.workers import pickled

        return pickled(self)

    def __call__(self) -> Evaluator:
        """Build the problem; files that this machine lacks are written to a temporary folder.

        Raises
        ------
        InvalidInput
            The backend keeps files, and this machine does not see the folder for them.
        """
        experiment = self.factory.experiment
        if any(not _is_there(name, content) for name, content in self.files.items()):
            experiment = self._with_files_in(experiment, Path(tempfile.mkdtemp(prefix="hwnas-")))
        evaluator = replace(self.factory, experiment=experiment)()
        assert isinstance(evaluator, TrialEvaluator)
        keeps_files = type(evaluator.problem.backend).on_start is not Backend.on_start
        if keeps_files and not self.factory.folder.is_dir():
            import socket

            raise InvalidInput(
                f"executor.shared: expected a folder that all nodes see, for the checkpoints and "
                f"measurements of the backend; {socket.gethostname()} has no {self.factory.folder}"
            )
        return evaluator

    def _with_files_in(self, experiment: Experiment, folder: Path) -> Experiment:
        """Write the files to a folder and return the experiment that refers to them there."""
        new_names: dict[str, str] = {}
        # 1. Plugin files, each in a folder of its own: two may have the same name.
        for i, name in enumerate(experiment.plugins):
            file = folder / str(i) / Path(name).name
            file.parent.mkdir(parents=True)
            file.write_bytes(self.files[name])
            new_names[name] = str(file)
        # 2. The module of a function, below a folder as deep as its package.
        backend = experiment.backend
        for name in self.files.keys() - new_names.keys():
            module = str(backend.settings["function"]).partition(":")[0].split(".")
            is_package = Path(name).name == "__init__.py"
            n_parts = len(module) + is_package
            file = folder.joinpath("function", *Path(name).parts[-n_parts:])
            file.parent.mkdir(parents=True)
            file.write_bytes(self.files[name])
            settings = {**backend.settings, "folder": str(folder / "function")}
            backend = BackendEntry(type=backend.type, **settings)
        plugins = [new_names[name] for name in experiment.plugins]
        return experiment.model_copy(update={"plugins": plugins, "backend": backend})


def _is_there(name: str, content: bytes) -> bool:
    try:
        return Path(name).read_bytes() == content
    except OSError:
        return False
