import pytest


@pytest.fixture(scope="session")
def eicar() -> bytes:
    """The EICAR test text, put together here so that it stands in no file of ours."""
    return b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-" + b"ANTIVIRUS-TEST-FILE!$H+H*"
