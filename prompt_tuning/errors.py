"""The one exception whose message is written for the user."""


class UserError(ValueError):
    """A mistake the user can fix: what was found, what was expected, what to do.

    The command line prints the message alone and exits with status 2. Code that calls
    the library directly sees an ordinary ValueError.
    """

    user_message = True


def plain(text: str, most: int = 2_000) -> str:
    """A message in one line that any terminal can show, its middle cut if it is long.

    It may quote what was found, such as control characters.
    """
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    half = most // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"
