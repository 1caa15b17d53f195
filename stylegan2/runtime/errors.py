"""Errors that a user can fix. Scripts print their one sentence and exit with code 2."""


class UserError(Exception):
    """An error whose message says in one sentence what is wrong and what to do."""


class ImageError(UserError):
    """A file that cannot be read or written as an image; the message names the reason."""


class CheckpointError(UserError):
    """A checkpoint that is damaged, of another project or of another architecture."""
