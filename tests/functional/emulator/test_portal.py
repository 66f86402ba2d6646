"""The portal: statuses and listings of PROTOCOL section 1."""

from __future__ import annotations

import pytest

from ctera_direct_sync.emulator import Emulator
from ctera_direct_sync.emulator.catalog import stable_id


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", "Basic {key}", "{key}", "Bearer {key}x"],
)
def test_bad_credentials(emulator, session, file_id, header):
    """Anything but the right bearer is 401, whatever the file."""
    headers = {} if header is None else {"Authorization": header.format(key=emulator.access_key_id)}
    for asked in (file_id, 999_999_999):
        assert session.get(f"{emulator.url}/directio/{asked}", headers=headers).status_code == 401


def test_both_credentials(emulator, session, file_id):
    """The access key ID and the bearer token both open the door."""
    for bearer in (emulator.access_key_id, emulator.bearer):
        reply = session.get(
            f"{emulator.url}/directio/{file_id}", headers={"Authorization": f"Bearer {bearer}"}
        )
        assert reply.status_code == 200
        assert reply.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("asked", ["999999999", "abc", "-1", "1" * 30, ""])
def test_unknown_file(emulator, session, asked):
    """A file ID that is none is 400."""
    reply = session.get(
        f"{emulator.url}/directio/{asked}",
        headers={"Authorization": f"Bearer {emulator.access_key_id}"},
    )
    assert reply.status_code == 400


def test_node_not_in_direct_mode(emulator, session):
    """A file with a block on another kind of node is 422."""
    file_id = emulator.add(b"x", direct=False)
    reply = session.get(
        f"{emulator.url}/directio/{file_id}",
        headers={"Authorization": f"Bearer {emulator.access_key_id}"},
    )
    assert reply.status_code == 422


def test_other_paths_are_no_json(emulator, session):
    """Another path than Direct IO's gives a web server's page with 404."""
    reply = session.get(f"{emulator.url}/index.html")
    assert (reply.status_code, reply.headers["Content-Type"]) == (404, "text/html")


def test_prefix(session, data):
    """The portal is at its prefix, and nowhere else."""
    with Emulator(prefix="/tenant/a/") as emulator:
        file_id = emulator.add(data)
        headers = {"Authorization": f"Bearer {emulator.access_key_id}"}
        assert emulator.url.endswith("/tenant/a")
        origin = emulator.url[: -len("/tenant/a")]
        statuses = [
            session.get(f"{base}/directio/{file_id}", headers=headers).status_code
            for base in (emulator.url, origin, f"{origin}/tenant/b")
        ]
        assert statuses == [200, 404, 404]


def test_listing(emulator, listing, data):
    """The 8.3 listing: the key, the compression, the chunks in order with their lengths."""
    listed = listing(emulator, emulator.add(data, block_size=30_000))
    assert set(listed) == {"encrypt_info", "compression_type", "chunks"}
    assert set(listed["encrypt_info"]) == {"data_encrypted", "wrapped_key"}
    assert listed["encrypt_info"]["data_encrypted"] is True
    assert listed["compression_type"] == "SNAPPY"
    assert [chunk["len"] for chunk in listed["chunks"]] == [30_000, 30_000, 30_000, 10_000]
    assert len({chunk["url"] for chunk in listed["chunks"]}) == 4


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"compression": "SNAPPY-RAW"}, "SNAPPY"),
        ({"compression": "GZIP"}, "GZIP"),
        ({"compression": "LZ4"}, "LZ4"),
        ({"compression": "NONE"}, "NONE"),
        ({"native": True}, "NONE"),
        ({"compression": "GZIP", "declared_compression": "SNAPPY"}, "SNAPPY"),
    ],
    ids=str,
)
def test_compression_type(emulator, listing, options, word):
    """Each compression has the listing's word for it, or the one told."""
    assert listing(emulator, emulator.add(b"x", **options))["compression_type"] == word


def test_encryption_of_a_listing(emulator, listing):
    """No key where nothing is encrypted; the cipher is named for AES-GCM alone."""
    assert listing(emulator, emulator.add(b"x", cipher=None))["encrypt_info"] == {
        "data_encrypted": False
    }
    assert (
        listing(emulator, emulator.add(b"x", cipher="AES-GCM"))["encrypt_info"]["cipher"]
        == "AES-GCM"
    )


def test_older_listing(emulator, listing):
    """A portal before 8.3 lists the wrapped key at top level, and no compression."""
    assert set(listing(emulator, emulator.add(b"x", listing="pre-8.3"))) == {
        "wrapped_key",
        "chunks",
    }
    assert (
        listing(emulator, emulator.add(b"x", listing="pre-8.3", compression="NONE"))[
            "compression_type"
        ]
        == "NONE"
    )


def test_untyped_listing(emulator, listing):
    """A listing may leave it to the payload to tell its compression."""
    assert set(listing(emulator, emulator.add(b"x", listing="untyped"))) == {
        "encrypt_info",
        "chunks",
    }


