from prompt_tuning.errors import UserError


def test_a_user_error_is_a_value_error_that_the_command_line_knows():
    assert issubclass(UserError, ValueError) and UserError("no").user_message
    assert str(UserError("found; expected; do")) == "found; expected; do"
