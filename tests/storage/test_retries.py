"""One layer of retries: how often a request reaches the server, what is final, what is said."""

import errno
import logging
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import botocore.exceptions
import pytest

from pipeline.errors import (
    InputError,
    NotFoundError,
    OutputError,
    PipelineError,
    RefusedError,
    StorageError,
    what_happened,
)
from pipeline.storage.client import Storage
from pipeline.storage.retries import (
    RetryPolicy,
    call_within,
    describe,
    num_failed_tries,
    with_retries,
)
from tests.support.fault_proxy import RETRY_AFTER_SECONDS, FaultProxy, fault_proxy
from tests.support.s3_server import S3Server, free_ports

TRIES = 6
FAST = RetryPolicy(attempts=3, first_pause_seconds=0.01)


@pytest.fixture(scope="module")
def bucket(s3: S3Server) -> str:
    """A bucket with the file `k` in it."""
    storage = Storage({"s3": s3.storage_options()})
    storage.filesystem("s3://x")[0].mkdir("retries")
    storage.write_finished("s3://retries/k", b"0123456789")
    return "s3://retries"


@pytest.fixture
def proxy(s3: S3Server, bucket: str) -> Iterator[FaultProxy]:
    with fault_proxy(s3.url) as proxy:
        yield proxy


@pytest.fixture
def storage(s3: S3Server, proxy: FaultProxy) -> Storage:
    policy = RetryPolicy(TRIES, first_pause_seconds=0.01, longest_pause_seconds=0.1)
    return Storage({"s3": s3.storage_options(proxy.url)}, policy)


