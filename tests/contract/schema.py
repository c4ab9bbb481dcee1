"""The contract as one release has it: its descriptors, and messages read by them alone."""

import importlib.resources
import tempfile
from pathlib import Path

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet
from grpc_tools import protoc

PACKAGE = "tamis.filter.v1"


class Schema:
    """Reads frames with the descriptors of a set, whatever the generated code of today says."""

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded
        self.files = descriptor_pb2.FileDescriptorSet.FromString(encoded)
        self._pool = descriptor_pool.DescriptorPool()
        for file in self.files.file:
            self._pool.Add(file)

    def message_class(self, name: str, package: str = PACKAGE) -> type[Message]:
        """The class of a message of the contract."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"{package}.{name}"))

    def decode(self, name: str, frame: bytes) -> Message | None:
        """The message, or None when the bytes are none."""
        try:
            return self.message_class(name).FromString(frame)
        except DecodeError:
            return None

    @property
    def message_names(self) -> list[str]:
        """Names of all messages of the package, without those inside others."""
        return [message.name for file in self.files.file if file.package == PACKAGE for message in file.message_type]


def is_whole(message: Message) -> bool:
    """Whether there is something in it, and nothing that its schema does not know, at any depth."""
    if len(UnknownFieldSet(message)):
        return False
    for field, value in message.ListFields():
        if field.message_type is not None and not field.message_type.GetOptions().map_entry:
            several = [value] if isinstance(value, Message) else value
            if not all(is_whole(item) for item in several if item.ByteSize()):
                return False
    return message.ByteSize() > 0


def compile_schema(proto: Path) -> bytes:
    """The descriptor set of all .proto files below a folder."""
    with tempfile.NamedTemporaryFile(suffix=".binpb") as file:
        sources = [str(path.relative_to(proto)) for path in sorted(proto.rglob("*.proto"))]
        include = str(importlib.resources.files("grpc_tools") / "_proto")
        arguments = ["protoc", f"-I{proto}", f"-I{include}", "--include_imports", f"--descriptor_set_out={file.name}"]
        if protoc.main([*arguments, *sources]):
            raise ValueError(f"{proto} does not compile")
        return Path(file.name).read_bytes()
