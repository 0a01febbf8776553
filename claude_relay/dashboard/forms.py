"""Forms of the pages: fields, and up to a few files, each bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any
from urllib.parse import parse_qsl

import falcon
from falcon.media.multipart import MultipartFormHandler, MultipartParseError

from ..core.lazy_dataclass import dataclass
from ..core.text.sizes import format_size
from ..errors import InvalidRequest, RelayError, TooLarge, UnsupportedMedia

_MAX_FIELDS = 2000


@dataclass(frozen=True, kw_only=True)
class FormFile:
    """A file that was chosen in a form."""

    name: str
    media_type: str
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Form:
    """The fields of a form, each with all its values, and its files."""

    values: Mapping[str, Sequence[str]] = field(repr=False)
    files: Sequence[FormFile] = ()

    def text(self, name: str) -> str:
        """The last value of a field, without spaces around it; empty if it is missing."""
        return self.raw(name).strip()

    def raw(self, name: str) -> str:
        """The last value of a field as it was sent, with the line ends of a text file."""
        return (self.values.get(name) or [""])[-1].replace("\r\n", "\n")

    def all(self, name: str) -> Sequence[str]:
        """Every value of a field."""
        return self.values.get(name, ())


#: Fields of a submit that a form has under another name; of a list of them, a form has the list.
_FORM_NAMES = {"systemPrompt": "system", "files": "file", "rows": "file", "jobs": "file"}


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """The values of a form that was refused, and the problems of its fields."""

    act: str
    form: Form = field(repr=False)
    text: str = field(repr=False)
    wrong: Mapping[str, str]

    @classmethod
    def of(cls, error: RelayError, form: Form) -> Refusal:
        """The refusal of a form, by the names of its fields."""
        wrong: dict[str, list[str]] = {}
        for each in getattr(error, "problems", ()):
            name = each.field.removeprefix("options.").partition("[")[0].partition(".")[0]
            wrong.setdefault(_FORM_NAMES.get(name, name), []).append(each.problem)

        return cls(
            act=form.text("act"),
            form=form,
            text=str(error),
            wrong={name: "; ".join(some[:3]) for name, some in wrong.items()},
        )

    def typed(self, act: str, name: str, otherwise: Any = "") -> str:
        """The value of a field: what was typed if that form was refused, else another one."""
        if self.text and self.act == act:
            return self.form.raw(name)

        return "" if otherwise is None else str(otherwise)

    def ticked(self, act: str, name: str, value: str, otherwise: bool) -> bool:
        """Whether a box of a form is ticked, likewise."""
        return value in self.form.all(name) if self.text and self.act == act else otherwise

    def problem(self, act: str, name: str) -> str:
        """The problem of a field of a form, if that form was refused."""
        return self.wrong.get(name, "") if self.act == act else ""


#: Of a page whose forms were not refused.
NO_REFUSAL = Refusal(act="", form=Form({}), text="", wrong={})


def read_form(req: falcon.Request, *, limit: int) -> Form:
    """The form in a request's body; raises `InvalidRequest`."""
    kind = (req.content_type or "").partition(";")[0].strip().lower()
    if (req.content_length or 0) > limit:
        raise TooLarge(f"The form is too large: at most {format_size(limit)} (RELAY_MAX_BODY).")
    if kind == "multipart/form-data":
        return _multipart(req, limit)
    if kind not in ("application/x-www-form-urlencoded", ""):
        raise UnsupportedMedia(f"Content-Type {kind} is not accepted here: a form is.")
    data = req.bounded_stream.read(limit + 1)
    if len(data) > limit:
        raise TooLarge(f"The form is too large: at most {format_size(limit)} (RELAY_MAX_BODY).")
    try:
        pairs = parse_qsl(data.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise _refused("is not a form in UTF-8, or has too many fields") from None

    return Form(_gathered(pairs))


def _multipart(req: falcon.Request, limit: int) -> Form:
    handler = MultipartFormHandler()
    handler.parse_options.max_body_part_buffer_size = limit
    pairs: list[tuple[str, str]] = []
    files: list[FormFile] = []
    try:
        parts: Any = handler.deserialize(req.bounded_stream, req.content_type, req.content_length or 0)
        for part in parts:
            data = part.stream.read(limit)
            if part.filename is None:
                pairs.append((part.name or "", data.decode("utf-8")))
            elif data or part.filename:
                media_type = (part.content_type or "").partition(";")[0].strip()
                files.append(FormFile(name=part.filename, media_type=media_type, data=data))
    except (MultipartParseError, falcon.HTTPError, UnicodeDecodeError):
        raise _refused("is not a form that can be read") from None

    return Form(_gathered(pairs), files)


def _gathered(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(value)

    return values


def _refused(problem: str) -> InvalidRequest:
    return InvalidRequest.at("form", problem)
