from actors.classifier.corpus import as_message
from actors.classifier.slices import slices_of

ENGLISH = "this is a long letter about the weather of the last week and about what we are going to do next summer " * 3
RUSSIAN = "мы пишем длинное письмо про погоду прошлой недели и про то что мы будем делать следующим летом " * 3


def mail(text: str, kind: str = "plain"):
    return as_message(f"Subject: x\nContent-Type: text/{kind}; charset=utf-8\n\n{text}\n".encode())


def test_a_message_is_of_a_size_a_kind_a_script_and_a_language():
    found = slices_of([mail(ENGLISH), mail(f"<html><p>{RUSSIAN}</p></html>", "html")])
    assert found == {
        "size": ["below 2 kB", "below 2 kB"],
        "text": ["plain text", "HTML"],
        "script": ["Latin", "Cyrillic"],
        "language": ["English", "Russian"],
    }


def test_sizes_begin_where_the_one_before_ends():
    messages = [as_message(b"\n" + b"x" * count) for count in (1999, 2000, 9999, 10_000, 49_999, 50_000)]
    sizes = ["below 2 kB", "2 to 10 kB", "2 to 10 kB", "10 to 50 kB", "10 to 50 kB", "above 50 kB"]
    assert slices_of(messages)["size"] == sizes


def test_without_letters_there_is_neither_script_nor_language():
    found = slices_of([mail("12345 !!!")])
    assert (found["script"], found["language"]) == (["no letters"], ["too short to tell"])


def test_what_few_messages_are_is_other():
    found = slices_of([mail(ENGLISH)] * 150 + [mail(RUSSIAN)])
    assert found["language"][-1] == found["script"][-1] == "other"


def test_of_no_messages_there_are_no_slices():
    assert slices_of([]) == {}
