"""The one exception whose message is written for the user."""


class UserError(ValueError):
    """A mistake the user can fix: what was found, what was expected, what to do.

    The command line prints the message alone and exits with status 2. Code that calls
    the library directly sees an ordinary ValueError.
    """

    user_message = True
