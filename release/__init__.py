"""From a tag to wheel and sdist: versions, changelog, what was built, bill of materials."""

from release.changelog import changelog_problems, notes
from release.contents import sdist_problems, wheel_problems
from release.sbom import bill_of_materials
from release.versions import server_problems, source_version, version_problems

__all__ = [
    "bill_of_materials",
    "changelog_problems",
    "notes",
    "sdist_problems",
    "server_problems",
    "source_version",
    "version_problems",
    "wheel_problems",
]
