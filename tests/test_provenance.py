"""Which code and settings made a result."""

import subprocess

from skyseg.provenance import git_commit, run_fingerprint


def test_commit_and_dirt(tmp_path):
    assert git_commit(tmp_path) is None

    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    git("init")
    assert git_commit(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "first")
    clean = git_commit(tmp_path)
    assert len(clean) == 40
    (tmp_path / "untracked").write_text("1")
    assert git_commit(tmp_path) == clean
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == f"{clean}-dirty"


def test_fingerprint_depends_on_settings_and_data():
    assert run_fingerprint({"a": 1}, ["x"]) == run_fingerprint({"a": 1}, ["x"])
    assert len({run_fingerprint(s, [d]) for s in ({"a": 1}, {"a": 2}) for d in "xy"}) == 4