OPERATIONS: dict[str, Callable[[Storage, str], object]] = {
    "read": lambda storage, bucket: storage.read_range(f"{bucket}/k", 0, 4),
    "read whole": lambda storage, bucket: storage.read_bytes(f"{bucket}/k"),
    "info": lambda storage, bucket: storage.file_info(f"{bucket}/k"),
    "exists": lambda storage, bucket: storage.exists(bucket),
    "list": lambda storage, bucket: storage.list_files(bucket),
    "glob": lambda storage, bucket: storage.glob_files(f"{bucket}/*"),
    "write": lambda storage, bucket: storage.write_finished(f"{bucket}/w", b"1"),
    "create": lambda storage, bucket: storage.create_exclusive(f"{bucket}/c", b"1"),
    "delete": lambda storage, bucket: storage.delete(f"{bucket}/d"),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_request_that_always_fails_reaches_the_server_once_per_try(
    storage: Storage, proxy: FaultProxy, bucket: str, name: str
) -> None:
    proxy.faults.rule = lambda method, path, number: "500"
    with pytest.raises(StorageError, match=r"`s3://retries.*` failed"):
        OPERATIONS[name](storage, bucket)
    assert len(proxy.faults.seen) == TRIES


def test_a_put_that_always_fails_is_sent_once_per_try(
    storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    proxy.faults.rule = lambda method, path, number: "500" if method == "PUT" else None
    with pytest.raises(StorageError, match="creating"):
        storage.create_exclusive(f"{bucket}/put", b"1")
    assert [method for method, *_ in proxy.faults.seen].count("PUT") == TRIES


def test_a_connection_that_is_always_cut_is_opened_twice_per_try_at_most(
    storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    # aiohttp opens a second one by itself, in case that a kept connection had gone stale.
    proxy.faults.rule = lambda method, path, number: "reset"
    with pytest.raises(StorageError):
        storage.read_bytes(f"{bucket}/k")
    assert TRIES <= len(proxy.faults.seen) <= 2 * TRIES


def test_a_glob_misses_no_folder_whose_listing_failed_at_first(
    storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    names = [f"{bucket}/glob/{folder}/{n}.tar" for folder in "abc" for n in range(2)]
    for name in names:
        storage.write_finished(name, b"1")
    storage.write_finished(f"{bucket}/glob/a/deep/9.tar", b"1")
    proxy.faults.rule = lambda method, path, number: "500" if number % 2 else None
    assert [file.url for file in storage.glob_files(f"{bucket}/g*/?/[0-9].tar")] == names
    assert proxy.faults.met


def test_a_server_that_asks_for_patience_gets_it(
    storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    proxy.faults.rule = lambda method, path, number: "throttled" if number < 2 else None
    started = time.monotonic()
    assert storage.read_range(f"{bucket}/k", 0, 4) == b"0123"
    assert time.monotonic() - started >= RETRY_AFTER_SECONDS
    assert len(proxy.faults.seen) == 2


def test_a_web_server_that_asks_for_patience_gets_it(
    storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    proxy.faults.rule = lambda method, path, number: "throttled" if number < 2 else None
    started = time.monotonic()
    with pytest.raises(RefusedError, match="was refused"):  # nobody signs this request
        storage.read_range(f"{proxy.url}/retries/k", 0, 4)
    assert time.monotonic() - started >= RETRY_AFTER_SECONDS
    assert len(proxy.faults.seen) == 2


def test_no_try_begins_after_the_budget_of_time() -> None:
    action = failing(9, TimeoutError("slow"))
    with pytest.raises(StorageError, match="failed 1 times"):
        with_retries(action, "reading `x`", RetryPolicy(first_pause_seconds=9, budget_seconds=1))


def first_put_lost() -> Callable[[str, str, int], str | None]:
    """Rule: the first put is done, but neither it nor what aiohttp sends again gets an answer."""
    puts: list[int] = []

    def rule(method: str, path: str, number: int) -> str | None:
        puts.extend([number] if method == "PUT" else [])
        return "lost" if method == "PUT" and len(puts) <= 2 else None

    return rule


def test_a_file_created_by_a_try_whose_answer_was_lost_counts_as_created(
    storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    proxy.faults.rule = first_put_lost()
    assert storage.create_exclusive(f"{bucket}/lost", b"mine")
    assert "lost" in proxy.faults.met
    assert storage.read_bytes(f"{bucket}/lost") == b"mine"
    assert not storage.create_exclusive(f"{bucket}/lost", b"another's")


def test_a_file_of_another_does_not_count_as_created_when_answers_get_lost(
    s3: S3Server, storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    other = Storage({"s3": s3.storage_options()})
    lost = first_put_lost()

    def rule(method: str, path: str, number: int) -> str | None:
        if method == "PUT":
            other.write_finished(f"{bucket}/race", b"another's")
        return lost(method, path, number)

    proxy.faults.rule = rule
    assert not storage.create_exclusive(f"{bucket}/race", b"mine")
    assert storage.read_bytes(f"{bucket}/race") == b"another's"


def test_a_put_cut_half_way_is_created_by_the_next_try(
    storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    halves = iter(["half", "half"])
    proxy.faults.rule = lambda method, path, number: next(halves, None) if method == "PUT" else None
    assert storage.create_exclusive(f"{bucket}/half", b"mine")
    assert storage.read_bytes(f"{bucket}/half") == b"mine"


def test_a_web_server_that_is_out_of_order_is_not_a_missing_file(
    proxy: FaultProxy, storage: Storage
) -> None:
    proxy.faults.rule = lambda method, path, number: "500"
    with pytest.raises(StorageError, match=f"failed {TRIES} times"):
        storage.file_info(f"{proxy.url}/retries/k")


@pytest.mark.parametrize(
    ("url", "options", "said"),
    [
        ("s3://retries/none", {}, "found nothing there"),
        ("s3://no-such-bucket/k", {}, "found nothing there"),
        ("s3://retries/k", {"secret": "wrong"}, "was refused.*--storage-options @FILE"),
        ("s3://X/k", {}, "is not possible|found nothing there"),
    ],
)
def test_what_stays_wrong_is_asked_once(
    s3: S3Server, proxy: FaultProxy, url: str, options: dict[str, Any], said: str
) -> None:
    storage = Storage({"s3": s3.storage_options(proxy.url) | options}, RetryPolicy(TRIES, 60.0))
    with pytest.raises((InputError, RefusedError), match=said) as caught:
        storage.read_range(url, 0, 4)
    assert isinstance(caught.value, NotFoundError) == ("found nothing there" in str(caught.value))
    assert len(proxy.faults.seen) == 1


def failing(times: int, error: Exception) -> Any:
    left = [times]

    def action() -> str:
        left[0] -= 1
        if left[0] >= 0:
            raise error
        return "done"

    return action


def test_a_broken_encryption_is_no_refusal_though_its_number_is_that_of_one() -> None:
    broken = ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]")
    assert broken.errno == errno.EPERM
    answers: list[object] = [b"content", broken]

    def read() -> object:
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert with_retries(read, "reading `k`", FAST) == b"content"


def test_what_may_pass_is_tried_again() -> None:
    for error in (ConnectionResetError("reset"), TimeoutError("slow"), OSError("500")):
        assert with_retries(failing(2, error), "reading `x`", FAST) == "done"
        with pytest.raises(StorageError, match="failed 3 times"):
            with_retries(failing(3, error), "reading `x`", FAST)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (OSError(errno.ENOSPC, "full"), OutputError, "no space left"),
        (OSError(errno.EDQUOT, "quota"), OutputError, "no space left"),
        (OSError(errno.EROFS, "ro"), OutputError, "read-only"),
        (PermissionError("ExpiredToken"), RefusedError, "credentials"),
        (OSError("Forbidden: b/k"), RefusedError, "credentials"),
        (botocore.exceptions.NoCredentialsError(), RefusedError, "credentials"),
        (
            botocore.exceptions.InvalidConfigError(error_msg="no profile"),
            RefusedError,
            "credentials",
        ),
        (ValueError("Protocol not known: x"), OutputError, "is not possible"),
    ],
)
def test_what_stays_wrong_is_told_at_once(
    error: Exception, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said) as told:
        with_retries(failing(1, error), "writing `x`", FAST)
    # What messages around it quote ends where the remedy begins.
    assert f"({describe(error)})" == f"({what_happened(told.value).partition(' (')[2]}"


def test_an_error_of_ours_is_passed_on_as_it_is() -> None:
    with pytest.raises(PipelineError, match=r"^mine$"):
        with_retries(failing(1, PipelineError("mine")), "reading `x`", FAST)


def test_pauses_grow_and_stay_bounded() -> None:
    policy = RetryPolicy(first_pause_seconds=1.0, longest_pause_seconds=5.0)
    assert all(policy.pause_before(n) <= 5.0 for n in range(2, 20))
    assert policy.pause_before(2) <= 1.0 < 2.0 <= policy.pause_before(9) * 2


def test_a_stalled_call_times_out() -> None:
    with pytest.raises(TimeoutError, match="no answer"):
        call_within(lambda: threading.Event().wait(5), 0.05)


def test_an_error_is_one_line_without_secrets() -> None:
    assert describe(ValueError("a\n b")) == "ValueError: a b"
    said = describe(OSError("404, url='https://u:hush@host/a.tar?X-Amz-Signature=hush' gone"))
    assert said == "OSError: 404, url='https://host/a.tar' gone"


def test_a_wait_that_grows_long_becomes_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    policy = RetryPolicy(3, first_pause_seconds=0.01)
    with caplog.at_level(logging.INFO, "pipeline"):
        with_retries(failing(1, OSError("https://h/k?sig=hush is away")), "reading `x`", policy)
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]
        (line,) = caplog.messages
        assert line.startswith(
            "reading `x` failed (OSError: https://h/k is away), try 2 of at most 3"
        )
    slow = RetryPolicy(2, first_pause_seconds=7.0, longest_pause_seconds=7.0)
    with caplog.at_level(logging.WARNING, "pipeline"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", lambda seconds: None)
        with_retries(failing(1, OSError("away")), "reading `x`", slow)
    assert [r.levelname for r in caplog.records] == ["INFO", "WARNING"]


def test_a_failed_try_is_a_step_so_that_a_worker_that_retries_does_not_hang() -> None:
    before = num_failed_tries()
    assert with_retries(failing(2, TimeoutError("slow")), "writing `x`", FAST) == "done"
    assert num_failed_tries() == before + 2


@pytest.mark.parametrize("url", ["s3://b/k", "s3://b/*.tar", "http://127.0.0.1:{port}/k"])
def test_a_port_where_nothing_listens_is_told_within_seconds(url: str) -> None:
    (port,) = free_ports(1)
    keys = {"key": "x", "secret": "x"}
    storage = Storage(
        {"s3": keys | {"client_kwargs": {"endpoint_url": f"http://127.0.0.1:{port}"}}}
    )
    ask = storage.glob_files if "*" in url else storage.file_info
    started = time.monotonic()
    with pytest.raises(StorageError, match=rf"reached no server \(.*127\.0\.0\.1:{port}"):
        ask(url.format(port=port))
    assert time.monotonic() - started < 9  # botocore pauses between the tries of a listing, too


def test_a_host_without_an_address_is_told_within_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(StorageError, match=r"reached no server \(.*nowhere\.invalid"):
        Storage().read_bytes("http://nowhere.invalid/k")
    assert time.monotonic() - started < 9


def refused() -> ConnectionRefusedError:
    return ConnectionRefusedError(errno.ECONNREFUSED, "nobody there")


def test_a_server_that_has_answered_and_is_away_is_an_outage(
    storage: Storage, proxy: FaultProxy, bucket: str
) -> None:
    hasty = replace(FAST, first_contact_seconds=0.0)
    server = storage.server_of(f"{bucket}/k")
    with pytest.raises(StorageError, match="reached no server"):
        with_retries(failing(1, refused()), "reading `x`", hasty, server)
    with pytest.raises(NotFoundError):  # an answer, too
        storage.read_bytes(f"{bucket}/none")
    assert with_retries(failing(2, refused()), "reading `x`", hasty, server) == "done"


def test_a_worker_takes_what_it_never_reached_for_an_outage() -> None:
    policy = Storage(policy=replace(FAST, first_contact_seconds=0.0)).after_first_contact().policy
    assert with_retries(failing(2, refused()), "reading `x`", policy, "test://worker") == "done"


def test_a_first_answer_that_takes_long_is_told_of_once_a_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("pipeline.storage.retries._TELL_AFTER_SECONDS", 0.05)
    caplog.set_level("INFO", logger="pipeline")
    server = "slow://of-this-test"
    threads = [
        threading.Thread(target=with_retries, args=(slowly, "listing `slow://b`", FAST, server))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with_retries(slowly, "listing `slow://c`", FAST, server)
    with_retries(slowly, "listing `/local`", FAST, None)
    (said,) = caplog.messages
    assert said.startswith("listing `slow://b` still waits for a first answer after 0.05 s")


def slowly() -> None:
    time.sleep(0.4)
