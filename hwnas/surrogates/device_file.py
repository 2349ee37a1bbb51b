"""Files of fitted tables: metrics of a user's device, or any metrics, as numbers without code.

One npz file. ``about`` is a JSON text, ``{"format": 1, "kind": ..., "name": ..., "version": ...,
"figures": [...]}``; figure k has in addition the arrays ``k.base`` (E, D, B) and ``k.layers``
(E, D, B, L, R, H), float64, as in `hwnas.surrogates.tables` by packed codes
(`hwnas.surrogates.layer_layout`). A file of the kind ``device`` is named after the device, which
its metrics are of; one of the kind ``tables`` has metrics of any name, each on one device or none.

A file may come from a stranger: nothing in it is executed or unpickled, sizes are checked before
memory is taken, names, types and shapes before anything is used.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import re
import zipfile
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from hwnas.errors import InvalidInput, describe_value
from hwnas.files import atomic_writer, read_bounded, unreadable
from hwnas.metric_errors import MACHINES
from hwnas.objectives import Objective
from hwnas.spaces import LanguageModelSpace, SearchSpace
from hwnas.surrogates.devices import DEVICES
from hwnas.surrogates.layer_layout import LayerLayout
from hwnas.surrogates.plain_spaces import space_of_stranger
from hwnas.surrogates.tables import AdditiveTable
from hwnas.typing import Array
from hwnas.workloads import CLOSED_FORMS, Workload, parse_workload

FORMAT = 1
MAX_MB = 32  # of a file, and of its content
MAX_FIGURES = 256
DEVICE, TABLES = "device", "tables"  # kinds of files
MEASURED = ("latency", "energy", "ttft", "tpot", "throughput", "energy_per_token", "peak_memory")

_MAX_TEXT = 500  # characters of a text in a file
_MAX_ABOUT = 1_000_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_TEXTS = ("protocol", "card", "date", "versions", "unit", "prior")


@dataclass(frozen=True, eq=False)
class DeviceFigure:
    """One metric of one space.

    Attributes
    ----------
    space
        The space that was measured.
    quantity
        Metric and workload, ``"tpot.serve"``; in a file of the kind ``tables`` with its device if
        it has one, ``"latency@h100"``.
    table
        The fitted table, by packed codes.
    points
        Number of measured architectures.
    error
        Expected relative error of an unmeasured architecture.
    kendall
        Rank correlation within one ``embed_dim`` of architectures that a fit has not seen; NaN
        where there were too few.
    workload
        Definition of the workload; ``None`` without one.
    protocol, card, date, versions
        Short texts on the measurements; empty where unknown.
    coverage
        Share of networks that a fit has not seen within their 90 % interval; NaN where there were
        too few.
    unit
        Unit of a metric that is none of hwnas's own.
    spread
        Relative standard deviation of the metric of an unmeasured architecture, as the fit knows
        it; 0 where that is unknown.
    prior
        Text on what the fit began from, with the weight of other devices in it; empty where that
        is not recorded.
    """

    space: SearchSpace
    quantity: str
    table: AdditiveTable
    points: int
    error: float
    kendall: float = math.nan
    workload: Workload | None = None
    protocol: str = ""
    card: str = ""
    date: str = ""
    versions: str = ""
    coverage: float = math.nan
    unit: str = ""
    spread: float = 0.0
    prior: str = ""

    @property
    def meaning(self) -> str:
        """Short text on the measurements, for people."""
        parts = [f"{self.points} measured networks, expected error {self.error:.1%}"]
        parts += [self.workload.meaning] if self.workload else []
        parts += [text for text in (self.protocol, self.card, self.date) if text]
        return "; ".join(parts)


@dataclass(frozen=True, eq=False)
class DeviceFile:
    """Device, or tables of any metrics: one figure a space and metric."""

    name: str
    figures: tuple[DeviceFigure, ...]
    version: str = ""  # of hwnas, that has written it
    sha256: str = ""  # of the file that it was read from
    kind: str = DEVICE
    spaces: tuple[SearchSpace, ...] = ()  # measured ones, also those whose figures were not read

    def __post_init__(self) -> None:
        if not self.spaces:
            spaces = {figure.space.name: figure.space for figure in self.figures}
            object.__setattr__(self, "spaces", tuple(spaces.values()))

    def key(self, figure: DeviceFigure) -> str:
        """Return the name of a figure's metric in objectives, ``"tpot.serve@mine"``."""
        return figure.quantity if self.kind == TABLES else f"{figure.quantity}@{self.name}"

    def write(self, path: Path) -> None:
        """Write the file; an interrupted write leaves the former one."""
        figures = []
        arrays: dict[str, Any] = {}
        for k, figure in enumerate(self.figures):
            figures.append(_plain(figure))
            arrays |= {f"{k}.base": figure.table.base, f"{k}.layers": figure.table.layers}
        about = {"format": FORMAT, "kind": self.kind, "name": self.name, "version": self.version}
        about["figures"] = figures
        arrays["about"] = np.array(json.dumps(about))
        with atomic_writer(path) as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)


