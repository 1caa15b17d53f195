"""Mistakes that a user can mend. Scripts print the one sentence and exit with code 2."""


class UserError(Exception):
    """What is wrong and what to do, in one sentence."""


class ImageError(UserError):
    """A file that cannot be read as an image; the sentence names the reason."""


class CheckpointError(UserError):
    """A checkpoint that is damaged, foreign or of another architecture."""
