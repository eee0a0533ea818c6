from prompt_tuning.errors import UserError, plain


def test_a_user_error_is_a_value_error_that_the_command_line_knows():
    assert issubclass(UserError, ValueError) and UserError("no").user_message
    assert str(UserError("found; expected; do")) == "found; expected; do"


def test_a_message_is_one_line_that_any_terminal_can_show():
    assert plain("é 'a' \u2028") == "é 'a' \\u2028"
    assert plain("a\nb\x1b[31m\0\udcff") == r"a\nb\x1b[31m\x00\udcff"
    assert plain("a" * 900 + "b" * 900, 100) == "a" * 50 + " ... " + "b" * 50