def check_device_name(name: str) -> str:
    """Return a name if a user's device may have it.

    Raises
    ------
    InvalidInput
        It is no name of a device, or that of a published device or of a machine.

    Examples
    --------
    >>> check_device_name("h100-lab")
    'h100-lab'
    """
    if not _NAME.fullmatch(name):
        raise InvalidInput(
            f"name of a device: expected letters, digits, '_', '.' and '-', at most 64, found "
            f"{describe_value(name)}"
        )
    if name.lower() in {published.lower() for published in DEVICES}:
        raise InvalidInput(
            f"{name!r} is a published device; expected another name, such as '{name}-mine'"
        )
    if name.lower() in MACHINES:
        raise InvalidInput(
            f"{name!r} is this machine on the profile backend; expected another name, such as "
            f"'my-{name}'"
        )
    return name


def read_device_file(path: Path, spaces: Collection[str] | None = None) -> DeviceFile:
    """Read a file of tables, of either kind.

    Parameters
    ----------
    path
        The file.
    spaces
        Names of the spaces whose figures are read; by default all. The others cost no time.

    Raises
    ------
    InvalidInput
        It cannot be read, is too large, or is no such file of this version of hwnas.
    """
    try:
        content = read_bounded(path, MAX_MB)
    except OSError as error:
        raise InvalidInput(unreadable(path, error)) from None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            device = _device(_reader(archive), spaces)
        return replace(device, sha256=hashlib.sha256(content).hexdigest())
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None
    except Exception as error:  # bytes of a stranger: unpacking them may raise anything
        raise InvalidInput(
            f"{path}: expected a file of hwnas device add or hwnas fit, NAME.npz: {error!s:.200}"
        ) from None


def _reader(archive: zipfile.ZipFile) -> Callable[[str], Any]:
    """Return a function that reads an array of an npz file by its name, after checks of sizes."""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in members:
            raise InvalidInput(f"holds {describe_value(name)} twice")
        members[name] = member
    if len(members) > 2 * MAX_FIGURES + 1:
        raise InvalidInput(f"expected at most {MAX_FIGURES} metrics")
    if sum(member.file_size for member in members.values()) > MAX_MB * 1_000_000:
        raise InvalidInput(f"holds more than {MAX_MB} MB, the limit")

    def read(name: str) -> Any:
        with archive.open(members[name]) as stream:
            # No more than was declared, whatever the compressed bytes unfold to.
            return _array(stream.read(members[name].file_size + 1))

    return read


def _array(content: bytes) -> Any:
    """Return the array of an npy file whose header agrees with its length."""
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise InvalidInput(f"expected arrays of npy format 1.0, found {version}")
    shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    rest = content[stream.tell() :]
    is_text = dtype.kind == "U" and shape == ()
    if not is_text and dtype != np.dtype("<f8"):
        raise InvalidInput(f"expected arrays of float64, found {dtype}")
    if math.prod(shape) * dtype.itemsize != len(rest):
        raise InvalidInput(f"an array of {shape} has {len(rest)} bytes")
    array = np.frombuffer(rest, dtype=dtype)
    return array.reshape(shape, order="F" if is_fortran else "C")


def _device(read: Callable[[str], Any], names: Collection[str] | None) -> DeviceFile:
    """Return the device of the arrays that are read by name, after all checks.

    Parameters
    ----------
    read
        Function that returns an array by its name.
    names
        Names of the spaces whose figures are read; ``None`` for all.
    """
    text = str(read("about"))
    if len(text) > _MAX_ABOUT:
        raise InvalidInput("its description is too long")
    about = json.loads(text)
    if about["format"] != FORMAT:
        raise InvalidInput(
            f"is of format {about['format']!r:.20}; this version of hwnas reads {FORMAT}"
        )
    name, kind = _text(about["name"]), about.get("kind", DEVICE)
    if kind not in (DEVICE, TABLES):
        raise InvalidInput(f"expected a file of a device or of tables, found {kind!r:.20}")
    if kind == DEVICE:
        check_device_name(name)
    figures, spaces = [], {}
    keys = set()
    for k, plain in enumerate(about["figures"]):
        key = json.dumps(plain["space"], sort_keys=True)
        if key not in spaces:
            spaces[key] = space_of_stranger(plain["space"])
        quantity = (quantity_of if kind == DEVICE else metric_key)(_text(plain["quantity"]))
        keys.add((json.dumps(spaces[key].to_dict(), sort_keys=True), quantity))
        if names is None or spaces[key].name in names:
            tables = read(f"{k}.base"), read(f"{k}.layers")
            figures.append(_figure(plain, quantity, spaces[key], *tables))
    if not keys or len(keys) != len(about["figures"]):
        raise InvalidInput("expected metrics, each once for a space")
    version, measured = _text(about["version"]), tuple(spaces.values())
    return DeviceFile(name, tuple(figures), version, kind=kind, spaces=measured)


