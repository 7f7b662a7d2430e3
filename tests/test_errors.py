"""Signals that wait for the end of a step."""

import os
import signal
import threading

import pytest

from skyseg.errors import Terminated, UserError, exit_code, held_signals, signal_behind

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


@pytest.mark.parametrize("number", CODES)
def test_a_signal_waits_for_the_end_of_the_block(number):
    done = []

    def command():
        with held_signals() as held:
            os.kill(os.getpid(), number)
            done.append(held())
        done.append("after")

    handlers = [signal.getsignal(each) for each in CODES]
    assert exit_code(command) == CODES[number]
    assert done == [True]
    assert [signal.getsignal(each) for each in CODES] == handlers


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal_takes_effect_at_once(second):
    def command():
        with held_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), second)
            raise AssertionError("goes on")

    assert exit_code(command) == CODES[second]


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held_signals() as held:
            os.kill(os.getpid(), signal.SIGINT)
            assert not held()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_other_threads_hold_nothing():
    found = []

    def thread():
        with held_signals() as held:
            found.append(held())

    other = threading.Thread(target=thread)
    other.start()
    other.join()
    assert found == [False]


def test_an_error_in_the_block_does_not_lose_the_signal():
    def command():
        with held_signals():
            os.kill(os.getpid(), signal.SIGTERM)
            raise ValueError

    def terminated():
        with pytest.raises(Terminated):
            command()

    assert exit_code(terminated) == 0


@pytest.mark.parametrize("number", CODES)
@pytest.mark.parametrize("hidden", [ValueError, OSError, UserError])
def test_a_signal_that_a_library_turned_into_another_error_ends_the_command(number, hidden):
    """pydantic wraps what its callbacks raise; ``shutil.rmtree`` fails while it cleans up."""

    def wrapped():
        try:
            os.kill(os.getpid(), number)
        except BaseException as error:
            raise hidden("something else") from error

    def replaced():
        try:
            os.kill(os.getpid(), number)
        finally:
            raise hidden("something else")

    assert exit_code(wrapped) == CODES[number]
    assert exit_code(replaced) == CODES[number]


def test_a_chain_of_errors_that_leads_back_to_itself_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert signal_behind(first) is None


def test_an_error_after_a_handled_one_is_not_a_signal(capsys):
    def command():
        try:
            raise OSError("a")
        except OSError as error:
            raise UserError("do b") from error

    assert exit_code(command) == 1
    assert capsys.readouterr().err == "error: do b\n"
