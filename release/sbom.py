"""The bill of materials of a release, in CycloneDX 1.6: what its gates were run with, and the licences."""

from __future__ import annotations

import tomllib
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from release.versions import source_version

__all__ = ["bill_of_materials"]

_LONGEST_NAME = 60
"""Characters; what is longer is a licence's text."""

# The library's decorators hide its constructors from the type checker.
_Bom: Any = Bom
_Component: Any = Component
_HashType: Any = HashType


@dataclass(slots=True)
class _Part:
    """A package, and which others it needs."""

    found: Distribution
    optional: bool
    needs: set[str] = field(default_factory=set[str])


def bill_of_materials(root: Path, *, at: float, built: Mapping[str, Path] | None = None) -> str:
    """The bill as JSON, the same for the same packages.

    Args:
        root: the source tree; what it needs must be installed here, with all extras.
        at: when the release was made, in seconds since the epoch.
        built: the archives it is for, by name.

    Raises:
        LookupError: a package that is needed is not installed here.
    """
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own: list[str] = project["dependencies"]
    parts: dict[str, _Part] = {}
    needs = _gather(own, parts, optional=False)
    for lines in project["optional-dependencies"].values():
        needs |= _gather(lines, parts, optional=True)
    components = {name: _component(part) for name, part in sorted(parts.items())}
    product = _product(project, source_version(root), built or {})
    bom = _Bom(
        components=components.values(),
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, product.purl.to_string()),
    )
    bom.metadata.component = product
    bom.metadata.timestamp = datetime.fromtimestamp(at, UTC)
    bom.register_dependency(product, [components[name] for name in sorted(needs)])
    for name, part in sorted(parts.items()):
        bom.register_dependency(components[name], [components[other] for other in sorted(part.needs)])
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _gather(lines: Iterable[str], parts: dict[str, _Part], *, optional: bool) -> set[str]:
    """Add what these requirements bring, and what that needs in turn. Returns the names of the first."""
    first = list(_applying(lines, frozenset()))
    waiting = [(canonicalize_name(each.name), frozenset(each.extras)) for each in first]
    done: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        here = waiting.pop()
        if here in done:
            continue
        done.add(here)
        name, extras = here
        part = parts.setdefault(name, _Part(_found(name), optional))
        for requirement in _applying(part.found.requires or (), extras):
            other = canonicalize_name(requirement.name)
            part.needs.add(other)
            waiting.append((other, frozenset(requirement.extras)))
    return {canonicalize_name(each.name) for each in first}


def _applying(lines: Iterable[str], extras: frozenset[str]) -> Iterator[Requirement]:
    """The requirements that hold on this machine, with these extras."""
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in extras or {""}):
            yield requirement


def _found(name: str) -> Distribution:
    try:
        return distribution(name)
    except PackageNotFoundError as error:
        raise LookupError(
            f"{name} is not installed, so the bill of materials would lack it. Run `make test` first."
        ) from error


def _component(part: _Part) -> Any:
    name, version = canonicalize_name(part.found.metadata["Name"]), part.found.version
    licence = _licence(part.found)
    return _Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        purl=PackageURL("pypi", name=name, version=version),
        bom_ref=f"{name}@{version}",
        scope=ComponentScope.OPTIONAL if part.optional else ComponentScope.REQUIRED,
        licenses=[LicenseFactory().make_from_string(licence)] if licence else (),
    )


def _product(project: Mapping[str, Any], version: str, built: Mapping[str, Path]) -> Any:
    """This package, and the archives it comes in."""
    name = project["name"]
    return _Component(
        name=name,
        version=version,
        type=ComponentType.APPLICATION,
        purl=PackageURL("pypi", name=name, version=version),
        bom_ref=f"{name}@{version}",
        licenses=[LicenseFactory().make_from_string(project["license"])],
        components=[_archive(name, path) for name, path in sorted(built.items())],
    )


def _archive(name: str, path: Path) -> Any:
    digest = sha256(path.read_bytes()).hexdigest()
    return _Component(
        name=name,
        type=ComponentType.FILE,
        bom_ref=name,
        hashes=[_HashType(alg=HashAlgorithm.SHA_256, content=digest)],
    )


def _licence(found: Distribution) -> str:
    """As the package says it: an expression, else a short name."""
    metadata: Any = found.metadata
    said: str = metadata.get("License-Expression") or metadata.get("License") or ""
    if said and len(said) <= _LONGEST_NAME and "\n" not in said:
        return said
    names = [
        line.rpartition(" :: ")[2] for line in metadata.get_all("Classifier") or () if "License ::" in line
    ]
    return names[0] if names else ""
