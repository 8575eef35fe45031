import pytest

from medrobust.data.core.error import DataError
from medrobust.data.core.manifest import Manifest, Record, read_records, write_records

RECORDS = (
    Record("set/a, with comma", 0, "train", "a" * 64),
    Record("set/b", 1, "val", "b" * 64),
    Record("set/c", None, "test", "c" * 64),
)


def manifest(records=RECORDS, **view):
    return Manifest("set", {"size": 28, **view}, tuple(records))


def test_digest_ignores_order_and_nothing_else():
    base = manifest().digest
    assert manifest(RECORDS[::-1]).digest == base
    first = RECORDS[0]
    changed = [
        Record("set/other", first.label, first.split, first.sha256),
        Record(first.id, 1, first.split, first.sha256),
        Record(first.id, first.label, "test", first.sha256),
        Record(first.id, first.label, first.split, "d" * 64),
    ]
    digests = {manifest((record, *RECORDS[1:])).digest for record in changed}
    digests |= {manifest(RECORDS[1:]).digest, manifest(size=64).digest, base}
    digests.add(Manifest("other", {"size": 28}, RECORDS).digest)
    assert len(digests) == len(changed) + 4


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "set.csv"
    write_records(path, RECORDS, "listing1")
    assert read_records(path, "listing1") == RECORDS
    assert read_records(path, "listing2") is None
    assert read_records(tmp_path / "absent.csv", "listing1") is None
    assert [p.name for p in path.parent.iterdir()] == ["set.csv"]


def test_a_failed_write_leaves_the_old_manifest(tmp_path):
    path = tmp_path / "set.csv"
    write_records(path, RECORDS, "one")
    with pytest.raises(AttributeError):
        write_records(path, [*RECORDS, None], "two")
    assert read_records(path, "one") == RECORDS
    assert [p.name for p in tmp_path.iterdir()] == ["set.csv"]


@pytest.mark.parametrize(
    ("old", "new"), [("val", "test"), ("id,label", "id,class"), ("b" * 64, "d" * 64)]
)
def test_damage_is_named(tmp_path, old, new):
    path = tmp_path / "set.csv"
    write_records(path, RECORDS, "one")
    path.write_bytes(path.read_bytes().replace(old.encode(), new.encode(), 1))
    with pytest.raises(DataError, match=r"set\.csv is damaged \(its checksum does not match\)"):
        read_records(path, "one")


def test_a_manifest_without_a_checksum_is_made_again(tmp_path):
    path = tmp_path / "set.csv"
    write_records(path, RECORDS, "one")
    path.write_bytes(path.read_bytes().rpartition(b"\n# sha256")[0])
    assert read_records(path, "one") is None


@pytest.mark.parametrize(
    "name", ["a\u2028b", "a\x85b", "a\nb", "a\rb", "a\r\nb", "a\x0bb", 'a"b', "a\n# sha256 b"]
)
def test_any_file_name_is_read_back(tmp_path, name):
    path = tmp_path / "set.csv"
    records = (Record(f"set/{name}", 0, "train", "a" * 64), *RECORDS)
    write_records(path, records, "one")
    assert read_records(path, "one") == records


def test_copies_in_two_splits_are_counted():
    assert manifest().shared() == 0
    copies = Record("set/d", 0, "test", "a" * 64), Record("set/e", 1, "val", "b" * 64)
    assert manifest((*RECORDS, *copies)).shared() == 1
    assert manifest().counts()["val"] == {1: 1}
