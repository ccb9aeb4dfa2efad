"""Provenance: what determines the values of a table; recorded in every shard and in the final table."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vmafarm.common.errors import UsageError, reason, show
from vmafarm.disk.durable import create_text
from vmafarm.disk.jsonl import parse_json
from vmafarm.disk.readable import denied
from vmafarm.disk.regular_files import MOST_BYTES_OF_DOCUMENT, read_regular
from vmafarm.schema.feature_set import FeatureSet
from vmafarm.schema.features import FULL, MODEL, SCHEMA_VERSION
from vmafarm.schema.read_set import parse_set

METADATA_KEY = b"vmafarm"
"""Key of the JSON document in the Parquet key-value metadata."""
_DIGEST = "sha256"
_SET = "feature_set"


@dataclass(frozen=True)
class Provenance:
    """What determines values, and nothing else: no hosts, times or paths.

    Attributes
    ----------
    engine
        ``ffmpeg`` or ``vmaf``.
    engine_version, libvmaf_version, decoder_version
        As the programs print them; the decoder is the ffmpeg that decodes the clips.
    plan
        ``full`` or ``identity``.
    backend
        ``cpu`` or ``cuda``.
    constant
        Features whose known value on an identity pair was filled in instead of measured.
    manifest
        Digest of the clips and scores in the manifest, ``sha256:...``.
    model, schema_version
        Of the feature set: versions of its models, divided by commas, and its own.
    decimals
        Decimals to which the program rounds the values of its log; 0: it was asked for all digits. Documents
        state it only where it is not 0, so that those of other tables keep their bytes.
    feature_set
        What was measured. Documents state it only where it is not the default, for the same reason: its name,
        digest and text.
    """

    engine: str
    engine_version: str
    libvmaf_version: str
    decoder_version: str
    plan: str
    backend: str
    constant: tuple[str, ...]
    manifest: str
    model: str = MODEL
    schema_version: int = SCHEMA_VERSION
    decimals: int = 0
    feature_set: FeatureSet = FULL

    def __post_init__(self) -> None:
        if self.decimals < 0:
            raise ValueError(f"decimals: {self.decimals}")
        unknown = set(self.constant) - set(self.feature_set.known)
        if unknown:
            raise ValueError(f"not known on an identity pair: {sorted(unknown)}")

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document; ``features`` maps each feature to ``measured`` or ``constant``."""
        document = dict(vars(self))
        constant, features = set(document.pop("constant")), document.pop("feature_set")
        if not self.decimals:
            del document["decimals"]
        document["features"] = {
            name: "constant" if name in constant else "measured" for name in features.names
        }
        if features is not FULL:
            document[_SET] = {"name": features.name, "digest": features.digest, "text": features.text}
        return document

    def as_json(self) -> str:
        """Return the document on one line with sorted keys, so that equal provenance is equal text."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))

    def as_file(self) -> str:
        """Return the text of provenance.json: the document with its SHA-256, which reveals damage."""
        return json.dumps(self.as_dict() | {_DIGEST: self._digest()}, sort_keys=True) + "\n"

    @classmethod
    def from_file(cls, content: bytes) -> Provenance:
        """Read the text of `as_file`; raises as `from_dict` does. Early versions wrote no SHA-256."""
        document = parse_json(content)
        stated = document.pop(_DIGEST, None)
        provenance = cls.from_dict(document)
        if stated not in (None, provenance._digest()):
            raise ValueError("its content does not match its SHA-256")
        return provenance

    def _digest(self) -> str:
        return hashlib.sha256(self.as_json().encode()).hexdigest()

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Provenance:
        """Read the document of `as_dict`.

        Raises
        ------
        KeyError, TypeError, ValueError
            The document has another structure.
        """
        fields = dict(document)
        features = fields.pop("features")
        known = feature_set_of(fields)
        fields.pop(_SET, None)
        if set(features) != set(known.names):
            raise ValueError(f"its features are not the {len(known.names)} of this schema")
        if odd := set(features.values()) - {"constant", "measured"}:
            raise ValueError(f"a feature is {sorted(odd, key=repr)[0]!r}, expected measured or constant")
        if fields.get("decimals", 1) == 0:
            raise ValueError("decimals is 0: it is stated only where values are rounded")
        constant = tuple(name for name in known.names if features[name] == "constant")
        provenance = cls(constant=constant, feature_set=known, **fields)
        for name, value in fields.items():
            if type(value) is not type(getattr(_PLAIN, name)):
                raise TypeError(f"{name} is {value!r}")
        return provenance


def feature_set_of(document: Mapping[str, Any]) -> FeatureSet:
    """The feature set that a document of provenance states; the default where it states none.

    Raises
    ------
    KeyError, TypeError, ValueError
        It is not one, or not the one whose digest is stated.
    """
    if _SET not in document:
        return FULL
    stated = document[_SET]
    name, digest, text = (stated[key] for key in ("name", "digest", "text"))
    if not isinstance(name, str) or not isinstance(text, str) or len(stated) != 3:
        raise TypeError(f"{_SET} is {str(stated)[:80]!r}")
    try:
        found = parse_set(name, text)
    except UsageError as error:
        raise ValueError(str(error)) from None
    if found.digest != digest:
        raise ValueError(f"{_SET}: its text does not have the digest {digest!r}")
    return found


_PLAIN = Provenance("", "", "", "", "", "", (), "")
"""Has the right type in each field."""


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """List the keys in which two documents differ, as ``key: found ..., expected ...``."""
    lines = []
    for key in sorted(found.keys() | expected.keys()):
        have, want = found.get(key), expected.get(key)
        if have == want:
            continue
        if isinstance(have, dict) and isinstance(want, dict):
            lines += [f"{key}.{line}" for line in differences(have, want)]
        else:
            lines.append(f"{key}: found {have!r}, expected {want!r}")
    return lines


def mixing_differences(
    found: Mapping[str, Any], expected: Provenance, manifests: Collection[str] = ()
) -> list[str]:
    """List what forbids rows to be in one table with those of a run, as `differences` does.

    Both plans give the same values (see `vmafarm.scoring.audit`), so `plan` and what it filled in may differ,
    and the manifest may be any generation of the run's.

    Parameters
    ----------
    found
        The document in the metadata of rows.
    expected
        The run's.
    manifests
        Digests of the generations of its manifest; the one in `expected` counts in any case.
    """
    document = dict(found)
    if document.get("manifest") in manifests:
        document["manifest"] = expected.manifest
    try:
        Provenance.from_dict(document)
    except (KeyError, TypeError, ValueError, AttributeError):
        pass
    else:
        document |= {name: expected.as_dict()[name] for name in ("plan", "features")}
    # Sets with one digest give the same values, whatever their words; and a message has no room for a text.
    return differences(_without_text(document), _without_text(expected.as_dict()))


def _without_text(document: dict[str, Any]) -> dict[str, Any]:
    stated = document.get(_SET)
    return document | {_SET: stated | {"text": ""}} if isinstance(stated, dict) else document


class DamagedProvenanceError(UsageError):
    """provenance.json is damaged."""


def read_provenance(path: Path) -> Provenance | None:
    """Read the provenance that the first extraction of a run froze; None before that.

    Raises
    ------
    DamagedProvenanceError
        The file is damaged.
    UnavailableError
        This user has no permission to read it.
    UsageError
        It cannot be read for another reason.
    """
    try:
        return Provenance.from_file(read_regular(path, MOST_BYTES_OF_DOCUMENT))
    except FileNotFoundError:
        if path.is_symlink():
            raise _damaged(path, "it is a dangling link") from None
        return None
    except PermissionError:
        raise denied(path) from None
    except OSError as error:
        raise UsageError(
            f"{show(str(path))} cannot be read: {show(reason(error))}",
            "make it readable, or move it away: a merge rebuilds it from the shards",
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(path, show(repr(error))) from None


def _damaged(path: Path, how: str) -> DamagedProvenanceError:
    return DamagedProvenanceError(
        f"{show(str(path))} is damaged: {how}", "run vmafarm merge: it rebuilds the file from the shards"
    )


def freeze_provenance(path: Path, provenance: Provenance) -> None:
    """Record the provenance of a run, or check that it has not changed.

    Parameters
    ----------
    path
        provenance.json.
    provenance
        Its manifest is the first generation of the run's, whichever one an element works with.

    If another element has just written the file, it is durable before rows depend on it: rows are in a folder
    beside it, and `vmafarm.disk.durable.make_folder` creates that one and syncs their common parent.

    Raises
    ------
    UsageError
        The run was started with another engine or version.
    """
    frozen = read_provenance(path)
    if frozen is None:
        with suppress(FileExistsError):  # another element was faster, perhaps with another engine
            create_text(path, provenance.as_file())
        frozen = read_provenance(path)
    assert frozen is not None
    if different := mixing_differences(provenance.as_dict(), frozen):
        raise UsageError(
            "this run was started with another engine; its rows cannot be mixed with new ones:\n"
            + "\n".join(different),
            "use the same engine, or start another run (run.name)",
        )
