"""Templates and their versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...core.keys import ADMIN
from . import records
from .query import QueryBase, Row

if TYPE_CHECKING:
    from ...core.templates import Template

_TEMPLATE = """
SELECT t.owner, t.name, v.version, v.body, v.webhook_headers, t.description, t.shared, v.created_at, v.deleted_at
FROM templates t JOIN template_versions v ON v.owner = t.owner AND v.name = t.name"""
# The jobs that may use a version: its owner's and, of the administrator's, which may be shared, those of every key.
_USED = f"""
EXISTS (SELECT 1 FROM jobs j WHERE j.template IS NOT NULL
        AND j.template = template_versions.name || '@' || template_versions.version
        AND (j.owner = template_versions.owner OR template_versions.owner = '{ADMIN}'))"""
_PUT = """
INSERT INTO templates (owner, name, version, shared, description) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (owner, name) DO UPDATE SET version = excluded.version, shared = excluded.shared,
    description = excluded.description, deleted_at = NULL"""
_PUT_VERSION = """
INSERT INTO template_versions (owner, name, version, body, webhook_headers, created_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (owner, name, version) DO NOTHING"""


class TemplateReads(QueryBase):
    """Implements `ports.store.TemplateReads`."""

    def template(self, owner: str, name: str, version: int | None) -> Template | None:
        """That version of an owner's template, or the newest one; also of a deleted template."""
        number = "t.version" if version is None else "?"
        args = (owner, name) if version is None else (owner, name, version)
        sql = f"{_TEMPLATE} WHERE t.owner = ? AND t.name = ? AND v.version = {number}"
        return self._fetch_first(self._to_template, sql, args)

    def templates(self, owner: str | None) -> Sequence[Template]:
        """The newest version of each template of that owner and of the shared ones, or (None) of all owners."""
        sql = f"""{_TEMPLATE} AND v.version = t.version WHERE t.deleted_at IS NULL
                  AND (? IS NULL OR t.owner = ? OR t.shared = 1) ORDER BY t.name, t.owner"""
        return self._fetch_all(self._to_template, sql, (owner, owner))

    def newest_template_version(self, owner: str, name: str) -> int:
        """The last version number that was used for the name; 0 without any."""
        return self._count("SELECT version FROM templates WHERE owner = ? AND name = ?", (owner, name))

    def _to_template(self, row: Row) -> Template:
        from ...core.templates import Template  # not needed by commands that read a status

        owner, name, version, body, encrypted, description, shared, created_at, deleted_at = row
        fields = records.load(body)
        headers = self._cipher.decrypt(encrypted, owner=owner, row=f"{name}@{version}")
        if encrypted is not None and headers is not None:
            fields["webhookHeaders"] = headers
        return Template(
            owner=owner,
            name=name,
            version=version,
            body=fields,
            description=description,
            shared=bool(shared),
            created_at=created_at,
            deleted=deleted_at is not None,
        )


class TemplateWrites(QueryBase):
    """Implements `ports.store.TemplateWrites`."""

    def save_template(self, template: Template) -> None:
        """Store a new version, or the description and the sharing of the newest one."""
        body = dict(template.body)
        headers = body.get("webhookHeaders")
        encrypted = None
        if isinstance(headers, dict):  # credentials, as those of a job
            row = f"{template.name}@{template.version}"
            encrypted = self._cipher.encrypt(body.pop("webhookHeaders"), owner=template.owner, row=row)
        key = (template.owner, template.name, template.version)
        self._run(_PUT, (*key, int(template.shared), template.description))
        self._run(_PUT_VERSION, (*key, records.dump(body), encrypted, template.created_at))

    def delete_template(self, owner: str, name: str) -> None:
        """Delete a template with its versions; those that a kept job was made of stay readable."""
        for table in ("templates", "template_versions"):
            sql = f"UPDATE {table} SET deleted_at = ? WHERE owner = ? AND name = ? AND deleted_at IS NULL"
            self._run(sql, (self._now, owner, name))
        self._run(f"DELETE FROM template_versions WHERE owner = ? AND name = ? AND NOT {_USED}", (owner, name))

    def purge_templates(self) -> None:
        """Delete the deleted versions that no kept job was made of."""
        self._run(f"DELETE FROM template_versions WHERE deleted_at IS NOT NULL AND NOT {_USED}", ())
