"""What a rehearsal says of what it could not hold: the remedy mends what is missing."""

from builder.rehearse import findings, isolation

MANY = 10_000  # more cores than any host has


def test_a_host_that_is_too_small_is_not_mended_by_a_sandbox():
    bare = isolation.Level(isolation.NONE, refused="bubblewrap is not installed")
    _, missing = isolation.guarantees(bare, cores=MANY)
    told = findings.unenforced(missing, "somewhere larger")
    assert {(one.severity, one.code) for one in told} == {("note", "not-enforced")}
    remedies = {one.message.removeprefix("not enforced here: ").partition(":")[0]: one.remedy for one in told}
    assert remedies.pop(f"{MANY} CPU cores") == "somewhere larger"
    remedies.pop("pip in the notebook", None)  # of this interpreter, where it has none
    assert set(remedies) == set(isolation.SANDBOXED)
    assert all("bubblewrap" in remedy for remedy in remedies.values())


def test_a_sandbox_lacks_only_what_the_host_lacks():
    _, missing = isolation.guarantees(isolation.Level(isolation.BWRAP), cores=MANY)
    assert f"{MANY} CPU cores" in [what.partition(":")[0] for what in missing]
    assert not any(map(isolation.needs_sandbox, missing))
