"""What ``SqlStore`` does beyond the port: lists for the reporter and the sweeper, history, indexes."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Select, text

from persistence import statements
from persistence.errors import StoreUnavailable
from persistence.store import SqlStore
from states.job import Trigger
from tests.store_life import moved, sent, spec


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    with SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w", clock=lambda: 5.0) as store:
        yield store


def test_history_tells_every_move(store: SqlStore) -> None:
    """From where, to where, why, when, and how many attempts it took."""
    job = store.begin(store.begin(store.add(spec(1))))
    moved(store, job, Trigger.FAILED, detail="No.")

    first, second = store.history(job.key)
    assert (
        first.source,
        first.target,
        first.because,
        first.at,
        first.attempts,
    ) == (None, "fetched", None, 5.0, 0)
    assert (
        second.source,
        second.target,
        second.because,
        second.attempts,
        second.detail,
    ) == ("fetched", "error", "failed", 2, "No.")


def test_next_unsent_goes_through_one_job(store: SqlStore) -> None:
    """One status after the other as they are acknowledged; none for a job that is gone."""
    job, gone = store.add_all([spec(1), spec(2)])
    moved(store, job, Trigger.FAILED, detail="No.")
    store.mark_gone(gone.key)
    heard = []
    while update := store.next_unsent(job.key):
        heard.append(update.status.value)
        store.mark_sent(update)

    assert heard == ["preprocessing", "error"]
    assert store.next_unsent(gone.key) is None
    assert [row.sent_at for row in store.outbox(job.key)] == [5.0, 5.0]


def test_ended_jobs_wait_for_report_then_for_the_sweep(store: SqlStore) -> None:
    """unreported → sweepable → swept; a live job is in none of the lists."""
    ended, _ = store.add_all([spec(1), spec(2)])
    ended = moved(store, ended, Trigger.FAILED)
    assert ([ended], []) == (store.ended_unreported(), store.sweepable())

    sent(store)
    assert ([], [ended]) == (store.ended_unreported(), store.sweepable())

    store.mark_swept(ended.key)
    assert (store.ended_unreported(), store.sweepable()) == ([], [])


def test_a_cancelled_job_is_swept_at_once(store: SqlStore) -> None:
    """Nothing is left to report of a job that is gone."""
    job = store.add(spec(1))
    cancelled = moved(store, job, Trigger.GONE)

    assert cancelled.gone
    assert ([], [cancelled]) == (store.ended_unreported(), store.sweepable())


def test_find_gives_the_newest_lease_first(store: SqlStore) -> None:
    """All leases of one id of the API, and nothing else."""
    old = store.add(spec(1))
    store.mark_gone(old.key)
    new = store.add(spec(1))
    store.add(spec(2))

    assert [new.key, old.key] == [job.key for job in store.find("1")]
    assert store.find("3") == []


def test_another_worker_sees_its_own_jobs_only(store: SqlStore) -> None:
    """Two workers in one file take the same lease on independently."""
    ours = store.add(spec(1))
    with SqlStore(f"sqlite:///{store.path}", "other") as other:
        theirs = other.add(spec(1))

        assert (1, [theirs], ["other"]) == (
            theirs.delivery,
            other.live(),
            [j.worker for j in other.all_jobs()],
        )
        assert [theirs.key] == [update.job_key for update in other.unsent()]
    assert [ours] == store.live()


def test_a_key_is_never_given_out_twice(store: SqlStore) -> None:
    """Also not after the newest row was deleted by hand."""
    store.add(spec(1))
    with store.engine.begin() as connection:
        for table in ("moves", "outbox", "jobs"):
            connection.execute(text(f"DELETE FROM {table}"))

    assert store.add(spec(1)).key == 2


def test_reopened_nothing_is_missing(store: SqlStore) -> None:
    """A second store on the same file sees the same jobs, equal in every field."""
    jobs = store.add_all([spec(1), spec(2)])
    with SqlStore(f"sqlite:///{store.path}", "w") as again:
        assert jobs == again.live()


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        (statements.LIVE, "jobs_live"),
        (statements.SWEEPABLE, "jobs_unswept"),
        (statements.UNSENT, "outbox_unsent"),
        (statements.UNREPORTED, "outbox_unsent"),
        (statements.NEXT_UNSENT, "outbox_unsent"),
        (statements.FIND, "ix_jobs_api_id"),
        (statements.HISTORY, "ix_moves_job_key"),
    ],
    ids=["live", "sweepable", "unsent", "unreported", "next unsent", "find", "history"],
)
def test_looking_uses_its_index(store: SqlStore, statement: Select[tuple[object]], index: str) -> None:
    """What is asked often costs nothing for the ten thousand jobs that have ended."""
    compiled = str(statement.compile(store.engine, compile_kwargs={"render_postcompile": True}))
    with store.engine.connect() as connection:
        count = compiled.count("?")
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", (1,) * count).all()

    assert index in str(plan)


def test_ten_thousand_ended_jobs_do_not_slow_a_start(store: SqlStore) -> None:
    """A start among 10,000 ended jobs stays far below what reading all of them would take."""
    job = store.add(spec(1))
    moved(store, job, Trigger.FAILED, detail="No.")
    sent(store)
    with store.engine.begin() as connection:
        columns = "worker, lease, delivery, api_id, state, version, attempts, run, told, gone, spec, facts, "
        columns += "created_at, updated_at, swept_at"
        values = columns.replace("lease", "lease || n", 1).replace("swept_at", "1.0")
        connection.execute(
            text(
                "WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count WHERE n < 10000) "
                f"INSERT INTO jobs ({columns}) SELECT {values} FROM jobs, count"
            )
        )
    began = time.monotonic()
    with SqlStore(f"sqlite:///{store.path}", "w") as again:
        assert (again.live(), again.unsent()) == ([], [])
    assert time.monotonic() - began < 5
    assert len(store.all_jobs()) == 10001


def test_a_store_closed_twice_is_closed(tmp_path: Path) -> None:
    """Closing is safe to repeat, and the file can be opened again."""
    store = SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w")
    store.close()
    store.close()

    with SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w") as again:
        assert again.live() == []


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    """A folder in the database's place is refused with its path."""
    (tmp_path / "jobs.db").mkdir()
    with pytest.raises(StoreUnavailable, match=r"jobs\.db cannot be opened"):
        SqlStore(f"sqlite:///{tmp_path / 'jobs.db'}", "w")
