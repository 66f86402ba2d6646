"""Completes a repaired wheel: licences and SBOM of what is linked in, and bytes that can be reproduced.

    python3 wheels/dress.py WHEEL LIBS OUT    LIBS: the PREFIX that build-libs.sh filled

Into .dist-info go licenses/third-party/<library>.txt (named in METADATA, whose License-Expression
becomes that of the whole) and sboms/ctera-direct-sync.cdx.json (CycloneDX 1.6; PEP 770). The archive is
written in one order, with one time (SOURCE_DATE_EPOCH) and one compression.
"""

from __future__ import annotations

import base64
import csv
import datetime
import email.parser
import email.policy
import hashlib
import io
import json
import pathlib
import sys
import time
import uuid
import zipfile

import epoch
import sources

SBOM = "sboms/ctera-direct-sync.cdx.json"


def read(wheel: pathlib.Path) -> dict[str, tuple[bytes, bool]]:
    """The files of a wheel: content, and whether it is executable."""
    with zipfile.ZipFile(wheel) as archive:
        return {
            info.filename: (archive.read(info), bool(info.external_attr >> 16 & 0o111))
            for info in archive.infolist()
            if not info.is_dir()
        }


def component(source: sources.Source) -> dict[str, object]:
    """What CycloneDX says of one library."""
    return {
        "type": "library",
        "bom-ref": source.purl,
        "name": source.name,
        "version": source.version,
        "scope": "required",
        "licenses": [{"license": {"id": source.licence}}],
        "cpe": source.cpe,
        "purl": source.purl,
        "externalReferences": [
            {
                "type": "source-distribution",
                "url": source.urls[0],
                "hashes": [{"alg": "SHA-256", "content": source.sha256}],
            }
        ],
        "properties": [{"name": "ctera-direct-sync:linkage", "value": "static"}],
    }


def sbom(name: str, version: str, linked: list[sources.Source], extension: bytes) -> bytes:
    """The bill of materials of a wheel whose extension has these bytes."""
    purl = f"pkg:pypi/{name}@{version}"
    moment = datetime.datetime.fromtimestamp(epoch.epoch(), datetime.timezone.utc)
    identity = hashlib.sha256(purl.encode() + extension).hexdigest()
    document = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_URL, identity).urn,
        "version": 1,
        "metadata": {
            "timestamp": moment.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {
                "type": "library",
                "bom-ref": purl,
                "name": name,
                "version": version,
                "licenses": [{"license": {"id": "Apache-2.0"}}],
                "purl": purl,
            },
        },
        "components": [component(source) for source in linked],
        "dependencies": [
            {"ref": purl, "dependsOn": [source.purl for source in linked]},
            *({"ref": source.purl} for source in linked),
        ],
    }
    return json.dumps(document, indent=2, sort_keys=False).encode() + b"\n"


def metadata(content: bytes, linked: list[sources.Source], licences: list[str]) -> bytes:
    """METADATA that names the licences of everything in the wheel (PEP 639)."""
    head, separator, body = content.partition(b"\n\n")
    lines = []
    for line in head.decode().split("\n"):
        if line.startswith("License-Expression: "):
            own = line.partition(": ")[2]
            others = {source.licence for source in linked} - {own}
            line = "License-Expression: " + " AND ".join([own, *sorted(others)])
        lines.append(line)
    last = max(index for index, line in enumerate(lines) if line.startswith("License-File: "))
    lines[last + 1 : last + 1] = [f"License-File: {path}" for path in licences]
    return "\n".join(lines).encode() + separator + body


def record(files: dict[str, tuple[bytes, bool]], path: str) -> bytes:
    """RECORD: each file's SHA-256 and size; of itself, nothing."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    for name, (content, _) in sorted(files.items()):
        sha256 = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        writer.writerow([name, f"sha256={sha256}", len(content)])
    writer.writerow([path, "", ""])
    return out.getvalue().encode()


def write(files: dict[str, tuple[bytes, bool]], target: pathlib.Path) -> None:
    """The same files always give the same bytes."""
    moment = time.gmtime(epoch.epoch())[:6]
    # RECORD goes last, as installers like it.
    order = sorted(files, key=lambda name: (".dist-info/" in name, name.endswith("/RECORD"), name))
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in order:
            content, executable = files[name]
            info = zipfile.ZipInfo(name, moment)
            info.create_system = 3  # Unix, wherever it was built
            info.external_attr = (0o100755 if executable else 0o100644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)


def dress(wheel: pathlib.Path, libs: pathlib.Path, out: pathlib.Path) -> pathlib.Path:
    """The path of the finished wheel."""
    files = read(wheel)
    (meta_path,) = (name for name in files if name.endswith(".dist-info/METADATA"))
    info = meta_path.rpartition("/")[0]
    extensions = [
        name for name in files if "/codec/_native." in name and name[-3:] in (".so", "pyd")
    ]
    if len(extensions) != 1:
        raise SystemExit(
            f"{wheel.name} must hold one native codec, and holds {extensions or 'none'}"
        )

    linked = sources.taken(libs / "versions")
    licences = [f"third-party/{source.name}.txt" for source in linked]
    for path in licences:
        content = (libs / "licences" / path.rpartition("/")[2]).read_bytes()
        files[f"{info}/licenses/{path}"] = (content, False)
    meta = files[meta_path][0]
    headers = email.parser.BytesHeaderParser(policy=email.policy.compat32).parsebytes(meta)
    files[meta_path] = (metadata(meta, linked, licences), False)
    bill = sbom(headers["Name"], headers["Version"], linked, files[extensions[0]][0])
    files[f"{info}/{SBOM}"] = (bill, False)

    del files[f"{info}/RECORD"]
    files[f"{info}/RECORD"] = (record(files, f"{info}/RECORD"), False)
    out.mkdir(parents=True, exist_ok=True)
    target = out / wheel.name
    write(files, target)
    return target


if __name__ == "__main__":
    if len(sys.argv) != 4:
        raise SystemExit(__doc__)
    print(dress(*map(pathlib.Path, sys.argv[1:])))