def test_ranged_listing(emulator, listing, session, data):
    """A listing of a part says which, and lists that part's blocks."""
    file_id = emulator.add(
        data,
        native=False,
        cipher=None,
        compression="NONE",
        block_size=10_000,
        listing="ranged",
        listed_range=(25_000, 70_000),
    )
    listed = listing(emulator, file_id)
    assert listed["actual_blocks_range"] == {"file_size": 100_000, "range": "25000-70000"}
    assert [chunk["len"] for chunk in listed["chunks"]] == [10_000] * 4 + [5_000]
    got = b"".join(session.get(chunk["url"]).content for chunk in listed["chunks"])
    assert got == data[25_000:70_000]


def test_empty_file(emulator, listing):
    """An empty file has no chunks, and a member that says that it is empty."""
    listed = listing(emulator, emulator.add(b""))
    assert listed["chunks"] == []
    assert listed["actual_blocks_range"]["file_size"] == 0


def test_varied_lengths(emulator, listing):
    """Lengths are used in turn until the file ends."""
    file_id = emulator.add(bytes(20), block_size=[1, 5, 3])
    assert [chunk["len"] for chunk in listing(emulator, file_id)["chunks"]] == [1, 5, 3] * 2 + [
        1,
        1,
    ]


def test_folder(tmp_path, session, listing):
    """A folder's files are served under IDs that their relative paths alone determine."""
    (tmp_path / "b" / "c").mkdir(parents=True)
    (tmp_path / "a.txt").write_bytes(b"one")
    (tmp_path / "b" / "c" / "d").write_bytes(b"two")
    with Emulator(tmp_path, cipher=None, compression="NONE") as emulator:
        before = {row.name: row.file_id for row in emulator.files.values()}
        got = {
            row.name: session.get(listing(emulator, row.file_id)["chunks"][0]["url"]).content
            for row in emulator.files.values()
        }
    assert got == {"a.txt": b"one", "b/c/d": b"two"}
    (tmp_path / "aa").write_bytes(b"")
    after = {row.name: row.file_id for row in Emulator(tmp_path).files.values()}
    assert before.items() <= after.items()
    assert before["a.txt"] == stable_id("a.txt")


def test_ids_never_collide():
    """A path whose ID is taken gets the next free one."""
    taken = stable_id("a")
    assert stable_id("a", {taken: 1, taken + 1: 2}) == taken + 2


def test_folder_that_is_none(tmp_path):
    """A folder that is not there is named."""
    with pytest.raises(ValueError, match=r"not a folder: .*nowhere"):
        Emulator(tmp_path / "nowhere")


def test_file_changed_on_disk(tmp_path, session, listing, block_url):
    """A file that is written anew is listed anew; the blocks listed before are gone."""
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with Emulator(tmp_path, native=True) as emulator:
        (file_id,) = emulator.files
        old = block_url(emulator, file_id)
        assert session.get(old).content == b"before"
        path.write_bytes(b"afterwards")
        assert session.get(old, timeout=10).status_code == 404
        assert listing(emulator, file_id)["chunks"][0]["len"] == 10
        assert session.get(block_url(emulator, file_id)).content == b"afterwards"
        path.unlink()
        reply = session.get(
            f"{emulator.url}/directio/{file_id}",
            headers={"Authorization": f"Bearer {emulator.access_key_id}"},
        )
        assert reply.status_code == 400


@pytest.mark.parametrize(("keep_old", "status"), [(True, 200), (False, 404)])
def test_replace(emulator, session, listing, block_url, file_id, data, keep_old, status):
    """A replaced file is listed anew; its old blocks stay or go, as asked for."""
    old = block_url(emulator, file_id)
    emulator.replace(file_id, data[::-1], keep_old=keep_old, block_size=50_000)
    assert session.get(old).status_code == status
    assert [chunk["len"] for chunk in listing(emulator, file_id)["chunks"]] == [50_000] * 2
    assert session.get(block_url(emulator, file_id)).content == data[::-1][:50_000]


def test_remove(emulator, session, block_url, file_id):
    """A removed file is unknown to the portal, and its blocks to the storage."""
    url = block_url(emulator, file_id)
    emulator.remove(file_id)
    reply = session.get(
        f"{emulator.url}/directio/{file_id}",
        headers={"Authorization": f"Bearer {emulator.access_key_id}"},
    )
    assert (reply.status_code, session.get(url).status_code) == (400, 404)
    with pytest.raises(KeyError):
        emulator.remove(file_id)


def test_add_after_remove(emulator, session, block_url, file_id, data):
    """An ID that is given again serves the new file, not what was kept of the old one."""
    before = session.get(block_url(emulator, file_id)).content
    emulator.remove(file_id)
    emulator.add(data[::-1], file_id=file_id, cipher=None, compression="SNAPPY")
    assert session.get(block_url(emulator, file_id)).content != before


def test_table(emulator, data):
    """The table tells of each file what it is and how it is stored."""
    file_id = emulator.add(
        data, name="report", file_id=77, cipher="AES-GCM", compression="LZ4", block_size=30_000
    )
    assert file_id == 77
    assert emulator.files[77] == (77, "report", len(data), "AES-GCM", "LZ4", 4)
    with pytest.raises(ValueError, match="77 is taken"):
        emulator.add(b"", file_id=77)


def test_secret_must_be_base64():
    """A secret access key that is not base64 is refused, and not shown."""
    with pytest.raises(ValueError, match="base64") as caught:
        Emulator(secret_access_key="not!base64")
    assert "not!base64" not in str(caught.value)
