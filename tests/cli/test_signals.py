from cli.signals import Stopped, is_stop


def test_a_signal_that_compiled_code_turned_into_an_error_of_its_own_is_known() -> None:
    error: BaseException = SystemError("returned a result with an exception set")
    assert not is_stop(error)
    error.__cause__ = KeyError()
    error.__cause__.__context__ = Stopped()
    assert is_stop(error)
    assert is_stop(Stopped())