def _figure(
    plain: Mapping[str, Any], quantity: str, space: SearchSpace, base: Array, layers: Array
) -> DeviceFigure:
    """Return a figure of its description and its arrays."""
    layout = LayerLayout(space)
    shape = (*layout.roots, layout.depth, *layout.options)
    if base.shape != layout.roots or layers.shape != shape:
        raise InvalidInput(
            f"expected tables of {layout.roots} and {shape} for {space.name}, found {base.shape} "
            f"and {layers.shape}"
        )
    if not (np.isfinite(base).all() and np.isfinite(layers).all()):
        raise InvalidInput("expected finite numbers in its tables")
    workload = None if plain["workload"] is None else parse_workload(plain["workload"])
    if (workload is None) != (Objective.parse(quantity).workload is None):
        raise InvalidInput(f"{quantity}: expected a workload's definition where it has one")
    points, error, spread = plain["points"], float(plain["error"]), float(plain.get("spread", 0))
    if type(points) is not int or not 0 < points < 10**9:
        raise InvalidInput(f"{quantity}: expected a number of points, found {points!r:.40}")
    table = AdditiveTable(space.depths, base, layers, layout.allowed)
    texts = {key: _text(plain.get(key, "")) for key in _TEXTS}
    kendall, coverage = (_or_nan(plain.get(key)) for key in ("kendall", "coverage"))
    rate = 1.0 if math.isnan(coverage) else coverage
    if not (0 <= error < 1e6 and 0 <= spread < 1e6) or abs(kendall) > 1 or not 0 <= rate <= 1:
        raise InvalidInput(f"{quantity}: an error or a rank correlation is out of its range")
    return DeviceFigure(
        space,
        quantity,
        table,
        points,
        error,
        kendall,
        workload,
        coverage=coverage,
        spread=spread,
        **texts,
    )


def quantity_of(text: str) -> str:
    """Return metric and workload of a measured metric; a device that is named is left out.

    Raises
    ------
    InvalidInput
        The text is none, or a metric that is not measured on devices.

    Examples
    --------
    >>> quantity_of("tpot.serve@cuda")
    'tpot.serve'
    """
    objective = Objective.parse(text)
    is_plain = objective == objective.value and objective.level is None
    if not is_plain or len(objective.devices) > 1 or objective.metric not in MEASURED:
        raise InvalidInput(
            f"expected one of {', '.join(MEASURED)}, with a workload where it has one, found "
            f"{describe_value(text)}"
        )
    return objective.quantity


def metric_key(text: str) -> str:
    """Return a metric, on one device or none, as tables name it.

    Raises
    ------
    InvalidInput
        The text is none, or has a statistic, a bound or several devices.

    Examples
    --------
    >>> metric_key("perplexity"), metric_key("-throughput.serve@mine")
    ('perplexity', 'throughput.serve@mine')
    """
    objective = Objective.parse(text)
    if objective.bound is not None or objective.level is not None or len(objective.devices) > 1:
        raise InvalidInput(
            f"expected a metric on one device or none, without a statistic and a bound, such as "
            f"perplexity or tpot.serve@mine, found {describe_value(text)}"
        )
    if objective.metric in (*CLOSED_FORMS, *LanguageModelSpace.closed_forms):
        raise InvalidInput(f"{objective.key} is exact already, expected a metric that is measured")
    return objective.key


def _plain(figure: DeviceFigure) -> dict[str, Any]:
    """Return the description of a figure as texts and numbers."""
    names = [field.name for field in fields(figure)]
    plain = {n: getattr(figure, n) for n in names if n not in ("space", "table", "workload")}
    for name in ("kendall", "coverage"):
        plain[name] = plain[name] if math.isfinite(plain[name]) else None
    plain["workload"] = asdict(figure.workload) if figure.workload else None
    return {**plain, "space": figure.space.to_dict()}


def _or_nan(number: Any) -> float:
    return math.nan if number is None else float(number)


def _text(value: Any) -> str:
    """Return a text of limited length that a terminal can show."""
    if not isinstance(value, str) or len(value) > _MAX_TEXT or not value.isprintable():
        raise InvalidInput(f"expected a short text, found {value!r:.40}")
    return value
