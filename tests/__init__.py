"""The tests, found before any package called tests that a library installs."""
