"""Objects at a URI: which file system a URI means, and objects that are listed, read, written and deleted as wholes."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from pyarrow import ArrowException, fs

from orchestrator.errors import JobError

_REASONS = {
    "NO_SUCH_BUCKET": "there is no such bucket; expected one that exists",
    "ACCESS_DENIED": "access is denied; expected credentials that may read and write there",
    "INVALID_ACCESS_KEY_ID": "the credentials are refused; expected others in AWS_ACCESS_KEY_ID or a profile",
    "SIGNATURE_DOES_NOT_MATCH": "the credentials are refused; expected others in AWS_SECRET_ACCESS_KEY or a profile",
    "NETWORK_CONNECTION": "the server cannot be reached; expected one there, or another in AWS_ENDPOINT_URL",
}


def is_uri(name: object) -> bool:
    """Tell whether a name is a URI and no local path."""
    return isinstance(name, str) and "://" in name


def below(uri: str, name: str) -> str:
    """Return the URI of `name` below another, whose options after `?` stay at the end."""
    place, mark, options = uri.partition("?")
    return f"{place.rstrip('/')}/{name}{mark}{options}"


def name_of(uri: str) -> str:
    """Return the last part of a URI's path."""
    return uri.partition("?")[0].rstrip("/").rpartition("/")[2]


def reason(error: BaseException) -> str:
    """Return in a few words why objects could not be used."""
    code = re.search(r"AWS Error (\w+)", str(error))
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return _REASONS.get(code[1] if code else "", lines[0][:200])


@dataclass(frozen=True, slots=True)
class Objects:
    """The objects below a URI, named by their paths from there. Failures are OSErrors.

    Attributes:
        uri: The URI.
        filesystem: Arrow's file system.
        root: The URI's path in it.
    """

    uri: str
    filesystem: fs.FileSystem
    root: str

    @classmethod
    def at(cls, uri: str, key: str) -> Objects:
        """Find the file system of a URI.

        Args:
            uri: Such as s3://bucket/prefix; options follow `?`.
            key: The key or flag that named it, for messages.

        Raises:
            JobError: The URI is not of a kind that is known, or its server does not answer.
        """
        try:
            filesystem, root = fs.FileSystem.from_uri(uri)
        except (ArrowException, OSError, ValueError) as error:
            known = urlsplit(uri).scheme in ("s3", "gs", "gcs", "file")
            expected = "" if known else "; expected a URI such as s3://bucket/name or gs://bucket/name"
            raise JobError(f"{key}: {uri} cannot be used: {reason(error)}{expected}") from None
        return cls(uri, filesystem, root.rstrip("/"))

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Return the names of all objects, or of those below `folder`, with their sizes in bytes."""
        selector = fs.FileSelector(self._path(folder), recursive=True, allow_not_found=True)
        found = [info for info in self.filesystem.get_file_info(selector) if info.is_file]
        return {info.path[len(self.root) + 1 :]: info.size for info in found if info.extension != "partial"}

    def folders(self) -> list[str]:
        """Return the names of the folders directly below."""
        found = self.filesystem.get_file_info(fs.FileSelector(self.root, allow_not_found=True))
        return [info.base_name for info in found if info.type == fs.FileType.Directory]

    def exists(self, name: str) -> bool:
        """Tell whether there is an object of that name."""
        return bool(self.filesystem.get_file_info(self._path(name)).is_file)

    def read(self, name: str) -> bytes:
        """Return an object's content.

        Raises:
            FileNotFoundError: There is none of that name.
        """
        with self.filesystem.open_input_stream(self._path(name)) as stream:
            content: bytes = stream.read()
        return content

    def write(self, name: str, content: bytes) -> None:
        """Write an object, whole or not at all."""
        path = self._path(name)
        if self.filesystem.type_name != "local":
            self._write(path, content)
            return
        partial = f"{path}.{uuid.uuid4().hex}.partial"  # a store shows an object once it is whole; a disk does not
        self.filesystem.create_dir(path.rpartition("/")[0])
        self._write(partial, content)
        self.filesystem.move(partial, path)

    def _write(self, path: str, content: bytes) -> None:
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(content)

    def delete(self, name: str) -> None:
        """Delete an object."""
        self.filesystem.delete_file(self._path(name))

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}" if name else self.root
